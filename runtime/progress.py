"""What long work tells its caller while it goes on: data, drawn elsewhere."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives progress; called from several threads."""

    def step(self, text: str) -> None:
        """The whole work has come to ``text``."""

    def worker(self, index: int, stage: str, detail: str) -> None:
        """Worker ``index`` is at ``stage``; ``detail`` says how it stands there."""


class Silent:
    """Progress that nobody watches."""

    def step(self, text: str) -> None: ...

    def worker(self, index: int, stage: str, detail: str) -> None: ...
