"""The life of nodes: CREATING, READY, STOPPED, DELETING, and the operations that move them.

A change is written down before it is done, and done under a lock of its node; what a killed daemon left half
done is done again at the next start (``recover``). So every step may be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud import documents
from localcloud.errors import ApiError, invalid, not_found
from localcloud.identity import worker_tree
from localcloud.models import NODE_ID, Node, check_node_values
from localcloud.network import Subnet
from localcloud.operations import VERBS, Operations
from localcloud.specs import worker_specs
from localcloud.store import NoAddressesLeft, NodeRecord, OperationRecord, Store, WorkerRecord
from localcloud.workers import Workers, WorkerSpec

log = logging.getLogger(__name__)

Work = Callable[[NodeRecord], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Parent:
    """``projects/PROJECT/locations/ZONE``."""

    project: str
    zone: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.zone}"


class Nodes:
    """The nodes of one cloud. All methods run in the event loop; workers are driven from threads."""

    def __init__(
        self,
        store: Store,
        workers: Workers,
        *,
        cloud_id: str,
        folder: Path,
        subnet: Subnet,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._workers = workers
        self._operations = Operations(store, now)
        self._cloud_id = cloud_id
        self._folder = folder
        self._subnet = subnet
        self._now = now
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, name: str) -> NodeRecord:
        """The node called ``name``.

        Raises:
            ApiError: NOT_FOUND.
        """
        node = self._store.node(name)
        if node is None:
            raise not_found(name)
        return node

    def shown(self, node: NodeRecord, *, health: bool = True) -> dict[str, Any]:
        """The node as the API answers it."""
        workers = self._store.workers(node.uid)
        return documents.shown_node(node, workers, self._addresses(workers), health=health)

    def create(self, parent: Parent, node_id: str, wanted: Node, *, api_version: str) -> OperationRecord:
        """Begin to make a node.

        Raises:
            ApiError: INVALID_ARGUMENT, ALREADY_EXISTS, RESOURCE_EXHAUSTED; nothing was made.
        """
        if not NODE_ID.match(node_id):
            raise invalid(
                f"Invalid node_id '{node_id}': lower case letters, digits and -, at most 63, a letter first, no - last"
            )
        check_node_values(wanted)
        accelerator = documents.accelerator_of(wanted, parent.zone)
        documents.check_runtime_version(wanted, parent.zone)
        chips = documents.chips_by_worker(wanted, accelerator)
        uid, tag = str(secrets.randbits(60) + 10**18), secrets.token_hex(4)
        node = NodeRecord(
            f"{parent}/nodes/{node_id}",
            uid,
            "CREATING",
            documents.new_document(wanted, accelerator, project=parent.project, zone=parent.zone, uid=uid),
            {"v2": "V2", "v2alpha1": "V2_ALPHA1"}[api_version],
            self._operations.timestamp(),
        )
        workers = [
            WorkerRecord(uid, index, 0, f"t1v-n-{tag}-w-{index}", str(secrets.randbits(60) + 10**18))
            for index in range(len(chips))
        ]
        operation = self._operations.new("create", node)
        try:
            self._store.add_node(node, workers, operation)
        except KeyError:
            raise ApiError("ALREADY_EXISTS", "Requested entity already exists") from None
        except NoAddressesLeft as error:
            raise ApiError("RESOURCE_EXHAUSTED", f"This cloud's subnet is full: {error}") from None
        self._begin(uid, self._make)
        return operation

    def patch(self, name: str, wanted: Node, mask: str) -> OperationRecord:
        """Begin to update the fields of a node that ``mask`` names.

        Raises:
            ApiError: NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION; nothing was changed.
        """
        node = self.get(name)
        check_node_values(wanted)
        document = documents.apply_update(node.document, wanted, mask)
        _require(node, "READY", "STOPPED")
        self._store.set_document(node.uid, document)
        operation = self._operations.begin("update", node)
        self._begin(node.uid, self._take_up)
        return operation

    def delete(self, name: str) -> OperationRecord:
        """Begin to delete a node; whatever else happens to it ends."""
        node = self.get(name)
        self._store.set_state(node.uid, "DELETING")
        operation = self._operations.begin("delete", node)
        self._begin(node.uid, self._remove)
        return operation

    def stop(self, name: str) -> OperationRecord:
        """Begin to stop a node of one worker.

        Raises:
            ApiError: FAILED_PRECONDITION for a slice of several workers, as Google does; NOT_FOUND.
        """
        return self._change(name, "stop", requires="READY", state="STOPPING", work=self._halt)

    def start(self, name: str) -> OperationRecord:
        """Begin to start a stopped node."""
        return self._change(name, "start", requires="STOPPED", state="STARTING", work=self._boot)

    def recover(self) -> None:
        """Go on where a killed daemon stopped, and bring back workers that were lost (a reboot of the machine)."""
        work: dict[str, Work] = {
            "CREATING": self._make,
            "DELETING": self._remove,
            "STOPPING": self._halt,
            "STOPPED": self._halt,
        }
        for node in self._store.nodes():
            if node.state == "READY" and any(self._workers.pid(spec) is None for spec in self._specs(node)):
                log.warning("%s lost workers: starting them again", node.name)
                self._store.set_state(node.uid, "RESTARTING")
            self._begin(node.uid, work.get(node.state, self._boot))

    def worker_ended(self, uid: str) -> None:
        """A worker ended by itself, as by ``sudo reboot``: it boots again, with its files as they are."""
        node = self._by_uid(uid)
        if node is not None and node.state in ("READY", "RESTARTING"):
            self._store.set_state(uid, "RESTARTING")
            self._begin(uid, self._boot)

    def metadata(self, uid: str, position: int, *, token: str) -> dict[str, Any] | None:
        """What worker ``position`` may know of itself; None when it is gone."""
        node = self._by_uid(uid)
        if node is None:
            return None
        workers = self._store.workers(uid)
        addresses = self._addresses(workers)
        return worker_tree(node, workers, addresses, position, gateway=self._subnet.gateway, token=token)

    async def settled(self) -> None:
        """Return once nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _make(self, node: NodeRecord) -> None:
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

    async def _boot(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.boot)
        await self._each(node, self._workers.set_keys)
        self._ready(node.uid, ("start", "update"))

    async def _take_up(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.set_keys)
        self._operations.succeed(node.uid, "update", response=self.shown(node, health=False))

    async def _halt(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.halt)
        if not self._deleting(node.uid):
            self._store.set_state(node.uid, "STOPPED")
            self._operations.succeed(node.uid, "stop", "update", response=self.shown(self.get(node.name), health=False))

    async def _remove(self, node: NodeRecord) -> None:
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
        node = self._by_uid(uid)
        if node is None or node.state == "DELETING":
            return  # The delete that waits behind us says so to whoever asked for this.
        self._store.set_state(uid, "READY")
        self._operations.succeed(uid, *verbs, response=self.shown(self.get(node.name), health=False))

    def _change(self, name: str, verb: str, *, requires: str, state: str, work: Work) -> OperationRecord:
        node = self.get(name)
        if len(self._store.workers(node.uid)) > 1:
            raise ApiError(
                "FAILED_PRECONDITION",
                f"Node '{name}' has several workers: it cannot be stopped or started, only deleted",
            )
        _require(node, requires)
        self._store.set_state(node.uid, state)
        operation = self._operations.begin(verb, node)
        self._begin(node.uid, work)
        return operation

    def _begin(self, uid: str, work: Work) -> None:
        task = asyncio.create_task(self._locked(uid, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _locked(self, uid: str, work: Work) -> None:
        async with self._locks.setdefault(uid, asyncio.Lock()):
            node = self._by_uid(uid)
            if node is None:
                self._operations.succeed(uid, "delete", response={})
                self._operations.fail(uid, *VERBS, code="CANCELLED", message="Deleted")
                return
            try:
                await work(node)
            except Exception as error:
                log.exception("%s: %s failed", node.name, work)
                verbs = ("delete",) if work == self._remove else VERBS[:-1]
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

    def _by_uid(self, uid: str) -> NodeRecord | None:
        return next((node for node in self._store.nodes() if node.uid == uid), None)

    def _deleting(self, uid: str) -> bool:
        node = self._by_uid(uid)
        return node is None or node.state == "DELETING"

    def _addresses(self, workers: list[WorkerRecord]) -> list[str]:
        return [self._subnet.address(worker.octet) for worker in workers]


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of ``works`` to their ends, then raise the first error: none may still run when its node is undone."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _require(node: NodeRecord, *states: str) -> None:
    if node.state not in states:
        raise ApiError("FAILED_PRECONDITION", f"Node '{node.name}' is in state {node.state}, not {' or '.join(states)}")


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        folder.rmdir()
