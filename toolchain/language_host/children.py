"""The processes that the host starts for the engine, and their certain end."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

END_SECONDS = 2.0
"""How long a child may take to end by itself before it is killed."""

Chunk = tuple[str, bytes]


class Children:
    """Every child of the host. After ``end_all`` none is left, and no new one starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def start(
        self, argv: Sequence[str], *, folder: str, variables: Mapping[str, str], capture: bool
    ) -> subprocess.Popen[bytes]:
        """Start ``argv``; its output is ours unless ``capture``d. Stays in our process group, which the engine ends."""
        output = subprocess.PIPE if capture else None
        with self._lock:
            if self._ended:
                raise RuntimeError("the language host is ending")
            child = subprocess.Popen(  # noqa: S603 - running the user's program is what a language host is for
                argv, cwd=folder, env=dict(variables), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            self._running.add(child)
        return child

    def wait(self, child: subprocess.Popen[bytes]) -> int:
        """The exit code of ``child``, once it has ended."""
        code = child.wait()
        with self._lock:
            self._running.discard(child)
        return code

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """End ``child``: politely, then surely. Does nothing where it has ended already."""
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
        self.wait(child)

    def end_running(self) -> None:
        """End what runs now; more may be started."""
        with self._lock:
            running = list(self._running)
        for child in running:
            if child.poll() is None:
                child.terminate()
        for child in running:
            self.end(child)

    def end_all(self) -> None:
        """End what runs, and refuse to start more."""
        with self._lock:
            self._ended = True
        self.end_running()


def output_of(child: subprocess.Popen[bytes]) -> Iterator[Chunk]:
    """What a captured ``child`` writes, as it comes: pairs of ``stdout`` or ``stderr`` and bytes, until both end."""
    chunks: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
    streams: list[tuple[str, IO[bytes] | None]] = [("stdout", child.stdout), ("stderr", child.stderr)]
    for name, stream in streams:
        threading.Thread(target=_pump, args=(name, stream, chunks), daemon=True).start()
    open_streams = len(streams)
    while open_streams:
        chunk = chunks.get()
        if chunk is None:
            open_streams -= 1
        else:
            yield chunk


def _pump(name: str, stream: IO[bytes] | None, chunks: queue.SimpleQueue[Chunk | None]) -> None:
    if stream is not None:
        with stream:
            while data := stream.read1(65536):  # type: ignore[attr-defined]
                chunks.put((name, data))
    chunks.put(None)
