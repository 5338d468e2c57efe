"""The life of nodes: CREATING, READY, STOPPED, DELETING, and the operations that move them.

A change is written down before it is done, and done under a lock of its node; what a killed daemon left half
done is done again at the next start (``recover``). So every step may be repeated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud import documents
from localcloud.errors import CODES, ApiError, invalid, not_found
from localcloud.identity import worker_tree
from localcloud.keys import ssh_keys
from localcloud.models import NODE_ID, Node, check_node_values
from localcloud.network import Subnet
from localcloud.store import NoAddressesLeft, NodeRecord, OperationRecord, Store, WorkerRecord
from localcloud.workers import Workers, WorkerSpec

log = logging.getLogger(__name__)

CHIP_DEVICES = {"V2": "accel{}", "V3": "accel{}", "V4": "accel{}"}
"""Names of the chips' device files by family, others have vfio/N (source: facts/families.csv)."""


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

    def worker_address(self, worker: WorkerRecord) -> str:
        return self._subnet.address(worker.octet)

    def create(self, parent: Parent, node_id: str, wanted: Node, *, api_version: str) -> OperationRecord:
        """Begin to make a node.

        Raises:
            ApiError: INVALID_ARGUMENT, ALREADY_EXISTS, RESOURCE_EXHAUSTED; nothing was made.
        """
        if not NODE_ID.match(node_id):
            raise invalid(
                f"Invalid node_id '{node_id}': lower case letters, digits and -, at most 63, a letter first"
                ", no - at the end"
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
            self._timestamp(),
        )
        workers = [
            WorkerRecord(uid, index, 0, f"t1v-n-{tag}-w-{index}", str(secrets.randbits(60) + 10**18))
            for index in range(len(chips))
        ]
        operation = self._operation("create", node)
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
        self._require(node, "READY", "STOPPED")
        self._store.set_document(node.uid, document)
        operation = self._operation("update", node)
        self._store.add_operation(operation)
        self._begin(node.uid, self._take_up)
        return operation

    def delete(self, name: str) -> OperationRecord:
        """Begin to delete a node; whatever else happens to it ends."""
        node = self.get(name)
        operation = self._operation("delete", node)
        self._store.set_state(node.uid, "DELETING")
        self._store.add_operation(operation)
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
        work = {
            "CREATING": self._make,
            "DELETING": self._remove,
            "STOPPING": self._halt,
            "STOPPED": self._halt,
        }
        for node in self._store.nodes():
            specs = self.specs(node)
            if node.state == "READY" and any(self._workers.pid(spec) is None for spec in specs):
                log.warning("%s lost workers: starting them again", node.name)
                self._store.set_state(node.uid, "RESTARTING")
            self._begin(node.uid, work.get(node.state, self._boot))

    def worker_ended(self, uid: str) -> None:
        """A worker ended by itself, as by ``sudo reboot``: it boots again, with its files as they are."""
        node = self._by_uid(uid)
        if node is not None and node.state == "READY":
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

    def known_uids(self) -> set[str]:
        """The ids of every node that exists."""
        return {node.uid for node in self._store.nodes()}

    async def settled(self) -> None:
        """Return once nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def specs(self, node: NodeRecord) -> list[WorkerSpec]:
        """What each worker's host has to be."""
        workers = self._store.workers(node.uid)
        keys = ssh_keys(node.document.get("metadata", {}), self._now())
        hosts = self._hosts_file(node, workers)
        return [
            WorkerSpec(
                mark=f"{self._cloud_id}/{node.uid}/{worker.position}",
                folder=self._folder / node.uid / f"worker-{worker.position}",
                hostname=worker.hostname,
                octet=worker.octet,
                hosts=hosts,
                devices=_devices(node, len(workers)),
                startup_script=node.document.get("metadata", {}).get("startup-script"),
                ssh_keys=keys,
            )
            for worker in workers
        ]

    async def _make(self, node: NodeRecord) -> None:
        specs = self.specs(node)
        try:
            await asyncio.gather(*(self._make_worker(node, index, spec) for index, spec in enumerate(specs)))
        except (OSError, TimeoutError) as error:
            log.exception("%s could not be made", node.name)
            await self._destroy(node)
            self._end(node.uid, "create", error=_status("INTERNAL", f"The node could not be made: {error}"))
            return
        self._ready(node.uid, ("create",))

    async def _make_worker(self, node: NodeRecord, index: int, spec: WorkerSpec) -> None:
        host_key = await asyncio.to_thread(self._workers.create, spec)
        self._store.set_host_key(node.uid, index, host_key)
        await asyncio.to_thread(self._workers.boot, spec)

    async def _boot(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.boot)
        if node.state == "READY":
            await self._each(node, self._workers.set_keys)
        self._ready(node.uid, ("start", "update"))

    async def _take_up(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.set_keys)
        self._end(node.uid, "update", response=self.shown(node, health=False))

    async def _halt(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.halt)
        self._store.set_state(node.uid, "STOPPED")
        fresh = self._store.node(node.name)
        self._end(node.uid, "stop", "update", response=self.shown(fresh or node, health=False))

    async def _remove(self, node: NodeRecord) -> None:
        await self._destroy(node)
        cancelled = _status("CANCELLED", "The node was deleted")
        self._end(node.uid, "create", "update", "start", "stop", error=cancelled)
        self._end(node.uid, "delete", response={})

    async def _destroy(self, node: NodeRecord) -> None:
        await self._each(node, self._workers.destroy)
        await asyncio.to_thread(_remove_folder, self._folder / node.uid)
        self._store.remove_node(node.uid)

    async def _each(self, node: NodeRecord, work: Callable[[WorkerSpec], None]) -> None:
        await asyncio.gather(*(asyncio.to_thread(work, spec) for spec in self.specs(node)))

    def _ready(self, uid: str, verbs: tuple[str, ...]) -> None:
        node = self._by_uid(uid)
        if node is None or node.state == "DELETING":
            return  # The delete that waits behind us says so to whoever asked for this.
        self._store.set_state(uid, "READY")
        fresh = self.get(node.name)
        self._end(uid, *verbs, response=self.shown(fresh, health=False))

    def _change(
        self,
        name: str,
        verb: str,
        *,
        requires: str,
        state: str,
        work: Callable[[NodeRecord], Coroutine[Any, Any, None]],
    ) -> OperationRecord:
        node = self.get(name)
        if len(self._store.workers(node.uid)) > 1:
            raise ApiError(
                "FAILED_PRECONDITION",
                f"Node '{name}' has several workers: it cannot be stopped or started, only deleted",
            )
        self._require(node, requires)
        operation = self._operation(verb, node)
        self._store.set_state(node.uid, state)
        self._store.add_operation(operation)
        self._begin(node.uid, work)
        return operation

    def _require(self, node: NodeRecord, *states: str) -> None:
        if node.state not in states:
            raise ApiError(
                "FAILED_PRECONDITION", f"Node '{node.name}' is in state {node.state}, not {' or '.join(states)}"
            )

    def _begin(self, uid: str, work: Callable[[NodeRecord], Awaitable[None]]) -> None:
        task = asyncio.create_task(self._locked(uid, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _locked(self, uid: str, work: Callable[[NodeRecord], Awaitable[None]]) -> None:
        async with self._locks.setdefault(uid, asyncio.Lock()):
            node = self._by_uid(uid)
            if node is None:
                self._end(uid, "delete", response={})
                return
            try:
                await work(node)
            except Exception as error:
                log.exception("%s: %s failed", node.name, work)
                message = _status("INTERNAL", f"{type(error).__name__}: {error}")
                self._end(uid, "create", "update", "start", "stop", "delete", error=message)

    def _end(
        self,
        uid: str,
        *verbs: str,
        response: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        self._store.end_operations(uid, self._timestamp(), verbs=verbs, response=response, error=error)

    def _operation(self, verb: str, node: NodeRecord) -> OperationRecord:
        parent = node.name.rpartition("/nodes/")[0]
        number = f"{int(self._now().timestamp() * 1000)}-{secrets.token_hex(6)}-{secrets.token_hex(4)}"
        return OperationRecord(f"{parent}/operations/operation-{number}", verb, node.name, node.uid, self._timestamp())

    def _by_uid(self, uid: str) -> NodeRecord | None:
        return next((node for node in self._store.nodes() if node.uid == uid), None)

    def _timestamp(self) -> str:
        return self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")

    def _addresses(self, workers: list[WorkerRecord]) -> list[str]:
        return [self._subnet.address(worker.octet) for worker in workers]

    def _hosts_file(self, node: NodeRecord, workers: list[WorkerRecord]) -> str:
        _, project, _, zone, *_ = node.name.split("/")
        lines = ["127.0.0.1 localhost", "169.254.169.254 metadata.google.internal metadata"]
        for worker, address in zip(workers, self._addresses(workers), strict=True):
            lines.append(f"{address} {worker.hostname}.{zone}.c.{project}.internal {worker.hostname}")
        return "\n".join(lines) + "\n"


def _devices(node: NodeRecord, workers: int) -> tuple[str, ...]:
    config = node.document["acceleratorConfig"]
    chips = 1
    for side in config["topology"].split("x"):
        chips *= int(side)
    pattern = CHIP_DEVICES.get(config["type"], "vfio/{}")
    return tuple(pattern.format(number) for number in range(chips // workers))


def _status(code: str, message: str) -> dict[str, Any]:
    return {"code": CODES[code], "message": message}


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        folder.rmdir()


def describe(operation: OperationRecord, version: str) -> dict[str, Any]:
    """An operation as the API answers it, in ``version``."""
    types = f"type.googleapis.com/google.cloud.tpu.{version}"
    metadata = {
        "@type": f"{types}.OperationMetadata",
        "createTime": operation.created,
        "target": operation.target,
        "verb": operation.verb,
        "cancelRequested": False,
        "apiVersion": version,
    }
    shown: dict[str, Any] = {"name": operation.name, "metadata": metadata, "done": operation.ended is not None}
    if operation.ended is not None:
        metadata["endTime"] = operation.ended
        if operation.error is not None:
            shown["error"] = operation.error
        elif operation.response:
            shown["response"] = {"@type": f"{types}.Node", **operation.response}
        else:
            shown["response"] = {"@type": "type.googleapis.com/google.protobuf.Empty"}
    return json.loads(json.dumps(shown))  # type: ignore[no-any-return]
