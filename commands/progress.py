"""Progress for people: a live table on a terminal, plain lines with times in a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


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
        self._step_start = self._start
        self._rows: dict[int, tuple[str, str, float]] = {}
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> LiveProgress:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, highlight=False)
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=4, transient=True)
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
            self._step_start = self._clock()

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

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False)
        now = self._clock()
        if self._step:
            table.add_row(Text(f"[{now - self._start:6.1f} s]"), Text(self._step), Text(""))
        for index, (stage, detail, since) in sorted(self._rows.items()):
            table.add_row(Text(f"  worker {index}"), Text(stage), Text(f"{detail}  {now - since:.0f} s"))
        return table
