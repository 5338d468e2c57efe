"""What the worker's scripts answer, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stack.errors import NotVerified, TpuStackError


class Answer(StrEnum):
    """The four answers to a launch. They count; the exit code of ssh does not."""

    LAUNCHED = "LAUNCHED"
    ALREADY_RUNNING = "ALREADY_RUNNING"
    ALREADY_COMPLETE = "ALREADY_COMPLETE"
    REFUSED = "REFUSED"


class State(StrEnum):
    """Of an attempt on one worker.

    ``lost``: its processes are gone and nobody recorded how they ended (a reboot, a killed supervisor).
    ``stopped``: ended because we were asked to.
    """

    STARTING = "starting"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"
    ABSENT = "absent"

    @property
    def over(self) -> bool:
        return self not in (State.STARTING, State.RUNNING)


@dataclass(frozen=True)
class Ack:
    """One worker's answer to a launch."""

    worker: int
    answer: Answer
    detail: str = ""

    @property
    def accepted(self) -> bool:
        return self.answer is not Answer.REFUSED

    def __str__(self) -> str:
        return f"{self.answer} {self.detail}".rstrip()


@dataclass(frozen=True)
class JobStatus:
    """An attempt on one worker, as its files and its processes show it now.

    Attributes:
        exit_code: None while it runs, or where nobody recorded it.
        members: live processes of the attempt, the supervisor not counted.
        supervised: the supervisor is alive.
        log_bytes: written in all, cut parts included; ``log_age``: seconds since the log last grew.
        why: for ``lost`` and ``failed``, in a few words.
    """

    worker: int
    job: str
    attempt: str
    state: State
    exit_code: int | None = None
    pid: int | None = None
    members: int = 0
    supervised: bool = False
    log_bytes: int = 0
    log_age: float | None = None
    seconds: float | None = None
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "state": str(self.state)}


@dataclass(frozen=True)
class Gang:
    """One attempt over all its workers: who acknowledged it, and who did not."""

    attempt: str
    acks: dict[int, Ack]
    errors: dict[int, TpuStackError]

    @property
    def ok(self) -> bool:
        """Every worker has acknowledged this attempt."""
        return not self.errors and all(ack.accepted for ack in self.acks.values())

    def check(self) -> Gang:
        """This gang.

        Raises:
            TpuStackError: what the first worker without an acknowledgement said.
        """
        for worker in sorted({*self.acks, *self.errors}):
            if worker in self.errors:
                raise self.errors[worker]
            if not self.acks[worker].accepted:
                raise refusal(self.acks[worker])
        return self


def refusal(ack: Ack) -> NotVerified:
    """A REFUSED answer as the error it is."""
    from stack.errors import Refused

    return Refused(f"refused the launch: {ack.detail}", key="worker", value=ack.worker, cure="Clear it, launch again")


def parse_ack(worker: int, output: str) -> Ack | None:
    """The answer in a launch's output, or None where there is none."""
    for line in reversed(output.splitlines()):
        word, _, detail = line.partition(" ")
        if word in Answer:
            return Ack(worker, Answer(word), detail.strip())
    return None


def parse_status(worker: int, line: str) -> JobStatus:
    """A status line of job.sh.

    Raises:
        ValueError: it is none.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError("not a mapping")
    known = {name: fields[name] for name in JobStatus.__dataclass_fields__ if name in fields}
    return JobStatus(**{**known, "worker": worker, "state": State(fields["state"])})
