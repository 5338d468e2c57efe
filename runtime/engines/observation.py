"""One look at one worker's part of a server, as ``scripts/observe_sglang.sh`` prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Process:
    """A live process of the attempt; ``role``: launcher, scheduler, detokenizer or other."""

    pid: int
    role: str


@dataclass(frozen=True)
class Holder:
    """A process that is not of the attempt; ``pid`` is None where we may not see whose it is."""

    pid: int | None
    user: str
    argv: str

    def __str__(self) -> str:
        return f"pid {self.pid} of {self.user}: {self.argv}" if self.pid else "a process that we may not see"


@dataclass(frozen=True)
class Listener:
    """A socket that listens on one of the server's ports; ``holder`` is set when it is not the attempt's."""

    port: int
    ours: bool
    holder: Holder | None = None


@dataclass(frozen=True)
class Devices:
    """What JAX reported inside the scheduler process ``pid``."""

    platform: str
    process_index: int
    process_count: int
    device_count: int
    local_device_count: int
    pid: int


@dataclass(frozen=True)
class Observation:
    """What one look saw.

    Attributes:
        exit_code: of the attempt; None while it runs or where nobody recorded it.
        python: the interpreter of its command line; ``python_runs``: it is there and executable.
        cpu_seconds: used so far by all processes of the attempt that are alive.
        health: HTTP status of ``127.0.0.1:PORT/health``; 0 when nothing answered. By itself it says nothing
            about who answered: ``listeners`` does.
        log_growth: bytes of the log without what the server says of our own looks at /health.
        marks: first line of the log for each mark that it holds.
        errors: the log's first lines that give a reason, in its order.
    """

    time: float
    started: bool
    supervised: bool
    exit_code: int | None
    python: str
    python_runs: bool
    disk_free_mib: int | None
    processes: tuple[Process, ...]
    cpu_seconds: float
    listeners: tuple[Listener, ...]
    chip_holders: tuple[Holder, ...]
    health: int
    devices: Devices | None
    log_bytes: int
    log_growth: int
    log_age: float
    log_last: str
    errors: tuple[str, ...]
    marks: Mapping[str, str] = field(default_factory=dict)

    def pids(self, role: str) -> tuple[int, ...]:
        """The live processes of ``role``."""
        return tuple(process.pid for process in self.processes if process.role == role)

    def strangers(self) -> tuple[Listener, ...]:
        """Sockets on the server's ports that are not the attempt's."""
        return tuple(listener for listener in self.listeners if not listener.ours)


TICKS_PER_SECOND = 100
"""USER_HZ, which Linux shows to processes as 100 on every platform that has TPUs."""


def parse_observation(text: str) -> Observation:
    """The observation in the script's output.

    Raises:
        ValueError: it is none: the script was cut off, or is another version's.
    """
    try:
        seen = json.loads(text)
        return _observation(seen)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an observation: {error!r}") from None


def _observation(seen: dict[str, Any]) -> Observation:
    return Observation(
        time=seen["time"],
        started=seen["started"],
        supervised=seen["supervised"],
        exit_code=seen["exit_code"],
        python=seen["python"],
        python_runs=seen["python_runs"],
        disk_free_mib=seen["disk_free_mib"],
        processes=tuple(Process(item["pid"], item["role"]) for item in seen["processes"]),
        cpu_seconds=seen["cpu_ticks"] / TICKS_PER_SECOND,
        listeners=tuple(_listener(item) for item in seen["listeners"]),
        chip_holders=tuple(_holder(item) for item in seen["chip_holders"]),
        health=seen["health"],
        devices=_devices(seen["devices"]),
        log_bytes=seen["log_bytes"],
        log_growth=seen["log_growth"],
        log_age=seen["log_age"],
        log_last=seen["log_last"],
        errors=tuple(seen["errors"]),
        marks={name: line for name, line in seen["marks"].items() if line is not None},
    )


def _listener(item: dict[str, Any]) -> Listener:
    return Listener(item["port"], item["ours"], None if item["ours"] else _holder(item))


def _holder(item: dict[str, Any]) -> Holder:
    return Holder(item.get("pid"), item.get("user", ""), str(item.get("argv", "")).strip())


def _devices(text: str | None) -> Devices | None:
    if text is None:
        return None
    seen = json.loads(text)
    return Devices(
        platform=seen["platform"],
        process_index=seen["process_index"],
        process_count=seen["process_count"],
        device_count=seen["device_count"],
        local_device_count=seen["local_device_count"],
        pid=seen["pid"],
    )
