"""The programs that set-up runs: their output kept, and all of them ended when set-up ends early.

Steps run side by side in threads. When one fails, or the user interrupts, what the others started must not go on
behind the prompt, so every program runs in a process group of its own that ``end_all`` can reach.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from toolchain.install.problems import StepFailed


class Processes:
    """The running programs of one set-up."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._ending = threading.Event()

    def run(
        self,
        step: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        uninterrupted: bool = False,
    ) -> str:
        """Run a program to its end and return what it printed (both streams).

        Args:
            step: the step it belongs to, for the error.
            on_line: called with each line as it comes.
            uninterrupted: let it come to its end even when set-up ends early.

        Raises:
            StepFailed: it did not exit with 0, or set-up is ending.
        """
        words = [str(word) for word in argv]
        lines: list[str] = []
        with self._started(step, words, env, cwd, uninterrupted) as process:
            if process.stdout is None:
                raise StepFailed(step, f"{words[0]} has no output to read")
            for line in process.stdout:
                lines.append(line)
                if on_line is not None:
                    on_line(line.rstrip())
            code = process.wait()
        output = "".join(lines)
        if code != 0:
            raise StepFailed(step, f"`{' '.join(words[:4])} ...` exited with {code}", output)
        return output

    def end_all(self) -> None:
        """End every running program, and let no new one start."""
        with self._lock:
            self._ending.set()
            groups = tuple(self._groups)
        for group in groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)

    def ending_within(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for the end of set-up; whether it has come."""
        return self._ending.wait(seconds)

    @contextlib.contextmanager
    def _started(
        self, step: str, words: list[str], env: Mapping[str, str] | None, cwd: Path | None, uninterrupted: bool
    ) -> Iterator[subprocess.Popen[str]]:
        with self._lock:
            if self._ending.is_set():
                raise StepFailed(step, "ended, because set-up ended")
            try:
                process = subprocess.Popen(  # noqa: S603  (argv of our own steps, no shell)
                    words,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            except OSError as error:
                raise StepFailed(step, f"{words[0]} does not start: {error.strerror}") from error
            if not uninterrupted:
                self._groups.add(process.pid)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._groups.discard(process.pid)
