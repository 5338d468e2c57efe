"""Workers that are only remembered, for tests of the API that need no host."""

from __future__ import annotations

import threading
from collections import Counter

from localcloud.workers import WorkerSpec


class FakeWorkers:
    """Keeps what was asked of it. ``gate`` holds up boots and ends; ``fail`` makes the boot of an index fail."""

    def __init__(self) -> None:
        self.running: dict[str, WorkerSpec] = {}
        self.created: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.fail: int | None = None

    def create(self, spec: WorkerSpec) -> str:
        self.calls["create"] += 1
        self.created.add(spec.mark)
        return f"ssh-ed25519 KEY{spec.mark.rpartition('/')[2]}"

    def boot(self, spec: WorkerSpec) -> None:
        self.calls["boot"] += 1
        assert self.gate.wait(10)
        if self.fail is not None and spec.mark.endswith(f"/{self.fail}"):
            raise OSError("no such luck")
        self.running[spec.mark] = spec

    def set_keys(self, spec: WorkerSpec) -> None:
        self.calls["set_keys"] += 1
        if spec.mark in self.running:
            self.running[spec.mark] = spec

    def halt(self, spec: WorkerSpec) -> None:
        self.calls["halt"] += 1
        assert self.gate.wait(10)
        self.running.pop(spec.mark, None)

    def destroy(self, spec: WorkerSpec) -> None:
        self.calls["destroy"] += 1
        assert self.gate.wait(10)
        self.running.pop(spec.mark, None)
        self.created.discard(spec.mark)

    def pid(self, spec: WorkerSpec) -> int | None:
        return 1 if spec.mark in self.running else None
