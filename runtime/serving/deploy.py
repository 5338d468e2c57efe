"""``deploy`` whole: from a config to a verdict with its evidence. Safe to run twice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.engines import sglang_jax
from runtime.evidence import evidence_folder, write_evidence
from runtime.jobs.states import Ack, JobStatus
from runtime.planner import LaunchPlan
from runtime.progress import Progress
from runtime.serving import place
from runtime.serving.planning import Intent, plan_for
from runtime.serving.record import read_plan
from runtime.serving.session import Session, values
from runtime.serving.watch import ServerWatch, watch_server
from runtime.verdict import Verdict, WorkerVerdict
from stack.errors import NotVerified

if TYPE_CHECKING:
    from runtime.engines.sglang_jax_rungs import Facts
    from runtime.readiness import Climbed
    from runtime.transport import Connection

LOG_LINES = 400
"""Of each worker's log, kept as evidence."""


@dataclass(frozen=True)
class Served:
    """A verdict, and where to reach what was judged."""

    verdict: Verdict
    plan: LaunchPlan
    url: str


def deploy(session: Session, intent: Intent, attempt: str, progress: Progress, *, evidence: Path) -> Served:
    """Put the server on every worker and watch it until it is up, or cannot be.

    Args:
        attempt: the attempt's id; said again after a lost call, the launch is not repeated.
        evidence: the folder under which the evidence is kept.

    Raises:
        TpuStackError: before the launch, whatever stands against it. After it there is a verdict.
    """
    from runtime.jobs import Lease

    plan = plan_for(intent, session.slice, progress)
    with Lease(session.fleet[0], attempt) as lease:
        if not place.runs_already(session, attempt):
            place.stop_what_runs(session, progress, keep=attempt)
            place.clear_the_way(session, plan, intent)
        progress.step("bootstrap: the engine's environment on every worker")
        pythons = place.build_environment(session, intent, progress)
        progress.step("model: its files on every worker")
        models = place.bring_model(session, intent, progress)
        lease.check()
        progress.step(f"launch: attempt {attempt}")
        parts = place.specs(session, plan, attempt, pythons=pythons, models=models)
        acks = place.launch(session, parts, progress)
        progress.step("verify: every rung on every worker")
        return judge(session, plan, attempt, progress, acks=acks, evidence=evidence)


def verify(session: Session, progress: Progress, *, evidence: Path) -> Served:
    """Look once at what was launched, from this machine or another, and draw the verdict anew.

    Raises:
        NotVerified: nothing was launched, or the workers do not hold one and the same attempt.
    """
    attempt = current_attempt(session)
    plan = read_plan(session.fleet[0], place.JOB, attempt)
    progress.step(f"verify: attempt {attempt}")
    return judge(session, plan, attempt, progress, acks={}, evidence=evidence, once=True)


def current_attempt(session: Session) -> str:
    """The attempt that every worker holds.

    Raises:
        NotVerified: there is none, or not the same everywhere.
    """
    from runtime.jobs import status

    found = values(status(session.fleet, place.JOB))
    attempts = {item.attempt if str(item.state) != "absent" else "none" for item in found.values()}
    if attempts == {"none"}:
        why = "nothing has been deployed on it"
        cure = f"Run: invoke deploy --stack {session.config.stack}"
        raise NotVerified(why, key="slice", value=session.slice.node_id, cure=cure)
    if len(attempts) > 1:
        held = ", ".join(f"worker {worker}: {item.attempt} {item.state}" for worker, item in found.items())
        cure = f"Run: invoke deploy --stack {session.config.stack}"
        raise NotVerified(f"its workers hold different attempts ({held})", key="job", value=place.JOB, cure=cure)
    return attempts.pop()


def judge(
    session: Session,
    plan: LaunchPlan,
    attempt: str,
    progress: Progress,
    *,
    acks: Mapping[int, Ack],
    evidence: Path,
    once: bool = False,
) -> Served:
    """Watch the attempt and draw its verdict, evidence written."""
    watch = ServerWatch(session, plan, place.JOB, attempt)
    climbed = watch_server(watch, progress, clock=time.monotonic, wait=time.sleep, once=once)
    states = _states(session, attempt)
    verdict = Verdict(
        job=place.JOB,
        attempt=attempt,
        endpoint=f"{session.slice.workers[0].internal_ip}:{plan.port}",
        runtime_version=session.slice.runtime_version,
        tensor_parallel=plan.tensor_parallel,
        data_parallel=plan.data_parallel,
        workers=_workers(climbed, states, acks),
        checks=sglang_jax.checks(plan, climbed.facts),
        reasons=tuple(f"worker {worker}: {reason}" for worker, reason in climbed.reasons.items()),
    )
    logs = _logs(session, attempt)
    folder = evidence_folder(evidence, session.config.stack, place.JOB, attempt)
    kept = write_evidence(folder, verdict, plan=plan.as_dict(), slice_=asdict(session.slice), logs=logs)
    return Served(kept, plan, f"http://{kept.endpoint}")


def _workers(
    climbed: Climbed[Facts], states: Mapping[int, JobStatus | None], acks: Mapping[int, Ack]
) -> tuple[WorkerVerdict, ...]:
    verdicts = []
    for worker, rungs in sorted(climbed.rungs.items()):
        status = states.get(worker)
        ack = str(acks[worker].answer) if worker in acks else ""
        verdicts.append(WorkerVerdict(worker, str(status.state) if status else "unreachable", ack, rungs))
    return tuple(verdicts)


def _states(session: Session, attempt: str) -> dict[int, JobStatus | None]:
    from runtime.jobs import status

    outcomes = status(session.fleet, place.JOB, attempt)
    return {worker: outcome.value for worker, outcome in outcomes.items()}


def _logs(session: Session, attempt: str) -> dict[int, str]:
    """The end of each worker's log; where it could not be had, why."""
    from runtime.jobs import log_tail

    def tail(connection: Connection) -> str:
        return log_tail(connection, place.JOB, attempt, lines=LOG_LINES)

    outcomes = session.fleet.each(tail)
    return {
        worker: outcome.value if outcome.value is not None else f"[not fetched: {outcome.error}]\n"
        for worker, outcome in outcomes.items()
    }
