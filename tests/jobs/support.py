"""What tests of jobs say again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from runtime.jobs import (
    JobSpec,
    JobStatus,
    State,
    attempt_folder,
    new_attempt,
    status_on,
)
from runtime.transport import Connection
from tests.transport.sshd import Sshd


def spec(script: str, attempt: str | None = None, **changes: object) -> JobSpec:
    values: dict[str, object] = {"kind": "run", "name": "t", "attempt": attempt or new_attempt(), "run_script": script}
    return JobSpec(**{**values, **changes})  # type: ignore[arg-type]


def await_state(connection: Connection, wanted: JobSpec, *states: State, seconds: float = 40.0) -> JobStatus:
    end = time.monotonic() + seconds
    while True:
        found = status_on(connection, wanted.job, wanted.attempt)
        if found.state in states:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def await_true(condition: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def folder(server: Sshd, wanted: JobSpec) -> Path:
    return server.home / attempt_folder(wanted.job, wanted.attempt)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
