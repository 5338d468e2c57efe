"""Bring a server onto the workers: stop what runs, clear the way, environment, model, launch.

Each step is taken on all workers at once, and over on all before the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.engines import sglang_jax
from runtime.jobs.spec import JobSpec
from runtime.jobs.states import Ack, State
from runtime.planner import LaunchPlan, bind
from runtime.progress import Progress
from runtime.serving.planning import Intent
from runtime.serving.record import PLAN, plan_bytes
from runtime.serving.session import Session, values
from stack.errors import NotVerified, raise_all

if TYPE_CHECKING:
    from runtime.jobs.gates import Gates
    from runtime.jobs.states import JobStatus
    from runtime.transport import Connection

NAME = "llm"
JOB = f"server-{NAME}"
"""The job's folder on the workers."""

GIB = 1024**3
ENVIRONMENT_BYTES = 3 * GIB
"""Room for an engine's environment while it is built beside the old one (sglang-jax 0.0.2: 0.9 GB on CPU)."""

PATIENCE = 8.0
"""Seconds for ports and chips to come free: what was just stopped takes a moment to let go of them."""

HUB_MARGIN = 2.2
"""Bytes on disk for a byte of bfloat16 weights that the Hub sends: the download, and some room."""


@dataclass(frozen=True)
class Placed:
    """A launch that every worker has acknowledged."""

    plan: LaunchPlan
    attempt: str
    acks: Mapping[int, Ack]


def runs_already(session: Session, attempt: str) -> bool:
    """Whether every worker runs this very attempt: then there is nothing to clear, only to watch."""
    from runtime.jobs import status

    outcomes = values(status(session.fleet, JOB, attempt))
    return all(item.state in (State.RUNNING, State.STARTING) for item in outcomes.values())


def stop_what_runs(session: Session, progress: Progress, *, keep: str = "") -> tuple[str, ...]:
    """End every job of ours that runs on any worker, but for attempt ``keep``; the names of those ended.

    Raises:
        NotVerified, TransportFailed, Several: something of it is still there.
    """
    from runtime.jobs import jobs_on, stop

    found = values(session.fleet.each(jobs_on))
    running = {item.job for statuses in found.values() for item in statuses if _holds(item) and item.attempt != keep}
    for job in sorted(running):
        progress.step(f"stop {job}")
        values(stop(session.fleet, job))
    return tuple(sorted(running))


def _holds(status: JobStatus) -> bool:
    alive = status.state in (State.RUNNING, State.STARTING) or status.members > 0
    return alive and not status.job.startswith("bootstrap-")


def clear_the_way(session: Session, plan: LaunchPlan, intent: Intent) -> None:
    """Return when ports and chips are free and the disk has room, on every worker.

    Raises:
        Blocked, Several: what stands in the way, and where; nothing of it is ended.
        TransportFailed: a worker could not be asked.
    """
    from runtime.jobs import await_gates

    gates = {worker: _gates(plan, intent, worker) for worker in session.fleet.workers}
    reports = values(await_gates(session.fleet, gates, patience=PATIENCE))
    raise_all(blocker.error() for report in reports.values() for blocker in report.blockers)


def _gates(plan: LaunchPlan, intent: Intent, worker: int) -> Gates:
    from runtime.jobs import Gates

    side = (plan.dist_port, plan.dist_port + 5, plan.dist_port + 6)
    rendezvous = side if worker == 0 and plan.worker_count > 1 else ()
    files = sum(file.size for file in intent.model.files)
    weights = files or int(plan.parameters * HUB_MARGIN)
    return Gates(ports=(plan.port, *rendezvous), disk_bytes=weights + ENVIRONMENT_BYTES)


def build_environment(session: Session, intent: Intent, progress: Progress) -> dict[int, str]:
    """The interpreter of the engine's environment on each worker, built where it is missing or broken.

    Raises:
        NotVerified, TransportFailed, Several: one reason for each worker where it cannot be built.
    """
    from runtime.jobs.bootstrap import ensure_environment

    reports = values(ensure_environment(session.fleet, intent.environment, progress=progress))
    return {worker: report.python for worker, report in reports.items()}


def bring_model(session: Session, intent: Intent, progress: Progress) -> dict[int, str]:
    """The model's place on each worker: a folder, synced by content, or the Hub id that the engine fetches."""
    if intent.model.folder is None:
        return {worker: str(intent.model.hub_id) for worker in session.fleet.workers}
    folder = intent.model.folder
    name = f".tpu-stack/models/{intent.model.digest[:16]}"

    def sync(connection: Connection) -> str:
        from runtime.transport.files import sync_folder

        synced = sync_folder(connection, folder, name)
        return f"{synced.sent_files} files sent, {synced.kept_files} there already"

    session.each("model", sync, progress, deadline=3600.0)
    return {worker: f"{session.homes[worker]}/{name}" for worker in session.fleet.workers}


def specs(
    session: Session, plan: LaunchPlan, attempt: str, *, pythons: Mapping[int, str], models: Mapping[int, str]
) -> dict[int, JobSpec]:
    """Every worker's part of the attempt, with nothing left to fill in."""
    from runtime.jobs import attempt_folder

    parts = {}
    for worker in session.fleet.workers:
        bound = bind(
            plan,
            worker0=session.slice.workers[0].internal_ip,
            model_path=models[worker],
            python=pythons[worker],
            attempt=f"{session.homes[worker]}/{attempt_folder(JOB, attempt)}",
            home=session.stack_home(worker),
        )
        launch = bound.launch[worker]
        parts[worker] = JobSpec(
            kind="server",
            name=NAME,
            attempt=attempt,
            run_script=sglang_jax.run_script(),
            files={**sglang_jax.job_files(launch), PLAN: plan_bytes(plan)},
            env=launch.env,
        )
    return parts


def launch(session: Session, parts: Mapping[int, JobSpec], progress: Progress) -> dict[int, Ack]:
    """Start the attempt on every worker, once; every worker's acknowledgement.

    Raises:
        NotVerified: the slice was replaced meanwhile, or a worker refused; what had started is stopped again.
        TransportFailed, Several: a worker could not be asked.
    """
    from runtime.jobs import launch_gang
    from runtime.jobs.states import refusal

    now = session.api.get_slice(session.slice.name)
    if not session.slice.same_as(now):
        why = "was replaced while it was being prepared"
        raise NotVerified(why, key="slice", value=session.slice.node_id, cure="Deploy again")
    gang = launch_gang(session.fleet, parts)
    for worker, ack in gang.acks.items():
        progress.worker(worker, "launch", str(ack))
    refused = [refusal(ack) for ack in gang.acks.values() if not ack.accepted]
    raise_all([*gang.errors.values(), *refused])
    return gang.acks
