"""A cloud with remembered workers (cheap), and real ones, each in a state folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from localcloud import control
from localcloud.api import create_app
from localcloud.daemon import now
from localcloud.life import Life
from localcloud.network import Subnet
from localcloud.nodes import Nodes
from localcloud.operations import Operations
from localcloud.store import Store
from tests.localcloud.api_client import TpuClient
from tests.localcloud.fakes import FakeWorkers

TOKEN = "the-token"


@dataclass
class FakeCloud:
    client: TpuClient
    workers: FakeWorkers
    http: TestClient
    store: Store


@pytest.fixture
def fake_cloud(tmp_path: Path) -> Iterator[FakeCloud]:
    store = Store(tmp_path / "cloud.sqlite")
    workers = FakeWorkers()
    operations = Operations(store, now)
    life = Life(store, workers, operations, cloud_id="test", folder=tmp_path / "nodes", subnet=Subnet(7), now=now)
    app = create_app(store, Nodes(store, operations, life), token=TOKEN, cloud_id="test")
    with TestClient(app, raise_server_exceptions=False) as http:

        def send(method: str, path: str, body: Any, params: dict[str, str]) -> httpx.Response:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            return http.request(method, path, json=body, params={"alt": "json", **params}, headers=headers)

        yield FakeCloud(TpuClient(send), workers, http, store)
        workers.gate.set()
    store.close()


@dataclass
class RealCloud:
    """A running cloud, its client, and a key pair whose public half may be given to nodes."""

    info: control.CloudInfo
    client: TpuClient
    key: Path

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text().strip()

    def ssh(self, address: str, command: str, user: str = "tpu", *, check: bool = True) -> str:
        """What ``command`` says on the worker at ``address``; with its own exit code, if checked."""
        done = self.try_ssh(address, command, user)
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout

    def try_ssh(self, address: str, command: str, user: str = "tpu") -> subprocess.CompletedProcess[str]:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes"]
        flags = [part for option in options for part in ("-o", option)]
        return subprocess.run(
            ["ssh", "-i", str(self.key), *flags, f"{user}@{address}", command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )


def addresses(node: dict[str, Any]) -> list[str]:
    return [endpoint["ipAddress"] for endpoint in node["networkEndpoints"]]


def client_of(info: control.CloudInfo) -> TpuClient:
    headers = {"Authorization": f"Bearer {info.token_file.read_text().strip()}"}

    def send(method: str, path: str, body: Any, params: dict[str, str]) -> httpx.Response:
        return httpx.request(method, info.url + path, json=body, params=params, headers=headers, timeout=30)

    return TpuClient(send)


@pytest.fixture(scope="session")
def login_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = tmp_path_factory.mktemp("key") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key


@pytest.fixture
def make_cloud(tmp_path: Path, login_key: Path) -> Iterator[Callable[[str], RealCloud]]:
    """Starts clouds, each in its own folder; all are taken away at the end."""
    if os.geteuid() != 0:
        pytest.skip("workers need root (network namespaces)")
    states: list[Path] = []

    def make(name: str = "cloud") -> RealCloud:
        state = tmp_path / name
        states.append(state)
        mask = os.umask(0o077)  # A user's own habit must not reach the workers.
        try:
            info = control.start(state, python_prefix=Path(sys.base_prefix))
        finally:
            os.umask(mask)
        return RealCloud(info, client_of(info), login_key)

    try:
        yield make
    finally:
        for state in states:
            control.stop(state)


@pytest.fixture
def real_cloud(make_cloud: Callable[[str], RealCloud]) -> RealCloud:
    return make_cloud("cloud")
