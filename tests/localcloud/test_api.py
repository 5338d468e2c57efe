"""The TPU API as clients see it: what the real one answers, traps included. Workers are only remembered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.localcloud.api_client import PARENT
from tests.localcloud.conftest import FakeCloud, addresses

NODES = f"{PARENT}/nodes"
SIX_SCOPES = 6


def test_a_created_node_is_an_operation_until_its_workers_are_up(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    fake_cloud.workers.gate.clear()
    operation = client.begin("n")
    assert operation["name"].startswith(f"{PARENT}/operations/operation-")
    assert operation["done"] is False
    assert operation["metadata"]["@type"] == "type.googleapis.com/google.cloud.tpu.v2alpha1.OperationMetadata"
    assert (operation["metadata"]["verb"], operation["metadata"]["target"]) == ("create", f"{NODES}/n")
    assert client.node()["state"] == "CREATING"
    assert "networkEndpoints" not in client.node()
    fake_cloud.workers.gate.set()
    done = client.wait(operation)
    assert done["response"]["@type"] == "type.googleapis.com/google.cloud.tpu.v2alpha1.Node"
    assert done["response"]["state"] == "READY"
    assert done["metadata"]["endTime"]


def test_the_create_response_has_no_health_and_a_later_get_has(fake_cloud: FakeCloud) -> None:
    operation = fake_cloud.client.wait(fake_cloud.client.begin("n"))
    assert "health" not in operation["response"]
    assert fake_cloud.client.node()["health"] == "HEALTHY"


def test_a_minimal_node_comes_back_with_what_the_api_adds(fake_cloud: FakeCloud) -> None:
    node = fake_cloud.client.create("n", name="n", labels={"goog-pulumi-provisioned": "true"})
    assert node["name"] == f"{NODES}/n"
    assert node["acceleratorConfig"] == {"type": "V6E", "topology": "4x4"}
    assert node["networkConfig"]["network"] == "projects/p/global/networks/default"
    assert node["networkConfig"]["subnetwork"] == "projects/p/regions/us-east5/subnetworks/default"
    assert (node["schedulingConfig"], node["shieldedInstanceConfig"]) == ({}, {})
    assert len(node["serviceAccount"]["scope"]) == SIX_SCOPES
    assert node["apiVersion"] == "V2_ALPHA1"
    assert node["id"].isdigit()
    assert [endpoint["accessConfig"] for endpoint in node["networkEndpoints"]] == [{}] * 4
    assert addresses(node) == ["10.231.7.2", "10.231.7.3", "10.231.7.4", "10.231.7.5"]
    assert {endpoint["port"] for endpoint in node["networkEndpoints"]} == {8470}


def test_short_network_names_and_false_blocks_come_back_as_the_trap_they_are(fake_cloud: FakeCloud) -> None:
    node = fake_cloud.client.create(
        "n",
        networkConfig={"network": "default", "enableExternalIps": False},
        schedulingConfig={"preemptible": False, "reserved": False, "spot": False},
        shieldedInstanceConfig={"enableSecureBoot": False},
    )
    assert node["networkConfig"]["network"] == "projects/p/global/networks/default"
    assert "enableExternalIps" not in node["networkConfig"]
    assert (node["schedulingConfig"], node["shieldedInstanceConfig"]) == ({}, {})


def test_a_full_node_keeps_what_it_was_given(fake_cloud: FakeCloud) -> None:
    node = fake_cloud.client.create(
        "n",
        acceleratorType=None,
        acceleratorConfig={"topology": "4x4", "type": "V6E"},
        cidrBlock="10.9.0.0/29",
        dataDisks=[{"mode": "READ_WRITE", "sourceDisk": "projects/p/zones/us-east5-b/disks/d"}],
        description="full",
        metadata={"k": "v"},
        networkConfig={"network": "projects/p/global/networks/vpc", "queueCount": 4, "enableExternalIps": True},
        schedulingConfig={"spot": True},
        serviceAccount={"email": "sa@p.iam.gserviceaccount.com", "scope": ["s"]},
        shieldedInstanceConfig={"enableSecureBoot": True},
        tags=["x"],
    )
    assert node["acceleratorType"] == "v6e-16"
    assert node["networkConfig"]["queueCount"] == 4
    assert node["networkEndpoints"][0]["accessConfig"] == {"externalIp": node["networkEndpoints"][0]["ipAddress"]}
    assert node["schedulingConfig"] == {"spot": True}
    assert node["shieldedInstanceConfig"] == {"enableSecureBoot": True}
    assert node["serviceAccount"] == {"email": "sa@p.iam.gserviceaccount.com", "scope": ["s"]}
    assert (node["cidrBlock"], node["description"], node["tags"]) == ("10.9.0.0/29", "full", ["x"])
    assert node["dataDisks"] == [{"mode": "READ_WRITE", "sourceDisk": "projects/p/zones/us-east5-b/disks/d"}]


def test_the_update_mask_decides_whatever_the_body_holds(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    client.create("n", description="old", labels={"a": "b"}, metadata={"k": "v"})
    done = client.patch("labels", description="new", labels={"a": "c"}, metadata={}, tags=["t"])
    assert done["response"]["labels"] == {"a": "c"}
    node = client.node()
    assert (node["description"], node["metadata"], "tags" in node) == ("old", {"k": "v"}, False)
    client.patch("description,metadata,tags,labels", labels={}, metadata={}, tags=["t"])
    node = client.node()
    assert [key in node for key in ("description", "metadata", "labels")] == [False] * 3
    assert node["tags"] == ["t"]


def test_gclouds_masks_are_understood(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    client.create("n", networkConfig={"enableExternalIps": True})
    client.patch("network_config.enable_external_ips", networkConfig={"enableExternalIps": False})
    assert client.node()["networkEndpoints"][0]["accessConfig"] == {}
    client.patch("data_disks", dataDisks=[{"sourceDisk": "d"}])
    assert client.node()["dataDisks"] == [{"sourceDisk": "d", "mode": "READ_WRITE"}]


def test_keys_are_with_the_workers_before_the_patch_is_done(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    client.create("n")
    client.patch("metadata", metadata={"ssh-keys": "\nann:ssh-ed25519 AAAA ann\nrubbish\nbob:ssh-rsa BBBB"})
    assert {spec.ssh_keys for spec in fake_cloud.workers.running.values()} == {
        (("ann", "ssh-ed25519 AAAA ann"), ("bob", "ssh-rsa BBBB"))
    }


def test_lists_always_carry_their_key(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    assert client.call("GET", NODES) == {"nodes": []}
    assert client.call("GET", f"{PARENT}/operations") == {"operations": []}
    client.create("n")
    everywhere = client.call("GET", "projects/p/locations/-/nodes", pageSize="1")["nodes"]
    assert [node["name"] for node in everywhere] == [f"{NODES}/n"]
    assert client.call("GET", "projects/p/locations/us-east5-a/nodes") == {"nodes": []}
    assert client.call("GET", "projects/other/locations/-/nodes") == {"nodes": []}


def test_a_deleted_node_is_gone_and_its_name_free(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    first = client.create("n")
    done = client.delete()
    assert done["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert client.error("GET", f"{NODES}/n", status=404)["status"] == "NOT_FOUND"
    assert client.error("DELETE", f"{NODES}/n", status=404)["status"] == "NOT_FOUND"
    assert not fake_cloud.workers.running and not fake_cloud.workers.created
    second = client.create("n")
    assert second["id"] != first["id"]
    assert addresses(second) == addresses(first)


def test_a_node_deleted_while_it_is_made_ends_both_operations(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    fake_cloud.workers.gate.clear()
    create = client.begin("n")
    delete = client.call("DELETE", f"{NODES}/n")
    assert client.node()["state"] == "DELETING"
    body = {"acceleratorType": "v6e-16", "runtimeVersion": "v6e-ubuntu-2404"}
    client.error("POST", NODES, body, status=409, nodeId="n")
    fake_cloud.workers.gate.set()
    assert "error" not in client.wait(delete)
    assert client.wait(create)["error"]["code"] == 1
    assert not fake_cloud.workers.created


def test_a_node_that_cannot_be_made_is_an_operation_error_and_leaves_nothing(fake_cloud: FakeCloud) -> None:
    fake_cloud.workers.fail = 2
    done = fake_cloud.client.wait(fake_cloud.client.begin("n"))
    assert done["error"]["code"] == 13
    assert "no such luck" in done["error"]["message"]
    fake_cloud.client.error("GET", f"{NODES}/n", status=404)
    assert not fake_cloud.workers.created and not fake_cloud.workers.running


def test_one_worker_can_be_stopped_and_started_several_cannot(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    client.create("one", acceleratorType="v6e-8")
    done = client.wait(client.call("POST", f"{NODES}/one:stop", {}))
    assert done["response"]["state"] == "STOPPED"
    assert not fake_cloud.workers.running
    assert "health" not in client.node("one")
    assert client.error("POST", f"{NODES}/one:stop", {}, status=400)["status"] == "FAILED_PRECONDITION"
    client.wait(client.call("POST", f"{NODES}/one:start", {}))
    assert client.node("one")["health"] == "HEALTHY"
    client.create("many")
    for method in ("stop", "start"):
        assert client.error("POST", f"{NODES}/many:{method}", {}, status=400)["status"] == "FAILED_PRECONDITION"


def test_guest_attributes_hold_host_keys_and_hostnames(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    client.create("n")
    shown = client.call("POST", f"{NODES}/n:getGuestAttributes", {"workerIds": [""]})["guestAttributes"]
    assert len(shown) == 4
    assert shown[2]["queryValue"]["items"][0] == {"namespace": "hostkeys", "key": "ssh-ed25519", "value": "KEY2"}
    assert shown[2]["queryValue"]["items"][1]["key"] == "hostname"
    one = client.call("POST", f"{NODES}/n:getGuestAttributes", {"workerIds": ["3"], "queryPath": "hostkeys/"})
    assert [item["value"] for item in one["guestAttributes"][0]["queryValue"]["items"]] == ["KEY3"]
    client.error("POST", f"{NODES}/n:getGuestAttributes", {"workerIds": ["4"]}, status=400)


def test_the_zone_lists_what_it_offers(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    versions = client.call("GET", f"{PARENT}/runtimeVersions")["runtimeVersions"]
    assert {"name": f"{PARENT}/runtimeVersions/v6e-ubuntu-2404", "version": "v6e-ubuntu-2404"} in versions
    types = client.call("GET", f"{PARENT}/acceleratorTypes")["acceleratorTypes"]
    assert {
        "name": f"{PARENT}/acceleratorTypes/v6e-16",
        "type": "v6e-16",
        "acceleratorConfigs": [{"type": "V6E", "topology": "4x4"}],
    } in types
    assert client.call("GET", f"{PARENT}/acceleratorTypes/v6e-16")["type"] == "v6e-16"
    assert client.call("GET", f"{PARENT}/runtimeVersions/v6e-ubuntu-2404")["version"] == "v6e-ubuntu-2404"
    locations = client.call("GET", "projects/p/locations")["locations"]
    assert {"name": PARENT, "locationId": "us-east5-b"} in locations
    assert client.call("GET", PARENT)["locationId"] == "us-east5-b"


def test_the_other_layout_of_a_type_can_be_asked_for(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    assert len(addresses(client.create("a", acceleratorType="v6e-8"))) == 1
    fields = {"acceleratorType": "v6e-8", "metadata": {"localcloud-chips-per-worker": "4"}}
    assert len(addresses(client.create("b", **fields))) == 2


def test_gclouds_project_question_is_answered(fake_cloud: FakeCloud) -> None:
    answer = fake_cloud.client.send("GET", "/compute/v1/projects/p", None, {})
    assert answer.status_code == 200
    assert answer.json()["commonInstanceMetadata"]["fingerprint"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dTpw"}])
def test_a_request_without_the_token_is_refused(fake_cloud: FakeCloud, headers: dict[str, str]) -> None:
    answer = fake_cloud.http.get(f"/v2/{NODES}", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"


BAD_NODES: list[tuple[dict[str, Any], str]] = [
    ({"acceleratorType": "v6e-17"}, "Accelerator type 'v6e-17' is not offered in zone us-east5-b"),
    ({"acceleratorType": "v4-8"}, "It offers: "),
    ({"acceleratorType": None}, "'v2-8' is not offered"),
    ({"runtimeVersion": "tpu-vm-base"}, "Runtime version 'tpu-vm-base' is not offered in zone us-east5-b"),
    ({"runtimeVersion": None}, "runtime_version is required"),
    ({"acceleratorConfig": {"type": "V6E", "topology": "2x4"}}, "does not agree"),
    ({"acceleratorType": None, "acceleratorConfig": {"type": "V6E", "topology": "3x3"}}, "is not a slice"),
    ({"acceleratorConfig": {"type": "V9", "topology": "4x4"}}, "node.acceleratorConfig.type"),
    ({"acceleratorConfig": {"type": "V6E"}}, "node.acceleratorConfig.topology"),
    ({"colour": "red"}, "Unknown name \"colour\" at 'node': Cannot find field."),
    ({"networkConfig": {"net": "x"}}, "Unknown name \"net\" at 'node.networkConfig'"),
    ({"labels": {"Upper": "x"}}, "label key 'Upper'"),
    ({"labels": {"a": "b c"}}, "label 'a'"),
    ({"labels": {"a": 3}}, "node.labels.a"),
    ({"metadata": {"bad key": "x"}}, "metadata key 'bad key'"),
    ({"tags": ["Bad"]}, "tag 'Bad'"),
    ({"description": "x" * 513}, "node.description"),
    ({"schedulingConfig": {"reserved": True, "spot": True}}, "reserved excludes"),
    ({"networkConfig": {}, "networkConfigs": [{}]}, "mutually exclusive"),
    ({"metadata": {"localcloud-chips-per-worker": "3"}}, "does not divide 16 chips"),
]


@pytest.mark.parametrize(("fields", "words"), BAD_NODES)
def test_a_bad_node_is_refused_by_name_and_nothing_is_made(
    fake_cloud: FakeCloud, fields: dict[str, Any], words: str
) -> None:
    body = {"acceleratorType": "v6e-16", "runtimeVersion": "v6e-ubuntu-2404", **fields}
    error = fake_cloud.client.error("POST", NODES, body, status=400, nodeId="n")
    assert error["status"] == "INVALID_ARGUMENT"
    assert words in error["message"]
    assert fake_cloud.client.call("GET", NODES) == {"nodes": []}
    assert fake_cloud.client.call("GET", f"{PARENT}/operations") == {"operations": []}


@pytest.mark.parametrize("node_id", ["", "Upper", "1st", "end-", "x" * 64, "a_b"])
def test_a_bad_node_id_is_refused(fake_cloud: FakeCloud, node_id: str) -> None:
    body = {"acceleratorType": "v6e-16", "runtimeVersion": "v6e-ubuntu-2404"}
    assert "node_id" in fake_cloud.client.error("POST", NODES, body, status=400, nodeId=node_id)["message"]


def test_what_cannot_be_updated_is_refused(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    client.create("n")
    for mask in ("", "runtimeVersion", "labels,name"):
        client.error("PATCH", f"{NODES}/n", {"labels": {"a": "b"}}, status=400, updateMask=mask)
    client.error("PATCH", f"{NODES}/none", {}, status=404, updateMask="labels")
    assert "labels" not in client.node()


def test_conflicts_unknown_zones_and_unknown_methods_have_googles_form(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    client.create("n")
    body = {"acceleratorType": "v6e-16", "runtimeVersion": "v6e-ubuntu-2404"}
    taken = client.error("POST", NODES, body, status=409, nodeId="n")
    assert (taken["status"], taken["message"]) == ("ALREADY_EXISTS", "Requested entity already exists")
    assert client.error("GET", "projects/p/locations/moon1-a/nodes", status=403)["status"] == "PERMISSION_DENIED"
    assert "localcloud does not implement" in client.error("GET", f"{PARENT}/queuedResources", status=404)["message"]
    assert "localcloud does not implement" in client.error("POST", f"{NODES}/n:fly", {}, status=404)["message"]
    client.error("GET", f"{PARENT}/operations/operation-0", status=404)


def test_a_body_that_is_no_json_is_refused(fake_cloud: FakeCloud) -> None:
    headers = {"Authorization": "Bearer the-token"}
    answer = fake_cloud.http.post(f"/v2/{NODES}?nodeId=n", content=b"{", headers=headers)
    assert answer.status_code == 400
    assert "Invalid JSON payload received" in answer.json()["error"]["message"]
    assert fake_cloud.http.post(f"/v2/{NODES}?nodeId=n", content=b"[1]", headers=headers).status_code == 400


def test_a_subnet_without_room_is_a_quota_error(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    for number in range(3):
        client.create(f"n{number}", acceleratorType="v6e-256")
    body = {"acceleratorType": "v6e-256", "runtimeVersion": "v6e-ubuntu-2404"}
    assert client.error("POST", NODES, body, status=429, nodeId="n3")["status"] == "RESOURCE_EXHAUSTED"
    assert len(client.call("GET", NODES)["nodes"]) == 3
