"""Progress for people: a live table on a terminal, plain lines with times in a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live


class ProgressView(Protocol):
    """A ``runtime.progress.Progress`` that can also be closed."""

    def step(self, text: str) -> None: ...

    def worker(self, index: int, stage: str, detail: str) -> None: ...

    def __enter__(self) -> ProgressView: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainProgress:
    """One line a change: seconds since the start, the worker, the stage, the detail.

    Args:
        write: takes one line without its end.
        clock: seconds, monotonic.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._start = clock()
        self._last: dict[int, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def step(self, text: str) -> None:
        with self._lock:
            self._line(text)

    def worker(self, index: int, stage: str, detail: str) -> None:
        with self._lock:
            if self._last.get(index) == (stage, detail):
                return
            self._last[index] = (stage, detail)
            self._line(f"worker {index}  {stage:<12} {detail}".rstrip())

    def _line(self, text: str) -> None:
        self._write(f"[{self._clock() - self._start:6.1f} s] {text}")


class LiveProgress:
    """A table that is redrawn in place: the steps that are over above, one row a worker."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._start = clock()
        self._step = ""
        self._rows: dict[int, tuple[str, str, float]] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> LiveProgress:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, highlight=False)
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=4, transient=True)
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._finish_step()
            self._live.stop()
            self._live = None

    def step(self, text: str) -> None:
        with self._lock:
            self._finish_step()
            self._step = text

    def worker(self, index: int, stage: str, detail: str) -> None:
        with self._lock:
            old = self._rows.get(index)
            since = old[2] if old and old[0] == stage else self._clock()
            self._rows[index] = (stage, detail, since)

    def _finish_step(self) -> None:
        if self._step and self._live is not None:
            self._live.console.print(
                f"[{self._clock() - self._start:6.1f} s] {self._step}", markup=False, highlight=False
            )
            self._step = ""

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for _ in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        now = self._clock()
        # A copy: workers' threads add rows while this is drawn.
        for index, (stage, detail, since) in sorted(dict(self._rows).items()):
            table.add_row(Text(f"  worker {index}"), Text(stage), Text(f"{now - since:3.0f} s"), Text(detail))
        step = Text(f"[{now - self._start:6.1f} s] {self._step}", no_wrap=True, overflow="ellipsis")
        return Group(step, table) if self._step else table
