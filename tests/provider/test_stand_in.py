"""What the recording does not hold: names, secrets, unknowns, ignored properties, refusals, retries, policies.

The service is called in this process, with the messages that the engine sends; the API is a small server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2

from localcloud.provider import client
from localcloud.provider.servicer import GcpStandIn
from localcloud.provider.settings import SettingsError, read_settings, seconds
from localcloud.provider.values import UNKNOWN, decode, encode
from tests.provider.harness import RecordedApi, recorded_api

URN = "urn:pulumi:s::p::gcp:tpu/v2Vm:V2Vm::n"
LOCATION = "/v2alpha1/projects/p/locations/z"
NODE = {
    "name": "projects/p/locations/z/nodes/n",
    "acceleratorType": "v6e-16",
    "acceleratorConfig": {"type": "V6E", "topology": "4x4"},
    "runtimeVersion": "v6e-ubuntu-2404",
    "state": "READY",
    "health": "HEALTHY",
    "labels": {"goog-pulumi-provisioned": "true", "theirs": "x"},
    "networkConfig": {"network": "projects/p/global/networks/default", "queueCount": 0},
    "schedulingConfig": {},
    "shieldedInstanceConfig": {},
    "networkEndpoints": [{"ipAddress": "10.0.0.1", "port": 8470, "accessConfig": {"externalIp": "1.2.3.4"}}],
}
DONE = {"name": "projects/p/locations/z/operations/o", "done": True, "response": {}}
SENT = {"name": "n", "runtimeVersion": "v6e-ubuntu-2404", "acceleratorType": "v6e-16"}
INPUTS = {**SENT, "deletionPolicy": "DELETE"}
HEADERS = {"authorization": "Bearer x", "content-type": "application/json"}


class Refused(Exception):
    """What the service aborts a call with."""


class Context:
    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        assert code is grpc.StatusCode.UNKNOWN
        raise Refused(details)


@pytest.fixture(autouse=True)
def quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries in no time, and none of the user's own settings."""
    monkeypatch.setattr(client, "FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(client, "FIRST_POLL_SECONDS", 0.001)
    for name in ("GOOGLE_TPU_V2_CUSTOM_ENDPOINT", "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_PROJECT", "GOOGLE_ZONE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api() -> Iterator[RecordedApi]:
    with recorded_api() as api:
        yield api
        assert len(api.seen) == len(api.expected), "every answer is asked for"


@pytest.fixture
def provider(api: RecordedApi) -> GcpStandIn:
    return configured(api.endpoint)


def configured(endpoint: str, **more: Any) -> GcpStandIn:
    config = {"tpuV2CustomEndpoint": endpoint, "accessToken": "x", "project": "p", "zone": "z", **more}
    stand_in = GcpStandIn()
    stand_in.Configure(provider_pb2.ConfigureRequest(args=encode(config)), Context())
    return stand_in


def answers(api: RecordedApi, *exchanges: tuple[str, str, Any, int, Any]) -> None:
    """Have ``api`` expect these: method, path with query, body, status, answer."""
    for method, path, body, status, response in exchanges:
        path, _, query = path.partition("?")
        parameters = dict(item.split("=") for item in query.split("&") if item)
        api.expected.append(
            {
                "method": method,
                "path": f"{LOCATION}/{path}",
                "query": {"alt": "json", **parameters},
                "body": body,
                "headers": HEADERS,
                "status": status,
                "response": response,
            }
        )


def check(provider: GcpStandIn, news: dict[str, Any], olds: dict[str, Any] | None = None, **more: Any) -> Any:
    request = provider_pb2.CheckRequest(urn=URN, news=encode(news), olds=encode(olds or {}), **more)
    return provider.Check(request, Context())


def read(provider: GcpStandIn, api: RecordedApi, node: dict[str, Any], inputs: dict[str, Any]) -> Any:
    answers(api, ("GET", "nodes/n", None, 200, node))
    request = provider_pb2.ReadRequest(
        id="projects/p/locations/z/nodes/n", urn=URN, inputs=encode(inputs), properties=encode(inputs)
    )
    return provider.Read(request, Context())


def diff(provider: GcpStandIn, state: dict[str, Any], news: dict[str, Any], ignored: tuple[str, ...] = ()) -> Any:
    request = provider_pb2.DiffRequest(urn=URN, olds=encode(state), news=encode(news), ignoreChanges=ignored)
    return provider.Diff(request, Context())


def paths(response: Any) -> dict[str, str]:
    return {path: provider_pb2.PropertyDiff.Kind.Name(item.kind) for path, item in response.detailedDiff.items()}


def test_a_name_is_made_up_once_and_kept(provider: GcpStandIn) -> None:
    news = {"runtimeVersion": "r"}
    first, _ = decode(check(provider, news, randomSeed=b"seed").inputs)
    assert first["name"].startswith("n-")
    assert len(first["name"]) == len("n-") + 7
    assert decode(check(provider, news, randomSeed=b"seed").inputs)[0]["name"] == first["name"], "preview and update"
    assert decode(check(provider, news, olds=first, randomSeed=b"other").inputs)[0]["name"] == first["name"]


def test_a_project_may_name_its_resources_itself_or_want_names_given(provider: GcpStandIn) -> None:
    options = provider_pb2.CheckRequest.AutonamingOptions
    asked = options(proposed_name="theirs", mode=options.PROPOSE)
    assert decode(check(provider, {"runtimeVersion": "r"}, autonaming=asked).inputs)[0]["name"] == "theirs"
    failures = check(provider, {"runtimeVersion": "r"}, autonaming=options(mode=options.DISABLE)).failures
    assert [item.property for item in failures] == ["name"]


@pytest.mark.parametrize(
    ("wrong", "path", "why"),
    [
        ({"acceleratorTipe": "v6e-16"}, "acceleratorTipe", "Invalid or unknown key"),
        ({"networkConfig": {"nett": "x"}}, "networkConfig.nett", "Invalid or unknown key"),
        ({"runtimeVersion": None}, "runtimeVersion", "Missing required argument"),
        ({"dataDisks": [{"mode": "READ_ONLY"}]}, "dataDisks[0].sourceDisk", "Missing required argument"),
        ({"dataDisks": [{"sourceDisk": "d", "mode": "NO"}]}, "dataDisks[0].mode", "one of"),
        ({"deletionPolicy": "KEEP"}, "deletionPolicy", "one of"),
        ({"labels": "a=b"}, "labels", "expected a map of strings"),
        ({"labels": {"a": 1}}, "labels['a']", "expected a string"),
        ({"tags": {"a": "b"}}, "tags", "expected a list of strings"),
        ({"networkConfig": {"queueCount": True}}, "networkConfig.queueCount", "expected a whole number"),
        ({"acceleratorConfig": {"type": "V6E", "topology": "4x4"}}, "acceleratorType", "conflicts with"),
        ({"networkConfig": {}, "networkConfigs": [{}]}, "networkConfig", "conflicts with"),
    ],
)
def test_wrong_inputs_are_refused_where_they_are(
    provider: GcpStandIn, wrong: dict[str, Any], path: str, why: str
) -> None:
    failures = check(provider, {**INPUTS, **wrong}).failures
    assert [item.property for item in failures] == [path]
    assert why in failures[0].reason


def test_what_a_preview_does_not_know_yet_is_no_fault_and_replaces_where_it_would(
    provider: GcpStandIn, api: RecordedApi
) -> None:
    news = {**INPUTS, "runtimeVersion": UNKNOWN, "labels": {"a": UNKNOWN}, "tags": UNKNOWN}
    checked = check(provider, news)
    assert not checked.failures
    assert decode(checked.inputs)[0]["runtimeVersion"] is UNKNOWN
    state, _ = decode(read(provider, api, NODE, INPUTS).properties)
    found = paths(diff(provider, state, decode(checked.inputs)[0]))
    assert found["runtimeVersion"] == "UPDATE_REPLACE"
    assert found["tags"] == "ADD"
    request = provider_pb2.CreateRequest(urn=URN, properties=checked.inputs, preview=True)
    planned, _ = decode(provider.Create(request, Context()).properties)
    assert planned["state"] is UNKNOWN
    assert planned["networkConfig"] is UNKNOWN
    assert planned["acceleratorType"] == "v6e-16"
    assert planned["pulumiLabels"] == {"a": UNKNOWN, "goog-pulumi-provisioned": "true"}


def test_a_secret_stays_one_and_reaches_the_cloud_in_the_clear(provider: GcpStandIn, api: RecordedApi) -> None:
    news = encode({**INPUTS, "metadata": {"k": "hidden"}}, secret=["metadata"])
    checked = provider.Check(provider_pb2.CheckRequest(urn=URN, news=news), Context())
    assert decode(checked.inputs)[1] == {"metadata"}
    body = {**SENT, "labels": {"goog-pulumi-provisioned": "true"}, "metadata": {"k": "hidden"}}
    answers(
        api,
        ("POST", "nodes?nodeId=n", body, 200, DONE),
        ("GET", "nodes/n", None, 200, {**NODE, "metadata": {"k": "hidden"}}),
    )
    made = provider.Create(provider_pb2.CreateRequest(urn=URN, properties=checked.inputs), Context())
    assert made.id == NODE["name"]
    assert decode(made.properties)[1] == {"metadata"}


def test_ssh_keys_of_others_are_left_alone_by_who_ignores_them(provider: GcpStandIn, api: RecordedApi) -> None:
    """Also when the program changes its own metadata: the update must not take the others' keys away."""
    ours = {**INPUTS, "metadata": {"k": "v"}}
    node = {**NODE, "metadata": {"k": "v", "ssh-keys": "u:ssh-rsa A"}}
    state, _ = decode(read(provider, api, node, ours).properties)
    ignored = ('metadata["ssh-keys"]',)
    assert paths(diff(provider, state, ours)) == {'metadata["ssh-keys"]': "DELETE"}
    assert paths(diff(provider, state, ours, ignored)) == {}
    news = {**INPUTS, "metadata": {"k": "w"}}
    assert paths(diff(provider, state, news, ignored)) == {"metadata.k": "UPDATE"}
    metadata = {"k": "w", "ssh-keys": "u:ssh-rsa A"}
    body = {"labels": NODE["labels"], "metadata": metadata}
    answers(
        api,
        ("PATCH", "nodes/n?updateMask=metadata", body, 200, DONE),
        ("GET", "nodes/n", None, 200, {**node, "metadata": metadata}),
    )
    request = provider_pb2.UpdateRequest(urn=URN, olds=encode(state), news=encode(news), ignoreChanges=ignored)
    updated, _ = decode(provider.Update(request, Context()).properties)
    assert updated["metadata"] == metadata


def test_labels_of_others_stay_on_the_node(provider: GcpStandIn, api: RecordedApi) -> None:
    state, _ = decode(
        read(provider, api, NODE, {**INPUTS, "pulumiLabels": {"goog-pulumi-provisioned": "true"}}).properties
    )
    assert state["effectiveLabels"] == {"goog-pulumi-provisioned": "true", "theirs": "x"}
    assert paths(diff(provider, state, INPUTS)) == {}
    found = paths(diff(provider, state, {**INPUTS, "labels": {"a": "b"}}))
    assert found == {"labels": "ADD", "pulumiLabels.a": "ADD", "effectiveLabels.a": "ADD"}


def test_blocks_that_only_say_false_show_a_replacement_for_ever(provider: GcpStandIn, api: RecordedApi) -> None:
    """The official provider's trap: the API answers with an empty object, which reads as nothing."""
    news = {**INPUTS, "shieldedInstanceConfig": {"enableSecureBoot": False}}
    state, _ = decode(read(provider, api, NODE, news).properties)
    response = diff(provider, state, news)
    assert paths(response) == {"shieldedInstanceConfig": "ADD_REPLACE"}
    assert list(response.replaces) == ["shieldedInstanceConfig"]


def test_a_given_name_is_freed_before_it_is_taken_again(provider: GcpStandIn, api: RecordedApi) -> None:
    state, _ = decode(read(provider, api, NODE, INPUTS).properties)
    news = {**INPUTS, "runtimeVersion": "other"}
    assert diff(provider, state, news).deleteBeforeReplace
    assert not diff(provider, state, {**news, "__defaults": ["name"]}).deleteBeforeReplace
    assert not diff(provider, state, {**news, "name": "m"}).deleteBeforeReplace


@pytest.mark.parametrize("identity", ["projects/p/locations/z/nodes/n", "p/z/n", "z/n", "n"])
def test_a_node_is_imported_by_every_form_of_its_id(provider: GcpStandIn, api: RecordedApi, identity: str) -> None:
    answers(api, ("GET", "nodes/n", None, 200, {**NODE, "metadata": {"k": "v"}}))
    imported = provider.Read(provider_pb2.ReadRequest(id=identity, urn=URN), Context())
    assert imported.id == NODE["name"]
    inputs, _ = decode(imported.inputs)
    assert inputs["runtimeVersion"] == "v6e-ubuntu-2404"
    assert inputs["acceleratorType"] == "v6e-16"
    assert "acceleratorConfig" not in inputs
    assert inputs["metadata"] == {"k": "v"}
    assert not check(provider, inputs).failures


def test_a_node_that_is_gone_leaves_the_state(provider: GcpStandIn, api: RecordedApi) -> None:
    answers(api, ("GET", "nodes/n", None, 404, {"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}))
    request = provider_pb2.ReadRequest(id="projects/p/locations/z/nodes/n", urn=URN, inputs=encode(INPUTS))
    assert provider.Read(request, Context()).id == ""


def delete(provider: GcpStandIn, policy: str) -> None:
    state = {**INPUTS, "project": "p", "zone": "z", "deletionPolicy": policy}
    provider.Delete(provider_pb2.DeleteRequest(urn=URN, properties=encode(state)), Context())


def test_deleting_what_is_gone_is_fine(provider: GcpStandIn, api: RecordedApi) -> None:
    answers(api, ("DELETE", "nodes/n", None, 404, {"error": {"code": 404, "message": "gone"}}))
    delete(provider, "DELETE")


def test_the_deletion_policy_holds(provider: GcpStandIn, api: RecordedApi) -> None:
    delete(provider, "ABANDON")
    with pytest.raises(Refused, match="deletion_policy"):
        delete(provider, "PREVENT")
    assert api.seen == []


PASSING = [
    (429, {"error": {"message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}),
    (500, {"error": {"message": "internal"}}),
    (502, {}),
    (503, {"error": {"message": "unavailable"}}),
    (409, {"error": {"message": "busy", "details": [{"reason": "operationInProgress"}]}}),
    (403, {"error": {"message": "Quota exceeded for quota metric X per minute"}}),
]


@pytest.mark.parametrize(("status", "answer"), PASSING)
def test_what_passes_is_tried_again(provider: GcpStandIn, api: RecordedApi, status: int, answer: Any) -> None:
    answers(
        api,
        ("DELETE", "nodes/n", None, status, answer),
        ("DELETE", "nodes/n", None, 200, {"name": "projects/p/locations/z/operations/o", "done": False}),
        ("GET", "operations/o", None, 404, {"error": {"message": "not yet"}}),
        ("GET", "operations/o", None, 200, {"name": "projects/p/locations/z/operations/o", "done": False}),
        ("GET", "operations/o", None, 200, DONE),
    )
    delete(provider, "DELETE")


def test_a_node_that_cannot_be_read_right_after_its_creation_is_still_kept(
    provider: GcpStandIn, api: RecordedApi
) -> None:
    body = {**SENT, "labels": {"goog-pulumi-provisioned": "true"}}
    answers(
        api,
        ("POST", "nodes?nodeId=n", body, 200, {**DONE, "response": NODE}),
        ("GET", "nodes/n", None, 401, {"error": {"code": 401, "message": "token expired"}}),
    )
    made = provider.Create(provider_pb2.CreateRequest(urn=URN, properties=encode(INPUTS)), Context())
    assert made.id == NODE["name"]


def test_an_api_that_does_not_listen_is_named() -> None:
    provider = configured("http://127.0.0.1:9/v2alpha1/")
    with pytest.raises(Refused, match=r'Get "http://127.0.0.1:9/v2alpha1/projects/p/.*": Connection refused'):
        request = provider_pb2.InvokeRequest(tok="gcp:tpu/getV2RuntimeVersions:getV2RuntimeVersions")
        provider.Invoke(request, Context())


def test_a_wait_ends_when_the_engine_gives_up(provider: GcpStandIn, api: RecordedApi) -> None:
    answers(api, ("DELETE", "nodes/n", None, 503, {}))
    provider.end()
    with pytest.raises(Refused, match="cancelled"):
        delete(provider, "DELETE")


def test_a_create_that_is_cancelled_half_way_is_kept_as_far_as_it_came(provider: GcpStandIn, api: RecordedApi) -> None:
    operation = {"name": "projects/p/locations/z/operations/o", "done": False}
    answers(
        api,
        ("POST", "nodes?nodeId=n", {**SENT, "labels": {"goog-pulumi-provisioned": "true"}}, 200, operation),
        ("GET", "operations/o", None, 200, operation),
        ("GET", "nodes/n", None, 200, {**NODE, "state": "CREATING"}),
    )
    provider.end()
    made = provider.Create(provider_pb2.CreateRequest(urn=URN, properties=encode(INPUTS)), Context())
    assert (made.id, decode(made.properties)[0]["state"]) == (NODE["name"], "CREATING")


@pytest.mark.parametrize("kind", ["gcp:compute/network:Network", "gcp:tpu/v2QueuedResource:V2QueuedResource"])
def test_other_types_are_refused_by_name(provider: GcpStandIn, kind: str) -> None:
    with pytest.raises(Refused, match=f"{kind}: .*pulumi plugin install resource gcp 9.35.0"):
        provider.Check(provider_pb2.CheckRequest(urn=f"urn:pulumi:s::p::{kind}::n"), Context())


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://tpu.googleapis.com/v2alpha1/",
        "http://tpu.googleapis.com/v2alpha1/",
        "http://10.0.0.1:80/v2alpha1/",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com/",
        "http://127.0.0.1@example.com/",
        "//127.0.0.1/",
        "",
    ],
)
def test_every_endpoint_but_loopback_is_refused_with_the_way_to_the_official_plugin(endpoint: str) -> None:
    config = {"tpuV2CustomEndpoint": endpoint, "accessToken": "x"}
    with pytest.raises(Refused, match=r"pulumi plugin install resource gcp 9\.35\.0"):
        GcpStandIn().Configure(provider_pb2.ConfigureRequest(args=encode(config)), Context())
    checked = GcpStandIn().CheckConfig(provider_pb2.CheckRequest(news=encode(config)), Context())
    assert "loopback only" in checked.failures[0].reason


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1/v2alpha1", "http://[::1]:1/v2alpha1/", "http://localhost:1/v2alpha1/"]
)
def test_loopback_is_served(endpoint: str) -> None:
    settings = read_settings({}, {"GOOGLE_TPU_V2_CUSTOM_ENDPOINT": endpoint, "GOOGLE_OAUTH_ACCESS_TOKEN": "x"})
    assert settings.endpoint.endswith("/v2alpha1/")


def test_without_a_token_the_way_to_one_is_said() -> None:
    with pytest.raises(SettingsError, match=r"invoke cloud\.env"):
        read_settings({"tpuV2CustomEndpoint": "http://127.0.0.1:1/"}, {})


@pytest.mark.parametrize(("text", "expected"), [("500ms", 0.5), ("10s", 10), ("1m30s", 90), ("2h", 7200)])
def test_durations_are_read_as_go_writes_them(text: str, expected: float) -> None:
    assert seconds(text, "gcp:pollInterval") == expected


@pytest.mark.parametrize("text", ["10", "s", "1m 30s", "-1s", "soon"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="gcp:pollInterval"):
        seconds(text, "gcp:pollInterval")
