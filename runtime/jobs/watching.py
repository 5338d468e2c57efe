"""What an attempt is doing: its status, its log; asked in short calls, each whole in itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runtime.jobs.remote import no_answer
from runtime.jobs.states import JobStatus, parse_status
from runtime.transport import Connection, Fleet, Outcome
from runtime.transport.scripts import run_script
from stack.errors import NotVerified, Refused


def status(
    fleet: Fleet, job: str, attempt: str = "current", *, workers: Iterable[int] | None = None, deadline: float = 60.0
) -> dict[int, Outcome[JobStatus]]:
    """The attempt's status on each worker; ABSENT where the worker has none."""
    return fleet.each(lambda connection: status_on(connection, job, attempt), workers, deadline)


def status_on(connection: Connection, job: str, attempt: str = "current") -> JobStatus:
    """The attempt's status on one worker.

    Raises:
        NotVerified: the worker's answer cannot be read.
        TransportFailed: it could not be asked.
    """
    statuses = _statuses(connection, "status", job, attempt)
    return statuses[-1]


def jobs_on(connection: Connection) -> tuple[JobStatus, ...]:
    """The current attempt of every job the worker knows, bootstraps included."""
    return tuple(_statuses(connection, "list", may_be_empty=True))


def _statuses(connection: Connection, *arguments: str, may_be_empty: bool = False) -> list[JobStatus]:
    result = run_script(connection, "job.sh", arguments, timeout=15)
    lines = [line for line in result.text.splitlines() if line.startswith('{"job"')]
    if not lines and not (may_be_empty and result.ok):
        raise no_answer(connection, "job.sh", result)
    try:
        return [parse_status(connection.worker, line) for line in lines]
    except (ValueError, TypeError, KeyError, json.JSONDecodeError) as error:
        why = f"its status cannot be read ({error}): {lines[-1][:200]}"
        raise NotVerified(why, key="worker", value=connection.worker) from error


def log_tail(connection: Connection, job: str, attempt: str = "current", *, lines: int = 50) -> str:
    """The last lines of the attempt's log.

    Raises:
        Refused: there is no such log.
    """
    result = run_script(connection, "job.sh", ["tail", job, attempt, str(int(lines))], timeout=15)
    if not result.ok:
        raise _no_log(connection, job, attempt)
    return result.text


@dataclass(frozen=True)
class LogPiece:
    """Bytes of a log. ``next_offset`` is where to go on; ``length`` is what was written so far.

    Offsets count what the supervisor cut out, too, so they never step back; a reader that was behind the cut
    goes on after it.
    """

    data: bytes
    next_offset: int
    length: int


def read_log(
    connection: Connection, job: str, attempt: str = "current", *, offset: int = 0, limit: int = 1024 * 1024
) -> LogPiece:
    """At most ``limit`` bytes of the log from ``offset``.

    Raises:
        Refused: there is no such log.
    """
    arguments = ["read", job, attempt, str(int(offset)), str(int(limit))]
    result = run_script(connection, "job.sh", arguments, timeout=15, limit=limit + 256)
    head, separator, data = result.stdout.partition(b"\n")
    numbers = head.split()
    if not separator or len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        raise _no_log(connection, job, attempt)
    return LogPiece(data, int(numbers[0]), int(numbers[1]))


def whole_log(connection: Connection, job: str, attempt: str = "current") -> Iterator[bytes]:
    """The log in pieces, from its first byte to where it ends now."""
    offset = 0
    while True:
        piece = read_log(connection, job, attempt, offset=offset)
        if piece.data:
            yield piece.data
        if piece.next_offset >= piece.length or piece.next_offset <= offset:
            return
        offset = piece.next_offset


def _no_log(connection: Connection, job: str, attempt: str) -> Refused:
    why = f"has no log of {job}" + (f" attempt {attempt}" if attempt != "current" else "")
    return Refused(why, key="worker", value=connection.worker, cure="See what it knows: invoke status")
