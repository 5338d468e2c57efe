"""Host keys of workers, pinned for each slice by the API's own number of it.

A slice that is made anew has a new number, so its new keys are no surprise; a key that changes under the same
number is one.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.keys import config_folder
from runtime.transport.results import HostKeyMismatch
from stack.errors import BadInput


def fingerprint(key: str) -> str:
    """``TYPE SHA256:...`` of a key written ``TYPE BASE64``, as ssh-keygen -l prints it."""
    kind, blob = key.split()[:2]
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return f"{kind} SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True)
class KnownHosts:
    """The pins of one user of the tool: a file for each slice in ``folder``."""

    folder: Path

    @staticmethod
    def of_user() -> KnownHosts:
        return KnownHosts(config_folder() / "known_hosts")

    def pin(self, node: str, worker: int, published: tuple[str, ...]) -> tuple[str, ...]:
        """The keys to trust for this worker; what is published now is pinned at the first call.

        Raises:
            HostKeyMismatch: another key of the same type is pinned already.
        """
        with self._pins(node) as pins:
            pinned = tuple(pins.get(str(worker), ()))
            if not pinned:
                if published:
                    pins[str(worker)] = list(published)
                return published
        old = dict(key.split()[:2] for key in pinned)
        for key in published:
            kind, blob = key.split()[:2]
            if old.get(kind, blob) != blob:
                raise self.mismatch(node, worker, pinned=(f"{kind} {old[kind]}",), seen=key)
        return pinned

    def mismatch(self, node: str, worker: int, *, pinned: tuple[str, ...], seen: str) -> HostKeyMismatch:
        """The error that names both keys."""
        known = " or ".join(fingerprint(key) for key in pinned)
        return HostKeyMismatch(
            f"shows the host key {fingerprint(seen)}, pinned is {known}",
            key="worker",
            value=worker,
            cure=f"If the worker was reinstalled, remove {self._file(node)}; else somebody stands in between",
        )

    def _file(self, node: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", node):
            raise BadInput("is no slice's number", key="slice id", value=node)
        return self.folder / f"{node}.json"

    @contextmanager
    def _pins(self, node: str) -> Iterator[dict[str, list[str]]]:
        """The slice's pins under a lock; written back whole if they were changed."""
        file = self._file(node)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                pins: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
            except ValueError as error:
                cure = "Remove it: the keys are read anew from the API"
                raise BadInput(f"is damaged ({error})", key="pinned host keys", value=file, cure=cure) from error
            before = json.dumps(pins)
            yield pins
            if json.dumps(pins) != before:
                fresh = file.with_suffix(f".{os.getpid()}")
                fresh.write_text(json.dumps(pins, indent=1, sort_keys=True) + "\n")
                fresh.replace(file)
