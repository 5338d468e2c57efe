"""The TPU API's client against an HTTP server: what it finds, what it sends, how each failure is named."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runtime.cloud import LiveSlice, TpuApi
from runtime.cloud.reading import merge_key
from stack.errors import BadInput, CloudFailed, NotVerified, TpuStackError
from tests.transport.sshd import free_port

NODES = "/v2/projects/p/locations/us-east5-b/nodes"
KEY = "ssh-ed25519 AAAAC3Nza me"


def node(name: str = "tpu-stack-dev", **changes: Any) -> dict[str, Any]:
    return {
        "name": f"projects/p/locations/us-east5-b/nodes/{name}",
        "acceleratorType": "v6e-8",
        "state": "READY",
        "health": "HEALTHY",
        "runtimeVersion": "v6e-ubuntu-2404",
        "createTime": "2026-08-01T10:00:00.123456Z",
        "networkEndpoints": [
            {"ipAddress": "10.0.0.2", "port": 8470, "accessConfig": {"externalIp": "34.1.2.3"}},
            {"ipAddress": "10.0.0.3", "port": 8470},
        ],
        "labels": {"tpu-stack": "dev", "owner": "team"},
        "metadata": {"startup-script": "true", "ssh-keys": "ada:ssh-rsa AAAAB ada"},
        "id": "4711000000000000001",
        **changes,
    }


ATTRIBUTES = {
    "guestAttributes": [
        {
            "queryPath": "",
            "queryValue": {
                "items": [
                    {"namespace": "hostkeys", "key": "ssh-ed25519", "value": f"AAAA{index}"},
                    {"namespace": "hostkeys", "key": "ecdsa-sha2-nistp256", "value": f"BBBB{index}"},
                    {"namespace": "guest", "key": "hostname", "value": f"t1v-n-abc-w-{index}.zone.c.p.internal"},
                ]
            },
        }
        for index in range(2)
    ]
}

Answer = tuple[int, dict[str, Any]]


class Api:
    """A server that answers from a table of functions and keeps what it was asked."""

    def __init__(self) -> None:
        self.node = node()
        self.nodes: list[dict[str, Any]] | None = None
        self.calls: list[tuple[str, str, Any]] = []
        self.failures: list[Answer] = []
        self.attributes: Answer = (200, ATTRIBUTES)
        self.on_patch: Callable[[], None] = lambda: None

    def answer(self, method: str, path: str, body: Any) -> Answer:
        self.calls.append((method, path, body))
        if self.failures:
            return self.failures.pop(0)
        if path.endswith(":getGuestAttributes"):
            return self.attributes
        if method == "PATCH":
            self.node["metadata"] = body["metadata"]
            self.on_patch()
            operation = {"name": f"{NODES[4:]}/operations/1", "done": True}
            kind = "type.googleapis.com/google.cloud.tpu.v2.Node"
            return 200, {**operation, "response": {"@type": kind, "name": self.node["name"]}}
        if path.endswith("/nodes"):
            return 200, {"nodes": [self.node] if self.nodes is None else self.nodes}
        return 200, self.node


@pytest.fixture
def api() -> Iterator[tuple[Api, str]]:
    table = Api()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") != "Bearer token-of-test":
                code, document = 401, {"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}
            else:
                code, document = table.answer(self.command, self.path.split("?")[0], body)
            data = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _serve

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield table, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def table(api: tuple[Api, str]) -> Api:
    return api[0]


@pytest.fixture
def client(api: tuple[Api, str], monkeypatch: pytest.MonkeyPatch) -> TpuApi:
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "token-of-test")
    monkeypatch.setenv("GOOGLE_TPU_V2_CUSTOM_ENDPOINT", f"{api[1]}/v2alpha1/")
    return TpuApi("p", "us-east5-b")


def test_the_slice_is_found_by_its_label_with_every_worker(table: Api, client: TpuApi) -> None:
    table.nodes = [node("other", labels={"tpu-stack": "prod"}), table.node, node("bare", labels={})]
    found = client.find_slice("dev")
    assert isinstance(found, LiveSlice)
    assert (found.node_id, found.id, found.state, found.health) == (
        "tpu-stack-dev",
        "4711000000000000001",
        "READY",
        "HEALTHY",
    )
    assert found.create_time is not None
    assert found.create_time.year == 2026
    assert (found.accelerator_type, found.runtime_version) == ("v6e-8", "v6e-ubuntu-2404")
    assert [(w.index, w.internal_ip, w.external_ip) for w in found.workers] == [
        (0, "10.0.0.2", "34.1.2.3"),
        (1, "10.0.0.3", None),
    ]
    assert found.workers[1].host_keys == ("ecdsa-sha2-nistp256 BBBB1", "ssh-ed25519 AAAA1")
    assert found.workers[0].hostname == "t1v-n-abc-w-0.zone.c.p.internal"
    assert found.same_as(client.get_slice(found.name))
    table.node["id"] = "4711000000000000002"
    assert not found.same_as(client.get_slice(found.name))


def test_no_slice_several_and_one_that_is_not_ready_are_named(table: Api, client: TpuApi) -> None:
    table.nodes = []
    with pytest.raises(BadInput, match=r"stack=dev: has no slice in p/us-east5-b. Make it: invoke up --stack dev"):
        client.find_slice("dev")
    table.nodes = [node("a"), node("b")]
    with pytest.raises(BadInput, match="has 2 slices in p/us-east5-b: a, b"):
        client.find_slice("dev")
    table.nodes = [node("new"), node("old", state="DELETING")]
    assert client.find_slice("dev").node_id == "new"
    table.nodes = [node(state="PREEMPTED")]
    with pytest.raises(NotVerified, match="slice=tpu-stack-dev: is not READY but PREEMPTED"):
        client.find_slice("dev")


def test_zero_workers_is_an_error_and_not_a_slice(table: Api, client: TpuApi) -> None:
    table.node["networkEndpoints"] = []
    with pytest.raises(NotVerified, match="lists no worker"):
        client.find_slice("dev")


@pytest.mark.parametrize(
    "answer", [(403, {"error": {"code": 403, "message": "disabled"}}), (200, {"guestAttributes": []})]
)
def test_hidden_guest_attributes_are_no_host_keys_and_no_failure(table: Api, client: TpuApi, answer: Answer) -> None:
    table.attributes = answer
    assert [worker.host_keys for worker in client.find_slice("dev").workers] == [(), ()]


def test_host_keys_that_a_young_slice_publishes_late_are_waited_for(table: Api, client: TpuApi) -> None:
    table.attributes = (200, {"guestAttributes": []})
    pauses: list[float] = []
    moment = datetime(2026, 8, 1, 10, 1, tzinfo=UTC)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            table.attributes = (200, ATTRIBUTES)

    found = client.find_slice("dev", now=lambda: moment + timedelta(seconds=sum(pauses)), sleep=sleep)
    assert all(worker.host_keys for worker in found.workers)
    assert len(pauses) == 3

    table.attributes = (200, {"guestAttributes": []})
    found = client.find_slice("dev", now=lambda: moment + timedelta(seconds=sum(pauses)), sleep=pauses.append)
    assert not any(worker.host_keys for worker in found.workers)
    assert 100 < sum(pauses) < 180


def test_the_login_key_is_merged_and_everything_else_stays(table: Api, client: TpuApi) -> None:
    found = client.find_slice("dev")
    assert client.ensure_ssh_key(found, "tpu", KEY)
    assert table.node["metadata"] == {
        "startup-script": "true",
        "ssh-keys": "ada:ssh-rsa AAAAB ada\ntpu:ssh-ed25519 AAAAC3Nza tpu",
    }
    patches = [call for call in table.calls if call[0] == "PATCH"]
    assert len(patches) == 1
    assert not client.ensure_ssh_key(found, "tpu", KEY)
    assert [call for call in table.calls if call[0] == "PATCH"] == patches


def test_a_key_that_another_writer_wiped_is_put_back(table: Api, client: TpuApi) -> None:
    wiped = []

    def wipe() -> None:
        if not wiped:
            wiped.append(table.node["metadata"])
            table.node["metadata"] = {"ssh-keys": "bob:ssh-rsa CCCC bob"}

    table.on_patch = wipe
    assert client.ensure_ssh_key(client.find_slice("dev"), "tpu", KEY)
    assert table.node["metadata"]["ssh-keys"] == "bob:ssh-rsa CCCC bob\ntpu:ssh-ed25519 AAAAC3Nza tpu"


def test_a_change_under_way_elsewhere_is_waited_for(table: Api, client: TpuApi) -> None:
    found = client.find_slice("dev")
    original = table.answer

    def conflict(method: str, path: str, body: Any) -> Answer:
        if method == "PATCH":
            table.answer = original  # type: ignore[method-assign]
            return 409, {"error": {"code": 409, "message": "under way", "status": "ABORTED"}}
        return original(method, path, body)

    table.answer = conflict  # type: ignore[method-assign]
    assert client.ensure_ssh_key(found, "tpu", KEY)
    assert "AAAAC3Nza" in table.node["metadata"]["ssh-keys"]


@pytest.mark.parametrize(
    ("existing", "merged"),
    [
        ("", "tpu:ssh-ed25519 AAAAC3Nza tpu"),
        ("\nada:ssh-rsa A ada\n", "ada:ssh-rsa A ada\ntpu:ssh-ed25519 AAAAC3Nza tpu"),
        ("bob:ssh-ed25519 AAAAC3Nza x", "bob:ssh-ed25519 AAAAC3Nza x\ntpu:ssh-ed25519 AAAAC3Nza tpu"),
        ("tpu:ssh-ed25519 AAAAC3Nza other-comment", None),
    ],
)
def test_keys_are_merged_by_user_and_key(existing: str, merged: str | None) -> None:
    assert merge_key(existing, "tpu", KEY) == merged


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (401, BadInput, "does not take these credentials. Log in: gcloud auth application-default login"),
        (403, BadInput, "gcp:project=p: access denied: said so. Log in: gcloud auth application-default login"),
        (404, BadInput, "said so. Check gcp:project and gcp:zone"),
        (501, CloudFailed, "said so"),
    ],
)
def test_each_failure_of_the_api_has_its_cure(
    table: Api, client: TpuApi, code: int, kind: type[TpuStackError], text: str
) -> None:
    table.failures = [(code, {"error": {"code": code, "message": "said so"}})] * 50
    client._retry = None  # its patience with 5xx is another test
    with pytest.raises(kind, match=re.escape(text)) as failure:
        client.find_slice("dev")
    assert failure.value.exit_code == (3 if kind is CloudFailed else 2)


def test_a_failure_that_passes_is_tried_again(table: Api, client: TpuApi) -> None:
    busy = {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
    table.failures = [(503, busy), (429, busy)]
    assert client.find_slice("dev").state == "READY"


def test_nobody_at_the_endpoint_is_named_with_the_cure() -> None:
    from google.auth.credentials import AnonymousCredentials

    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(CloudFailed, match=rf"endpoint={endpoint}: cannot be reached.*invoke cloud\.start"):
        TpuApi("p", "us-east5-b", endpoint, AnonymousCredentials()).find_slice("dev")


def test_no_credentials_are_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in ("GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path_factory.mktemp("none")))
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(BadInput, match=r"no usable Google credentials\. Log in: gcloud auth application-default login"):
        TpuApi("p", "us-east5-b", "http://127.0.0.1:1")


def test_an_endpoint_that_is_no_address_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_TPU_V2_CUSTOM_ENDPOINT", "localhost:8080")
    with pytest.raises(BadInput, match="GOOGLE_TPU_V2_CUSTOM_ENDPOINT=localhost:8080: is no http address"):
        TpuApi("p", "us-east5-b")
