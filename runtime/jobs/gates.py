"""What must hold on a worker before a launch: port free, chips free, room on the disk and in memory."""

from __future__ import annotations

import base64
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from runtime.jobs.remote import no_answer
from runtime.transport import Connection, Fleet, Outcome
from runtime.transport.scripts import run_script
from stack.errors import Blocked


@dataclass(frozen=True)
class Gates:
    """What is demanded of one worker.

    Attributes:
        ports: that the job will listen on.
        chips: nobody may hold a TPU device or libtpu's lock file; a worker without devices passes.
        disk_bytes: free in the login user's home; ``memory_bytes``: available.
        clock_skew: seconds the worker's clock may differ from ours; None to leave it.
    """

    ports: tuple[int, ...] = ()
    chips: bool = True
    disk_bytes: int = 0
    memory_bytes: int = 0
    clock_skew: float | None = None


@dataclass(frozen=True)
class Blocker:
    """One thing in the way on one worker. ``pid``, ``user``, ``argv`` where a process holds it."""

    worker: int
    gate: str
    why: str
    pid: int | None = None
    user: str | None = None
    argv: tuple[str, ...] = ()

    def error(self) -> Blocked:
        """The blocker as the error that a command ends with."""
        cure = {
            "disk": "Make room on it",
            "memory": "End what uses it",
            "clock": "Set its clock: sudo timedatectl set-ntp true",
        }.get(self.gate.split()[0], "End it, or set another port" if self.gate.startswith("port") else "End it")
        return Blocked(f"{self.gate}: {self.why}", key="worker", value=self.worker, cure=cure)


@dataclass(frozen=True)
class GateReport:
    """One worker before a launch: what was measured, and what stands in the way."""

    worker: int
    blockers: tuple[Blocker, ...]
    disk_free: int = 0
    memory_free: int = 0
    clock_skew: float = 0.0
    ports: Mapping[int, bool] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.blockers


def check_gates(
    fleet: Fleet, gates: Mapping[int, Gates], *, deadline: float = 45.0, clock: Callable[[], float] = time.time
) -> dict[int, Outcome[GateReport]]:
    """Look at each worker once; a blocked gate is a report, only an unreachable worker is an error."""
    return fleet.each(lambda connection: _check_on(connection, gates[connection.worker], clock), gates, deadline)


def await_gates(
    fleet: Fleet,
    gates: Mapping[int, Gates],
    *,
    patience: float = 20.0,
    poll: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[int, Outcome[GateReport]]:
    """``check_gates`` until all pass or ``patience`` seconds are over; a process that ends takes a moment to let go."""
    end = clock() + patience
    reports: dict[int, Outcome[GateReport]] = {}
    waiting = dict(gates)
    while True:
        reports.update(check_gates(fleet, waiting))
        waiting = {worker: gates[worker] for worker in waiting if _in_the_way(reports[worker])}
        if not waiting or clock() >= end:
            return dict(sorted(reports.items()))
        sleep(poll)


def _in_the_way(outcome: Outcome[GateReport]) -> bool:
    return outcome.value is None or not outcome.value.passed


def _check_on(connection: Connection, gates: Gates, clock: Callable[[], float]) -> GateReport:
    arguments = [f"port={int(port)}" for port in gates.ports] + (["chips"] if gates.chips else [])
    before = clock()
    result = run_script(connection, "gates.sh", arguments, timeout=20)
    middle = (before + clock()) / 2
    facts = [line.split("\t") for line in result.text.splitlines() if "\t" in line]
    if not result.ok or not any(fact[0] == "clock" for fact in facts):
        raise no_answer(connection, "gates.sh", result)
    return read_report(connection.worker, gates, facts, middle)


def read_report(worker: int, gates: Gates, facts: Iterable[list[str]], now: float) -> GateReport:
    """The report from gates.sh's lines, split at their tabs."""
    blockers: list[Blocker] = []
    ports: dict[int, bool] = {}
    disk = memory = 0
    skew = 0.0
    for kind, *rest in facts:
        if kind == "port":
            ports[int(rest[0])] = rest[1] == "free"
            if rest[1] != "free":
                blockers.append(_held(worker, f"port {rest[0]}", rest[1:]))
        elif kind == "chip":
            blockers.append(_held(worker, f"chip {rest[0]}", rest[1:]))
        elif kind == "disk":
            disk = int(rest[0])
        elif kind == "memory":
            memory = int(float(rest[0]))
        elif kind == "clock":
            skew = int(rest[0]) + 0.5 - now
    if disk < gates.disk_bytes:
        blockers.append(_short(worker, "disk", disk, gates.disk_bytes))
    if memory < gates.memory_bytes:
        blockers.append(_short(worker, "memory", memory, gates.memory_bytes))
    if gates.clock_skew is not None and abs(skew) > gates.clock_skew:
        blockers.append(Blocker(worker, "clock", f"is {skew:+.0f} s off ours, {gates.clock_skew:g} s are allowed"))
    return GateReport(worker, tuple(blockers), disk, memory, skew, ports)


def _held(worker: int, gate: str, fields: list[str]) -> Blocker:
    pid, user, encoded = fields
    if pid == "?":
        return Blocker(worker, gate, "held by a process of another user that cannot be seen without sudo")
    raw = base64.b64decode(encoded) if encoded != "-" else b""
    argv = tuple(part.decode("utf-8", "replace") for part in raw.rstrip(b"\0").split(b"\0"))
    shown = "".join(letter if letter.isprintable() else "?" for letter in shlex.join(argv)[:300])
    why = f"held by pid {pid} of user {user}: {shown}"
    return Blocker(worker, gate, why, int(pid), user, argv)


def _short(worker: int, gate: str, there: int, wanted: int) -> Blocker:
    gib = 1024**3
    return Blocker(worker, gate, f"{there / gib:.1f} GiB free, {wanted / gib:.1f} GiB are needed")
