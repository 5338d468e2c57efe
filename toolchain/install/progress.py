"""What a person sees of set-up: one line for each thing that happens, with the time since the start.

On a terminal the running steps also stand on a last line that is drawn again each second; in a pipe each of them
gets a plain line every half minute instead, so that a CI log shows that a four-minute build is alive.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

TERMINAL_BEAT_SECONDS = 1.0
PIPE_BEAT_SECONDS = 30.0


class Progress:
    """Lines of progress, from any thread. A context manager: inside it, running steps are shown as alive."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._running: dict[str, str] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, daemon=True)

    def __enter__(self) -> Progress:
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beat.join()
        with self._lock:
            self._wipe()

    def line(self, step: str, text: str) -> None:
        """Print one line now."""
        with self._lock:
            self._print(step, text)

    def running(self, step: str, text: str) -> None:
        """Say what ``step`` is doing; shown with the next beat."""
        with self._lock:
            self._running[step] = text

    def done(self, step: str, text: str) -> None:
        """``step`` has ended: one line, and it is no longer shown as running."""
        with self._lock:
            self._running.pop(step, None)
            self._print(step, text)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    def _print(self, step: str, text: str) -> None:
        self._wipe()
        sys.stdout.write(f"{self.elapsed():6.1f} s  {step:<12} {text}\n")
        sys.stdout.flush()

    def _wipe(self) -> None:
        if self._terminal:
            sys.stdout.write("\r\x1b[K")

    def _keep_beating(self) -> None:
        while not self._ended.wait(TERMINAL_BEAT_SECONDS if self._terminal else PIPE_BEAT_SECONDS):
            with self._lock:
                if self._terminal:
                    alive = ", ".join(f"{step} ({text})" for step, text in self._running.items())
                    sys.stdout.write(f"\r\x1b[K{self.elapsed():6.1f} s  {alive}"[:200])
                    sys.stdout.flush()
                else:
                    for step, text in self._running.items():
                        self._print(step, text)
