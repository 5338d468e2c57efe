"""Launch on every worker at once, each exactly once; stop, and wait until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from runtime.jobs.remote import answer
from runtime.jobs.spec import JobSpec
from runtime.jobs.states import Ack, Answer, Gang
from runtime.transport import Connection, Fleet, Outcome
from stack.errors import BadInput, NotVerified


def launch(fleet: Fleet, specs: Mapping[int, JobSpec], *, deadline: float = 120.0) -> Gang:
    """Start one attempt on the workers of ``specs`` and return every worker's acknowledgement.

    May be called again with the same specs after any failure: a worker that has it answers ALREADY_RUNNING or
    ALREADY_COMPLETE, and no second process is started. Stops nothing; see ``launch_gang``.

    Raises:
        BadInput: the specs are not of one attempt of one job.
    """
    first = next(iter(specs.values()), None)
    if first is None:
        raise BadInput("has no worker", key="attempt", cure="The slice lists none")
    if len({(spec.job, spec.attempt) for spec in specs.values()}) > 1:
        raise BadInput("differs between workers", key="attempt", value=first.attempt)
    outcomes = fleet.each(lambda connection: launch_on(connection, specs[connection.worker]), specs, deadline)
    acks = {worker: outcome.value for worker, outcome in outcomes.items() if outcome.value is not None}
    errors = {worker: outcome.error for worker, outcome in outcomes.items() if outcome.error is not None}
    return Gang(first.attempt, acks, errors)


def launch_gang(fleet: Fleet, specs: Mapping[int, JobSpec], *, deadline: float = 120.0) -> Gang:
    """``launch``, and where a worker has not acknowledged, stop the attempt on the others.

    A part of a gang only waits for the rest and holds the chips meanwhile.
    """
    gang = launch(fleet, specs, deadline=deadline)
    if not gang.ok:
        job = next(iter(specs.values())).job
        stop(fleet, job, gang.attempt, workers=specs, grace=2.0, deadline=30.0)
    return gang


def launch_on(connection: Connection, spec: JobSpec) -> Ack:
    """Start the attempt on one worker, or hear that it is there already.

    Raises:
        NotVerified: the worker gave no answer that can be used.
        TransportFailed: it could not be asked.
    """
    arguments = ("launch", spec.job, spec.attempt, spec.digest())
    word, detail = answer(connection, "job.sh", *arguments, words=tuple(Answer), stdin=spec.payload())
    return Ack(connection.worker, Answer(word), detail)


@dataclass(frozen=True)
class Stopped:
    """What stopping an attempt came to on one worker.

    Attributes:
        was_running: there was something to end; ``killed``: TERM was not enough.
    """

    worker: int
    was_running: bool
    killed: bool
    seconds: float


def stop(
    fleet: Fleet,
    job: str,
    attempt: str = "current",
    *,
    workers: Iterable[int] | None = None,
    grace: float = 15.0,
    deadline: float = 60.0,
    poll: float = 0.25,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[int, Outcome[Stopped]]:
    """End every process of the attempt on each worker and return when they are gone.

    TERM to its process group and to what else is of its session; after ``grace`` seconds KILL. Each call is
    short; nothing is ended by a pattern. Nothing there to end is a success, too.
    """

    def one(connection: Connection) -> Stopped:
        return _stop_on(connection, job, attempt, grace, deadline, poll, clock, sleep)

    return fleet.each(one, workers, deadline + 10.0)


def _stop_on(
    connection: Connection,
    job: str,
    attempt: str,
    grace: float,
    deadline: float,
    poll: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Stopped:
    started = clock()
    was_running = killed = False
    while True:
        signal = "KILL" if clock() - started > grace else "TERM" if not was_running else "0"
        killed = killed or signal == "KILL"
        words = ("STOPPED", "STOPPING", "ABSENT", "REFUSED")
        word, rest = answer(connection, "job.sh", "stop", job, attempt, signal, words=words)
        if word in ("STOPPED", "ABSENT"):
            return Stopped(connection.worker, was_running, killed, clock() - started)
        if word == "REFUSED":
            raise NotVerified(f"cannot stop {job}: {rest}", key="worker", value=connection.worker)
        if clock() - started > deadline:
            why = f"{rest} processes of {job} are still alive {deadline:g} s after TERM and KILL"
            raise NotVerified(
                why, key="worker", value=connection.worker, cure="Look at them: they may hang in the kernel"
            )
        was_running = True
        sleep(poll)
