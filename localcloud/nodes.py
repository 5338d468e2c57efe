"""What clients may ask of nodes: create, update, start, stop, delete. Each is checked, written down, then begun.

The work itself is ``Life``'s; what is written down here survives a kill of the daemon.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from localcloud import documents
from localcloud.errors import ApiError, invalid, not_found
from localcloud.life import Life, Work
from localcloud.models import NODE_ID, Node, check_node_values
from localcloud.operations import Operations
from localcloud.store import NoAddressesLeft, NodeRecord, OperationRecord, Store, WorkerRecord


@dataclass(frozen=True)
class Parent:
    """``projects/PROJECT/locations/ZONE``."""

    project: str
    zone: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.zone}"


class Nodes:
    """The nodes of one cloud. All methods run in the event loop and return at once."""

    def __init__(self, store: Store, operations: Operations, life: Life) -> None:
        self._store = store
        self._operations = operations
        self._life = life

    def get(self, name: str) -> NodeRecord:
        """The node called ``name``.

        Raises:
            ApiError: NOT_FOUND.
        """
        node = self._store.node(name)
        if node is None:
            raise not_found(name)
        return node

    def shown(self, node: NodeRecord) -> dict[str, Any]:
        """The node as the API answers it."""
        return self._life.shown(node)

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
        self._life.begin(uid, self._life.make)
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
        self._life.begin(node.uid, self._life.take_up)
        return operation

    def delete(self, name: str) -> OperationRecord:
        """Begin to delete a node; whatever else happens to it ends."""
        node = self.get(name)
        self._store.set_state(node.uid, "DELETING")
        operation = self._operations.begin("delete", node)
        self._life.begin(node.uid, self._life.remove)
        return operation

    def stop(self, name: str) -> OperationRecord:
        """Begin to stop a node of one worker.

        Raises:
            ApiError: FAILED_PRECONDITION for a slice of several workers, as Google does; NOT_FOUND.
        """
        return self._change(name, "stop", requires="READY", state="STOPPING", work=self._life.halt)

    def start(self, name: str) -> OperationRecord:
        """Begin to start a stopped node."""
        return self._change(name, "start", requires="STOPPED", state="STARTING", work=self._life.boot)

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
        self._life.begin(node.uid, work)
        return operation


def _require(node: NodeRecord, *states: str) -> None:
    if node.state not in states:
        raise ApiError("FAILED_PRECONDITION", f"Node '{node.name}' is in state {node.state}, not {' or '.join(states)}")
