"""Many workers at once: one thread a worker, one outcome a worker, nobody waits for the slowest for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType

from runtime.cloud.slice import LiveSlice
from runtime.keys import LoginKey
from runtime.transport.connection import Connection, ConnectionSettings
from runtime.transport.host_keys import KnownHosts
from runtime.transport.routes import route_to
from stack.errors import TpuStackError, TransportFailed


@dataclass(frozen=True)
class Outcome[T]:
    """What became of one worker's part: a value or an error, and the seconds it took."""

    worker: int
    value: T | None = None
    error: TpuStackError | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.error is None

    def get(self) -> T:
        """The value.

        Raises:
            TpuStackError: the worker's error.
        """
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None is a value where T allows it


class Fleet:
    """The connections to a slice's workers, by index; a context manager that closes them."""

    def __init__(self, connections: Mapping[int, Connection]) -> None:
        self.connections = dict(sorted(connections.items()))

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def workers(self) -> tuple[int, ...]:
        return tuple(self.connections)

    def __getitem__(self, worker: int) -> Connection:
        return self.connections[worker]

    def each[T](
        self, function: Callable[[Connection], T], workers: Iterable[int] | None = None, deadline: float = 60.0
    ) -> dict[int, Outcome[T]]:
        """Call ``function`` for each worker at the same time and return every outcome, in the workers' order.

        A worker that has not come back after ``deadline`` seconds has a TransportFailed for its outcome; its
        thread is left to die. Errors of ours become data here; any other exception is a defect and is raised.
        """
        wanted = list(self.connections) if workers is None else sorted(workers)
        started = time.monotonic()
        parts = {worker: _Part(function, self.connections[worker]) for worker in wanted}
        for part in parts.values():
            part.start()
        for part in parts.values():
            part.join(max(0.0, started + deadline - time.monotonic()))
        return {worker: part.outcome(deadline) for worker, part in parts.items()}

    def close(self) -> None:
        """Close every connection."""
        for connection in self.connections.values():
            connection.close()


class _Part[T](threading.Thread):
    def __init__(self, function: Callable[[Connection], T], connection: Connection) -> None:
        super().__init__(name=f"worker-{connection.worker}", daemon=True)
        self._function = function
        self._connection = connection
        self._outcome: Outcome[T] | None = None
        self._defect: BaseException | None = None

    def run(self) -> None:
        started = time.monotonic()
        worker = self._connection.worker
        try:
            value = self._function(self._connection)
        except TpuStackError as error:
            self._outcome = Outcome(worker, error=error, seconds=time.monotonic() - started)
        except BaseException as error:
            self._defect = error
        else:
            self._outcome = Outcome(worker, value=value, seconds=time.monotonic() - started)

    def outcome(self, deadline: float) -> Outcome[T]:
        if self._defect is not None:
            raise self._defect
        if self._outcome is not None:
            return self._outcome
        worker = self._connection.worker
        error = TransportFailed(f"no answer within {deadline:g} s", key="worker", value=worker, cure="Try again")
        return Outcome(worker, error=error, seconds=deadline)


def open_fleet(
    slice_: LiveSlice,
    *,
    user: str,
    route: str,
    key: LoginKey,
    known_hosts: KnownHosts | None = None,
    accept_host_key: bool = False,
) -> Fleet:
    """A fleet over every worker of the slice; nothing is dialled yet.

    Raises:
        BadInput: the route does not lead to a worker.
        HostKeyMismatch: a worker publishes another host key than the one pinned.
    """
    pins = known_hosts or KnownHosts.of_user()
    return Fleet(
        {
            worker.index: Connection(
                ConnectionSettings(
                    worker=worker.index,
                    node=slice_.id,
                    user=user,
                    key=key,
                    route=route_to(slice_, worker, route),
                    host_keys=pins.pin(slice_.id, worker.index, worker.host_keys),
                    known_hosts=pins,
                    accept_host_key=accept_host_key,
                )
            )
            for worker in slice_.workers
        }
    )
