"""Google's own client library, google-cloud-tpu, over its REST transport against the cloud."""

from __future__ import annotations

import pytest

from tests.localcloud.conftest import RealCloud

pytestmark = pytest.mark.cloud

PARENT = "projects/p/locations/us-east5-b"


def test_the_client_library_makes_reads_updates_and_deletes_a_node(real_cloud: RealCloud) -> None:
    from google.cloud import tpu_v2
    from google.oauth2.credentials import Credentials
    from google.protobuf.field_mask_pb2 import FieldMask

    token = real_cloud.info.token_file.read_text().strip()
    client = tpu_v2.TpuClient(
        credentials=Credentials(token=token),
        transport="rest",
        client_options={"api_endpoint": real_cloud.info.url},
    )
    wanted = tpu_v2.Node(
        accelerator_config=tpu_v2.AcceleratorConfig(type_=tpu_v2.AcceleratorConfig.Type.V6E, topology="1x1"),
        runtime_version="v6e-ubuntu-2404",
    )
    made = client.create_node(parent=PARENT, node=wanted, node_id="c").result(timeout=60)
    assert (made.accelerator_type, made.state) == ("v6e-1", tpu_v2.Node.State.READY)
    node = client.get_node(name=f"{PARENT}/nodes/c")
    assert node.health == tpu_v2.Node.Health.HEALTHY
    assert [item.name for item in client.list_nodes(parent="projects/p/locations/-")] == [node.name]

    changed = tpu_v2.Node(name=node.name, labels={"a": "b"})
    updated = client.update_node(node=changed, update_mask=FieldMask(paths=["labels"])).result(timeout=60)
    assert dict(updated.labels) == {"a": "b"}
    asked = tpu_v2.GetGuestAttributesRequest(name=node.name, query_path="hostkeys/")
    attributes = client.get_guest_attributes(request=asked).guest_attributes
    assert attributes[0].query_value.items[0].key == "ssh-ed25519"
    assert "v6e-16" in {item.type_ for item in client.list_accelerator_types(parent=PARENT)}
    client.delete_node(name=node.name).result(timeout=60)
    assert list(client.list_nodes(parent=PARENT)) == []
