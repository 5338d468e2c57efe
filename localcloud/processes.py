"""Processes of workers, found by a mark in their environment: the kernel's list is the truth, no file of ours.

Every process that carries a worker (the outer ``unshare``, the init, its sshd) is started with
``LOCALCLOUD_WORKER=CLOUD/NODE/INDEX``; whatever else runs in the worker ends with its init, because the
kernel ends a process namespace with its first process.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "LOCALCLOUD_WORKER"
PROC = Path("/proc")

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of what we start: the system's own programs, nothing of the caller's."""


@dataclass(frozen=True)
class MarkedProcess:
    """A process of a worker.

    Attributes:
        mark: ``CLOUD/NODE/INDEX``.
        is_init: whether it is process 1 of its worker.
    """

    pid: int
    mark: str
    is_init: bool


def marked(prefix: str) -> list[MarkedProcess]:
    """The live processes whose mark is ``prefix`` or begins with ``prefix/``."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            process = _read(int(entry.name))
            if process is not None and (process.mark == prefix or process.mark.startswith(f"{prefix}/")):
                found.append(process)
    return found


def init_of(mark: str) -> int | None:
    """The pid, as seen here, of the first process of the worker ``mark``; None when it does not run."""
    return next((process.pid for process in marked(mark) if process.is_init and process.mark == mark), None)


def kill_marked(prefix: str, *, deadline: float = 20.0) -> None:
    """End every process under ``prefix`` and all that runs in those workers; returns when they are gone.

    Raises:
        TimeoutError: some did not end, which only a process stuck in the kernel does.
    """
    until = time.monotonic() + deadline
    while processes := marked(prefix):
        for handle in _kill(process.pid for process in processes):
            try:
                wait_for_end(handle, until - time.monotonic())
            finally:
                os.close(handle)
        if time.monotonic() > until:
            raise TimeoutError(f"still there: {', '.join(str(process.pid) for process in processes)}")


def start_time(pid: int) -> int | None:
    """The start time of ``pid`` in clock ticks since boot: with the pid, an identity that is not reused."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def wait_for_end(handle: int, seconds: float) -> bool:
    """Whether the process of the pidfd ``handle`` has ended within ``seconds``."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _kill(pids: Iterable[int]) -> list[int]:
    handles = []
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        handles.append(handle)
        # Between the look and the handle the pid may have passed to a stranger: look again, then strike.
        if _read(pid) is not None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    return handles


def _read(pid: int) -> MarkedProcess | None:
    folder = PROC / str(pid)
    try:
        environment = (folder / "environ").read_bytes()
        mark = next((item for item in environment.split(b"\0") if item.startswith(MARK.encode() + b"=")), None)
        if mark is None:
            return None
        status = (folder / "status").read_text()
    except OSError:
        return None
    inner = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return MarkedProcess(pid, mark.decode().partition("=")[2], is_init=len(inner) > 1 and inner[-1] == "1")
