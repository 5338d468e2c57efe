"""The slice as it is now, reached: the API, the fleet, and where things lie on the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.progress import Progress
from stack.config import StackConfig
from stack.errors import TpuStackError, raise_all

if TYPE_CHECKING:
    from runtime.cloud import LiveSlice, TpuApi
    from runtime.transport import Connection, Fleet, Outcome


@dataclass(frozen=True)
class Session:
    """A slice whose every worker answered.

    Attributes:
        homes: the login user's home on each worker, absolute.
    """

    config: StackConfig
    api: TpuApi
    slice: LiveSlice
    fleet: Fleet
    homes: Mapping[int, str]

    def stack_home(self, worker: int) -> str:
        """``~/.tpu-stack`` on the worker, absolute."""
        return f"{self.homes[worker]}/.tpu-stack"

    def each[T](
        self, what: str, function: Callable[[Connection], T], progress: Progress, *, deadline: float
    ) -> dict[int, T]:
        """``function`` on every worker at once, told to ``progress`` as stage ``what``.

        Raises:
            TpuStackError: of the one worker that failed, or Several.
        """

        def told(connection: Connection) -> T:
            progress.worker(connection.worker, what, "...")
            try:
                value = function(connection)
            except TpuStackError as error:
                progress.worker(connection.worker, what, f"FAILED: {error.why}")
                raise
            progress.worker(connection.worker, what, value if isinstance(value, str) else "done")
            return value

        return values(self.fleet.each(told, deadline=deadline))


def values[T](outcomes: Mapping[int, Outcome[T]]) -> dict[int, T]:
    """Every worker's value.

    Raises:
        TpuStackError: of the one worker that failed, or Several: one error a worker.
    """
    raise_all(outcome.error for outcome in outcomes.values() if outcome.error is not None)
    return {worker: outcome.get() for worker, outcome in outcomes.items()}


@contextmanager
def open_session(config: StackConfig, progress: Progress, *, accept_host_key: bool = False) -> Iterator[Session]:
    """Find the stack's slice, put the login key on it and reach every worker.

    Raises:
        BadInput: there is no slice, no credentials, or a worker's identity is in doubt.
        CloudFailed, TransportFailed, Several: the API or workers could not be reached.
    """
    from runtime.cloud import TpuApi
    from runtime.keys import login_key
    from runtime.transport import open_fleet

    api = TpuApi(config.project, config.zone)
    slice_ = api.find_slice(config.stack)
    progress.step(f"slice {slice_.node_id}: {slice_.accelerator_type}, {len(slice_.workers)} workers, {slice_.state}")
    key = login_key()
    api.ensure_ssh_key(slice_, config.ssh.user, key.public)
    with open_fleet(
        slice_, user=config.ssh.user, route=config.ssh.route, key=key, accept_host_key=accept_host_key
    ) as fleet:
        homes = values(fleet.each(_home_of, deadline=240.0))
        yield Session(config, api, slice_, fleet, homes)


def _home_of(connection: Connection) -> str:
    return connection.run(["sh", "-c", "cd && pwd -P"]).check().text.strip()
