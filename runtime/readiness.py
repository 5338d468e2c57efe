"""Wait until every worker is at the top of the ladder, or say which rung stopped which worker.

A failed rung ends the wait at once. A pending one ends it when nothing moved on any worker for the rung's
patience: no rung gained, nothing that the engine counts as progress. So a slow start is waited for, and a worker
that never started is not. Clock and wait are parameters; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.engines.ladder import Rung, RungReport, RungState, climb, current
from runtime.verdict import RungResult

SETTLE = 6.0
"""Seconds to go on looking after the first failure: the root cause often shows on another worker a moment later."""

Reports = Mapping[int, tuple[RungReport, ...]]


@dataclass(frozen=True)
class Climbed[F]:
    """How the wait ended: every worker's rungs, the last facts, and one reason a worker that is not up."""

    rungs: Mapping[int, tuple[RungResult, ...]]
    facts: Mapping[int, F]
    reasons: Mapping[int, str]

    @property
    def up(self) -> bool:
        return not self.reasons


@dataclass
class _Watch[F]:
    """What the loop remembers: when each rung was reached, and when anything last moved."""

    ladder: Sequence[Rung[F]]
    started: float
    reached: dict[tuple[int, str], float] = field(default_factory=dict)
    moved_at: float = 0.0
    marks: dict[int, tuple[int, int]] = field(default_factory=dict)

    def record(self, reports: Reports, progress: Mapping[int, int], now: float) -> None:
        """Note the rungs that were reached, and whether anything moved."""
        for worker, rungs in reports.items():
            for report in rungs:
                if report.state is not RungState.PENDING:
                    self.reached.setdefault((worker, report.name), now - self.started)
            mark = (sum(report.state is RungState.PASSED for report in rungs), progress[worker])
            if self.marks.get(worker) != mark:
                self.moved_at = now
                self.marks[worker] = mark

    def stalled(self, reports: Reports, now: float) -> dict[int, str]:
        """The workers that stand before the lowest rung, once its patience is over."""
        standing = {worker: report for worker, rungs in reports.items() if (report := current(rungs)) is not None}
        names = [rung.name for rung in self.ladder]
        lowest = min((names.index(report.name) for report in standing.values()), default=None)
        if lowest is None or now - self.moved_at < self.ladder[lowest].patience:
            return {}
        rung = self.ladder[lowest]
        return {
            worker: f"{rung.name}: nothing moved for {rung.patience:.0f} s: {report.detail}"
            for worker, report in standing.items()
            if report.name == rung.name
        }

    def results(self, reports: Reports, now: float) -> dict[int, tuple[RungResult, ...]]:
        return {
            worker: tuple(
                RungResult(
                    report.name,
                    report.state is RungState.PASSED,
                    round(self.reached.get((worker, report.name), now - self.started), 1),
                    report.detail,
                )
                for report in rungs
            )
            for worker, rungs in reports.items()
        }


def await_ready[F](
    ladder: Sequence[Rung[F]],
    look: Callable[[], Mapping[int, F]],
    progress_of: Callable[[F], int],
    *,
    clock: Callable[[], float],
    wait: Callable[[float], None],
    on_reports: Callable[[Reports], None] = lambda _reports: None,
    poll: float = 2.0,
    once: bool = False,
) -> Climbed[F]:
    """Look until all are up, one has failed, or nothing moves any more.

    Args:
        look: one look at every worker, at the same time.
        progress_of: a number that changes while a worker gets on.
        poll: seconds between looks; each costs every worker some tenths of a second of CPU.
        once: draw the verdict from a single look, as ``verify`` does; what is pending counts as a reason.
    """
    watch: _Watch[F] = _Watch(ladder, clock())
    failed_at: float | None = None
    while True:
        facts = look()
        now = clock()
        reports = {worker: climb(ladder, worker, facts[worker]) for worker in sorted(facts)}
        watch.record(reports, {worker: progress_of(facts[worker]) for worker in facts}, now)
        on_reports(reports)
        waiting = {worker: report for worker, rungs in reports.items() if (report := current(rungs)) is not None}
        failures = {worker: report for worker, report in waiting.items() if report.state is RungState.FAILED}
        failed_at = (now if failed_at is None else failed_at) if failures else None
        settled = failed_at is not None and (len(failures) == len(reports) or now - failed_at >= SETTLE)
        reasons = watch.stalled(reports, now)
        if once or settled:
            shown = waiting if once else failures
            reasons = {worker: f"{report.name}: {report.detail}" for worker, report in shown.items()}
        if not waiting or reasons or once:
            return Climbed(watch.results(reports, now), facts, dict(sorted(reasons.items())))
        wait(poll)
