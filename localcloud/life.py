"""The work behind the states of a node: what is done to its workers, under a lock of the node.

Every piece of work may be repeated: what a killed daemon left half done is done again at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from localcloud import documents
from localcloud.identity import worker_tree
from localcloud.network import Subnet
from localcloud.operations import VERBS, Operations
from localcloud.specs import worker_specs
from localcloud.store import NodeRecord, Store, WorkerRecord
from localcloud.workers import Workers, WorkerSpec

log = logging.getLogger(__name__)

Work = Callable[[NodeRecord], Coroutine[Any, Any, None]]


class Life:
    """Drives the workers of every node. Runs in the event loop; workers are driven from threads."""

    def __init__(
        self,
        store: Store,
        workers: Workers,
        operations: Operations,
        *,
        cloud_id: str,
        folder: Path,
        subnet: Subnet,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._workers = workers
        self._operations = operations
        self._cloud_id = cloud_id
        self._folder = folder
        self._subnet = subnet
        self._now = now
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def recover(self) -> None:
        """Go on where a killed daemon stopped, and bring back workers that were lost (a reboot of the machine)."""
        work: dict[str, Work] = {
            "CREATING": self.make,
            "DELETING": self.remove,
            "STOPPING": self.halt,
            "STOPPED": self.halt,
        }
        for node in self._store.nodes():
            if node.state == "READY" and any(self._workers.pid(spec) is None for spec in self._specs(node)):
                log.warning("%s lost workers: starting them again", node.name)
                self._store.set_state(node.uid, "RESTARTING")
            self.begin(node.uid, work.get(node.state, self.boot))

    def worker_ended(self, uid: str) -> None:
        """A worker ended by itself, as by ``sudo reboot``: it boots again, with its files as they are."""
        node = self._store.node_of(uid)
        if node is not None and node.state in ("READY", "RESTARTING"):
            self._store.set_state(uid, "RESTARTING")
            self.begin(uid, self.boot)

    def shown(self, node: NodeRecord, *, health: bool = True) -> dict[str, Any]:
        """The node as the API answers it."""
        workers = self._store.workers(node.uid)
        return documents.shown_node(node, workers, self._addresses(workers), health=health)

    def metadata(self, uid: str, position: int, *, token: str) -> dict[str, Any] | None:
        """What worker ``position`` may know of itself; None when it is gone."""
        node = self._store.node_of(uid)
        if node is None:
            return None
        workers = self._store.workers(uid)
        addresses = self._addresses(workers)
        return worker_tree(node, workers, addresses, position, gateway=self._subnet.gateway, token=token)

    async def settled(self) -> None:
        """Return once nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def make(self, node: NodeRecord) -> None:
        """Make every worker and boot it; of a node that cannot be made nothing stays."""
        try:
            await _all(self._make_worker(node, *item) for item in enumerate(self._specs(node)))
        except (OSError, TimeoutError) as error:
            log.exception("%s could not be made", node.name)
            await self._destroy(node)
            self._operations.fail(node.uid, "create", code="INTERNAL", message=f"The node could not be made: {error}")
            return
        self._ready(node.uid, ("create",))

    async def _make_worker(self, node: NodeRecord, index: int, spec: WorkerSpec) -> None:
        host_key = await asyncio.to_thread(self._workers.create, spec)
        self._store.set_host_key(node.uid, index, host_key)
        await asyncio.to_thread(self._workers.boot, spec)

    async def boot(self, node: NodeRecord) -> None:
        """Bring up every worker that is down; greet those that run."""
        await self._each(node, self._workers.boot)
        await self._each(node, self._workers.set_keys)
        self._ready(node.uid, ("start", "update"))

    async def take_up(self, node: NodeRecord) -> None:
        """Bring an update to the workers."""
        await self._each(node, self._workers.set_keys)
        self._operations.succeed(node.uid, "update", response=self.shown(node, health=False))

    async def halt(self, node: NodeRecord) -> None:
        """End the workers; their files stay."""
        await self._each(node, self._workers.halt)
        if self._deleting(node.uid):
            return
        self._store.set_state(node.uid, "STOPPED")
        stopped = self.shown(replace(node, state="STOPPED"), health=False)
        self._operations.succeed(node.uid, "stop", "update", response=stopped)

    async def remove(self, node: NodeRecord) -> None:
        """Take away a node and all that was its."""
        await self._destroy(node)
        self._operations.fail(node.uid, "create", "update", "start", "stop", code="CANCELLED", message="Deleted")
        self._operations.succeed(node.uid, "delete", response={})

    async def _destroy(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.destroy)
        await asyncio.to_thread(_remove_folder, self._folder / node.uid)
        self._store.remove_node(node.uid)

    async def _each(self, node: NodeRecord, work: Callable[[WorkerSpec], None]) -> None:
        await _all(asyncio.to_thread(work, spec) for spec in self._specs(node))

    def _ready(self, uid: str, verbs: tuple[str, ...]) -> None:
        node = self._store.node_of(uid)
        if node is None or node.state == "DELETING":
            return  # The delete that waits behind us says so to whoever asked for this.
        self._store.set_state(uid, "READY")
        self._operations.succeed(uid, *verbs, response=self.shown(replace(node, state="READY"), health=False))

    def begin(self, uid: str, work: Work) -> None:
        """Do ``work`` on a node as soon as what is under way on it is done."""
        task = asyncio.create_task(self._locked(uid, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _locked(self, uid: str, work: Work) -> None:
        async with self._locks.setdefault(uid, asyncio.Lock()):
            node = self._store.node_of(uid)
            if node is None:
                self._operations.succeed(uid, "delete", response={})
                self._operations.fail(uid, *VERBS, code="CANCELLED", message="Deleted")
                return
            try:
                await work(node)
            except Exception as error:
                log.exception("%s: %s failed", node.name, work)
                verbs = ("delete",) if work == self.remove else VERBS[:-1]
                self._operations.fail(uid, *verbs, code="INTERNAL", message=f"{type(error).__name__}: {error}")

    def _specs(self, node: NodeRecord) -> list[WorkerSpec]:
        return worker_specs(
            node,
            self._store.workers(node.uid),
            cloud_id=self._cloud_id,
            folder=self._folder,
            subnet=self._subnet,
            now=self._now(),
        )

    def _deleting(self, uid: str) -> bool:
        node = self._store.node_of(uid)
        return node is None or node.state == "DELETING"

    def _addresses(self, workers: list[WorkerRecord]) -> list[str]:
        return [self._subnet.address(worker.octet) for worker in workers]


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of ``works`` to their ends, then raise the first error: none may still run when its node is undone."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        folder.rmdir()
