"""Long-running operations: their names, their life in the store, and what the API says of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from localcloud.errors import CODES
from localcloud.store import NodeRecord, OperationRecord, Store

VERBS = ("create", "update", "start", "stop", "delete")
"""``delete`` is the last: it overtakes the others."""


class Operations:
    """Begins operations on nodes and ends them."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def timestamp(self) -> str:
        """The time now, as the API writes times."""
        return self._now().isoformat(timespec="microseconds").replace("+00:00", "Z")

    def new(self, verb: str, node: NodeRecord) -> OperationRecord:
        """An operation on ``node``, not kept yet."""
        parent = node.name.rpartition("/nodes/")[0]
        number = f"{int(self._now().timestamp() * 1000)}-{secrets.token_hex(6)}-{secrets.token_hex(4)}"
        name = f"{parent}/operations/operation-{number}"
        return OperationRecord(name, verb, node.name, node.uid, self.timestamp())

    def begin(self, verb: str, node: NodeRecord) -> OperationRecord:
        """An operation on ``node``, kept."""
        operation = self.new(verb, node)
        self._store.add_operation(operation)
        return operation

    def succeed(self, uid: str, *verbs: str, response: dict[str, Any]) -> None:
        """End the open operations of ``verbs`` on a node well; an empty ``response`` is google.protobuf.Empty."""
        self._store.end_operations(uid, self.timestamp(), verbs=verbs, response=response)

    def fail(self, uid: str, *verbs: str, code: str, message: str) -> None:
        """End the open operations of ``verbs`` on a node with an error."""
        error = {"code": CODES[code], "message": message}
        self._store.end_operations(uid, self.timestamp(), verbs=verbs, error=error)


def describe(operation: OperationRecord, version: str) -> dict[str, Any]:
    """An operation as the API answers it, in ``version``."""
    types = f"type.googleapis.com/google.cloud.tpu.{version}"
    metadata: dict[str, Any] = {
        "@type": f"{types}.OperationMetadata",
        "createTime": operation.created,
        "target": operation.target,
        "verb": operation.verb,
        "cancelRequested": False,
        "apiVersion": version,
    }
    shown: dict[str, Any] = {"name": operation.name, "metadata": metadata, "done": operation.ended is not None}
    if operation.ended is None:
        return shown
    metadata["endTime"] = operation.ended
    if operation.error is not None:
        shown["error"] = operation.error
    elif operation.response:
        shown["response"] = {"@type": f"{types}.Node", **operation.response}
    else:
        shown["response"] = {"@type": "type.googleapis.com/google.protobuf.Empty"}
    return shown
