"""The ladder: named rungs, each drawn from evidence by a pure function.

A rung passes, is pending, or fails; a failed one has one reason. The caller polls, keeps the clocks (a rung's
``patience`` is how long it may stand without progress) and draws the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class RungState(StrEnum):
    """How a rung stands on one worker."""

    PASSED = "passed"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True)
class Standing:
    """A rung's state on one worker, and the evidence or the reason in one line."""

    state: RungState
    detail: str


@dataclass(frozen=True)
class RungReport:
    """One rung of one worker."""

    name: str
    worker: int
    state: RungState
    detail: str


@dataclass(frozen=True)
class Rung[F]:
    """One rung over facts of type F.

    Attributes:
        patience: seconds that it may stay pending while nothing moves on any worker.
    """

    name: str
    patience: float
    judge: Callable[[F], Standing]


def passed(detail: str) -> Standing:
    return Standing(RungState.PASSED, detail)


def pending(detail: str) -> Standing:
    return Standing(RungState.PENDING, detail)


def failed(detail: str) -> Standing:
    return Standing(RungState.FAILED, detail)


def climb[F](ladder: Sequence[Rung[F]], worker: int, facts: F) -> tuple[RungReport, ...]:
    """Every rung of one worker, in order; above the first that has not passed, all wait for it."""
    reports: list[RungReport] = []
    below: str | None = None
    for rung in ladder:
        standing = rung.judge(facts) if below is None else pending(f"waits for {below}")
        reports.append(RungReport(rung.name, worker, standing.state, standing.detail))
        if standing.state is not RungState.PASSED and below is None:
            below = rung.name
    return tuple(reports)


def current(reports: Sequence[RungReport]) -> RungReport | None:
    """The rung that a worker stands before: the first that has not passed; None when it is at the top."""
    return next((report for report in reports if report.state is not RungState.PASSED), None)
