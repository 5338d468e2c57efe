"""Any order of requests and kills of the daemon ends with what was asked for last, and nothing else."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import httpx
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from starlette.testclient import TestClient

from localcloud.api import create_app
from localcloud.daemon import now
from localcloud.life import Life
from localcloud.network import Subnet
from localcloud.nodes import Nodes
from localcloud.operations import Operations
from localcloud.store import Store
from tests.localcloud.api_client import TpuClient
from tests.localcloud.fakes import FakeWorkers

CANCELLED = 1
NAMES = st.sampled_from(["a", "b", "c"])


class CloudLife(RuleBasedStateMachine):
    """Nodes of one worker: made, changed, stopped, started, deleted; the daemon is killed in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.database = self.folder / "cloud.sqlite"
        self.workers = FakeWorkers()
        self.expected: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.operations: list[tuple[dict[str, Any], bool]] = []

    @initialize()
    def boot(self) -> None:
        self.store = Store(self.database)
        operations = Operations(self.store, now)
        where: Any = {"cloud_id": "t", "folder": self.folder / "nodes", "subnet": Subnet(9), "now": now}
        life = Life(self.store, self.workers, operations, **where)
        self.http = TestClient(create_app(self.store, Nodes(self.store, operations, life), token="t", cloud_id="t"))
        self.http.__enter__()
        assert self.http.portal is not None
        self.http.portal.call(self._recover, life)
        self.client = TpuClient(self._send)

    @rule(name=NAMES, wait=st.booleans())
    def create(self, name: str, wait: bool) -> None:
        if name not in self.expected:
            self.settle()  # Of a deletion that is under way: the name is not free yet.
        if name in self.expected:
            self._refused("POST", "nodes", {"nodeId": name}, 409, acceleratorType="v6e-1")
            return
        self._pace(wait)
        operation = self.client.begin(name, acceleratorType="v6e-1", metadata={"ssh-keys": ""})
        self._begun(operation, wait)
        self.expected[name], self.labels[name] = "READY", ""

    @rule(name=NAMES, wait=st.booleans())
    def delete(self, name: str, wait: bool) -> None:
        if name not in self.expected:
            self.settle()
            self._refused("DELETE", f"nodes/{name}", {}, 404)
            return
        # What is under way on the node ends with it.
        self.operations = [
            (item, allowed or name in item["metadata"]["target"][-1]) for item, allowed in self.operations
        ]
        self._pace(wait)
        self._begun(self.client.call("DELETE", f"{self.client.parent}/nodes/{name}"), wait)
        del self.expected[name]

    @rule(name=NAMES, value=st.sampled_from(["x", "y"]))
    def patch(self, name: str, value: str) -> None:
        if name in self.expected:
            self.settle()
            self.client.patch("labels", name, labels={"k": value})
            self.labels[name] = value

    @rule(name=NAMES, wait=st.booleans())
    def stop_or_start(self, name: str, wait: bool) -> None:
        if name not in self.expected:
            return
        self.settle()
        method, after = ("stop", "STOPPED") if self.expected[name] == "READY" else ("start", "READY")
        self._pace(wait)
        self._begun(self.client.call("POST", f"{self.client.parent}/nodes/{name}:{method}", {}), wait)
        self.expected[name] = after

    @rule(lost=st.booleans())
    def kill(self, lost: bool) -> None:
        """The daemon is gone as by kill -9, with what it had written by then; sometimes the workers too."""
        after = self.folder / f"cloud-{len(list(self.folder.iterdir()))}.sqlite"
        with sqlite3.connect(self.database) as source, sqlite3.connect(after) as target:
            source.backup(target)
        for connection in (source, target):
            connection.close()
        running, created = dict(self.workers.running), set(self.workers.created)
        self._end()
        self.workers.running, self.workers.created = {} if lost else running, created
        self.database = after
        self.boot()

    @rule()
    def look(self) -> None:
        self.settle()
        shown = {
            node["name"].rpartition("/")[2]: node
            for node in self.client.call("GET", f"{self.client.parent}/nodes")["nodes"]
        }
        assert {name: node["state"] for name, node in shown.items()} == self.expected
        assert {name: node.get("labels", {}).get("k", "") for name, node in shown.items()} == {
            name: self.labels[name] for name in self.expected
        }
        ready = [name for name, state in self.expected.items() if state == "READY"]
        assert len(self.workers.running) == len(ready)
        assert len(self.workers.created) == len(self.expected)

    def teardown(self) -> None:
        self.look()
        self._end()
        shutil.rmtree(self.folder)

    def settle(self) -> None:
        self.workers.gate.set()
        for operation, may_be_cancelled in self.operations:
            done = self.client.wait(operation, 10)
            assert "error" not in done or (may_be_cancelled and done["error"]["code"] == CANCELLED)
        self.operations.clear()

    async def _recover(self, life: Life) -> None:
        life.recover()
        await life.settled()

    def _pace(self, wait: bool) -> None:
        """What is not waited for is still under way at the next step: a kill finds it so."""
        self.workers.gate.set() if wait else self.workers.gate.clear()

    def _end(self) -> None:
        self.workers.gate.set()
        self.http.__exit__(None, None, None)
        self.store.close()

    def _begun(self, operation: dict[str, Any], wait: bool) -> None:
        if wait:
            assert "error" not in self.client.wait(operation)
        self.operations.append((operation, False))

    def _refused(self, method: str, path: str, params: dict[str, str], status: int, **body: Any) -> None:
        fields = {"runtimeVersion": "v6e-ubuntu-2404", **body}
        self.client.error(method, f"{self.client.parent}/{path}", fields, status=status, **params)

    def _send(self, method: str, path: str, body: Any, params: dict[str, str]) -> httpx.Response:
        return self.http.request(method, path, json=body, params=params, headers={"Authorization": "Bearer t"})


# No shrinking: each step of it waits for what never ends.
PHASES = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
CloudLife.TestCase.settings = settings(phases=PHASES, max_examples=40, stateful_step_count=20, deadline=None)
TestCloudLife = CloudLife.TestCase
