"""``status``, ``logs``, ``ssh``: what runs on a slice, seen from any machine that has the key."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from commands.console import Console, Outcome
from commands.context import open_stack
from stack.errors import BadInput, MissingPrerequisite, raise_all

if TYPE_CHECKING:
    from runtime.jobs import JobStatus
    from runtime.serving.session import Session
    from runtime.transport import Connection
    from runtime.transport import Outcome as WorkerOutcome

FOLLOW_SECONDS = 1.0


def status(_: Console, stack: str) -> Outcome:
    """Every job on every worker, and who holds the lease."""
    target = open_stack(stack)
    from runtime.jobs import jobs_on, lease_holder
    from runtime.progress import Silent
    from runtime.serving.session import open_session

    with open_session(target.config, Silent()) as session:
        found = session.fleet.each(jobs_on)
        holder = lease_holder(session.fleet[0])
    slice_ = session.slice
    lines = [f"slice {slice_.node_id}: {slice_.accelerator_type}, {slice_.state}, {slice_.runtime_version}"]
    lines += [_status_line(worker, outcome) for worker, outcome in found.items()]
    lines.append(f"lease: {f'held by {holder.name} for {holder.seconds_left} s more' if holder else 'free'}")
    document = {
        "slice": {"name": slice_.node_id, "state": slice_.state, "accelerator_type": slice_.accelerator_type},
        "lease": holder.__dict__ if holder else None,
        "workers": [_status_document(worker, outcome) for worker, outcome in found.items()],
    }
    errors = tuple(outcome.error for outcome in found.values() if outcome.error is not None)
    return Outcome(document, tuple(lines), max((error.exit_code for error in errors), default=0), errors)


def _status_line(worker: int, outcome: WorkerOutcome[tuple[JobStatus, ...]]) -> str:
    if outcome.value is None:
        return f"worker {worker}: {outcome.error}"
    jobs = [
        f"{job.job} {job.state}{f' ({job.why})' if job.why else ''}, attempt {job.attempt}, {job.members} processes"
        for job in outcome.value
        if not job.job.startswith("bootstrap-")
    ]
    return f"worker {worker}: {'; '.join(jobs) or 'no job'}"


def _status_document(worker: int, outcome: WorkerOutcome[tuple[JobStatus, ...]]) -> dict[str, object]:
    jobs = [job.as_dict() for job in outcome.value or ()]
    return {"index": worker, "jobs": jobs, "error": outcome.error.as_dict() if outcome.error else None}


def logs(console: Console, stack: str, worker: str, lines: int, follow: bool) -> Outcome:
    """The end of the server's log, and with ``follow`` what comes after it."""
    if lines < 0:
        raise BadInput("must not be negative", key="--lines", value=lines, cure="Use --lines 20")
    target = open_stack(stack)
    from runtime.jobs import log_tail
    from runtime.progress import Silent
    from runtime.serving.place import JOB
    from runtime.serving.session import open_session, values

    with open_session(target.config, Silent()) as session:
        wanted = _workers(session, worker)
        texts = values(session.fleet.each(lambda connection: log_tail(connection, JOB, lines=lines), wanted))
        for index, text in texts.items():
            _print(console, index, text.splitlines())
        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                _follow(console, session, wanted)
    return Outcome({"logs": [{"index": index, "lines": text.splitlines()} for index, text in texts.items()]})


def _follow(console: Console, session: Session, workers: Iterable[int]) -> None:
    """Print what the logs gain until interrupted; each look is a short call of its own."""
    from runtime.jobs import read_log
    from runtime.serving.place import JOB

    offsets = {worker: read_log(session.fleet[worker], JOB, offset=2**62).length for worker in workers}

    def new(connection: Connection) -> bytes:
        piece = read_log(connection, JOB, offset=offsets[connection.worker])
        offsets[connection.worker] = piece.next_offset
        return piece.data

    while True:
        outcomes = session.fleet.each(new, workers)
        raise_all(outcome.error for outcome in outcomes.values() if outcome.error is not None)
        for worker, outcome in outcomes.items():
            _print(console, worker, (outcome.value or b"").decode("utf-8", "replace").splitlines())
        time.sleep(FOLLOW_SECONDS)


def _print(console: Console, worker: int, lines: Iterable[str]) -> None:
    for line in lines:
        console.line(f"worker {worker} | {line}")


def _workers(session: Session, worker: str) -> tuple[int, ...]:
    """The workers that ``--worker`` means: all without it.

    Raises:
        BadInput: there is no such worker.
    """
    known = session.fleet.workers
    if not worker:
        return known
    if not worker.isdigit() or int(worker) not in known:
        cure = f"Use one of {', '.join(map(str, known))}"
        raise BadInput("is no worker of the slice", key="--worker", value=worker, cure=cure)
    return (int(worker),)


def ssh(console: Console, stack: str, worker: int, accept_host_key: bool) -> Outcome:
    """Replace this process by ssh to a worker, with our key and the pinned host key only."""
    target = open_stack(stack)
    from runtime.keys import login_key
    from runtime.progress import Silent
    from runtime.serving.session import open_session
    from runtime.transport.host_keys import KnownHosts
    from runtime.transport.shell import ssh_command

    config = target.config.ssh
    with open_session(target.config, Silent(), accept_host_key=accept_host_key) as session:
        _workers(session, str(worker))
        argv = ssh_command(
            session.slice, worker, user=config.user, route=config.route, key=login_key(), pins=KnownHosts.of_user()
        )
    console.line(f"worker {worker} of {session.slice.node_id}")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - ssh itself, by argv
    except FileNotFoundError:
        raise MissingPrerequisite(
            "is not installed", key="ssh", cure="Install it: sudo apt-get install openssh-client"
        ) from None
