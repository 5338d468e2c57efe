"""A plain client of the TPU API, for tests: no library between the test and the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

PARENT = "projects/p/locations/us-east5-b"


class Answer(Protocol):
    @property
    def status_code(self) -> int: ...
    def json(self) -> Any: ...


@dataclass
class TpuClient:
    """Sends requests through ``send(method, path, json body, params)``."""

    send: Callable[[str, str, Any, dict[str, str]], Answer]
    version: str = "v2alpha1"
    parent: str = PARENT

    def call(self, method: str, path: str, body: Any = None, status: int = 200, **params: str) -> Any:
        answer = self.send(method, f"/{self.version}/{path}", body, params)
        assert answer.status_code == status, answer.json()
        return answer.json()

    def error(self, method: str, path: str, body: Any = None, *, status: int, **params: str) -> dict[str, Any]:
        error: dict[str, Any] = self.call(method, path, body, status, **params)["error"]
        assert error["code"] == status
        return error

    def wait(self, operation: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while not operation["done"]:
            assert time.monotonic() < until, operation
            time.sleep(0.01)
            operation = self.call("GET", operation["name"])
        return operation

    def done(self, operation: dict[str, Any]) -> dict[str, Any]:
        """The operation, ended well."""
        ended = self.wait(operation)
        assert "error" not in ended, ended["error"]
        return ended

    def create(self, node_id: str = "n", **fields: Any) -> dict[str, Any]:
        """A node of ``fields``, made and ready; the GET of it."""
        self.done(self.begin(node_id, **fields))
        return self.node(node_id)

    def begin(self, node_id: str = "n", **fields: Any) -> dict[str, Any]:
        body = {"acceleratorType": "v6e-16", "runtimeVersion": "v6e-ubuntu-2404", **fields}
        body = {key: value for key, value in body.items() if value is not None}
        operation: dict[str, Any] = self.call("POST", f"{self.parent}/nodes", body, nodeId=node_id)
        return operation

    def node(self, node_id: str = "n") -> dict[str, Any]:
        node: dict[str, Any] = self.call("GET", f"{self.parent}/nodes/{node_id}")
        return node

    def patch(self, mask: str, node_id: str = "n", **fields: Any) -> dict[str, Any]:
        return self.done(self.call("PATCH", f"{self.parent}/nodes/{node_id}", fields, updateMask=mask))

    def delete(self, node_id: str = "n") -> dict[str, Any]:
        return self.done(self.call("DELETE", f"{self.parent}/nodes/{node_id}"))
