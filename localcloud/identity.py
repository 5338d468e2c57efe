"""What a worker learns about itself from its metadata server: the tree that Google's TPU VMs show.

Keys: facts of Google's own clients (jax reads ``agent-worker-number``, ``tpu-env`` and
``worker-network-endpoints``); values follow the one recorded sample (facts/gcloud_facts.json).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localcloud.documents import PORT, project_number, region_of
from localcloud.store import NodeRecord, WorkerRecord

TOKEN_SECONDS = 3599


def worker_tree(
    node: NodeRecord,
    workers: Sequence[WorkerRecord],
    addresses: Sequence[str],
    position: int,
    *,
    gateway: str,
    token: str,
) -> dict[str, Any]:
    """The metadata of worker ``position`` of ``node``."""
    _, project, _, zone, _, node_id = node.name.split("/")
    worker, address = workers[position], addresses[position]
    number = project_number(project)
    document = node.document
    network = (document.get("networkConfigs") or [document.get("networkConfig", {})])[0]
    scheduling = document.get("schedulingConfig", {})
    account = document["serviceAccount"]
    spot = bool(scheduling.get("spot") or scheduling.get("preemptible"))
    identity = {
        "aliases": ["default"],
        "email": account["email"],
        "scopes": account["scope"],
        "token": {"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"},
    }
    interface: dict[str, Any] = {
        "ip": address,
        "gateway": gateway,
        "subnetmask": "255.255.255.0",
        "network": f"projects/{number}/networks/{network.get('network', '').rpartition('/')[2]}",
        "access-configs": [{"external-ip": address, "type": "ONE_TO_ONE_NAT"}]
        if network.get("enableExternalIps")
        else [],
    }
    return {
        "instance": {
            "attributes": _attributes(node, workers, addresses, position, project=project, zone=zone, node_id=node_id),
            "hostname": f"{worker.hostname}.{zone}.c.{project}.internal",
            "id": worker.instance_id,
            "name": worker.hostname,
            "zone": f"projects/{number}/zones/{zone}",
            "machine-type": f"projects/{number}/machineTypes/localcloud",
            "image": f"projects/localcloud/global/images/{document['runtimeVersion']}",
            "description": document.get("description", ""),
            "network-interfaces": [interface],
            "service-accounts": {"default": identity, account["email"]: identity},
            "scheduling": {
                "preemptible": "TRUE" if spot else "FALSE",
                "automatic-restart": "FALSE" if spot else "TRUE",
                "on-host-maintenance": "TERMINATE",
            },
            "maintenance-event": "NONE",
            "preempted": "FALSE",
            "tags": document.get("tags", []),
        },
        "project": {"project-id": project, "numeric-project-id": number, "attributes": {}},
    }


def _attributes(
    node: NodeRecord,
    workers: Sequence[WorkerRecord],
    addresses: Sequence[str],
    position: int,
    *,
    project: str,
    zone: str,
    node_id: str,
) -> dict[str, str]:
    document = node.document
    accelerator, config = document["acceleratorType"], document["acceleratorConfig"]
    endpoints = [
        f"{worker.hostname}:{worker.instance_id}:{address}" for worker, address in zip(workers, addresses, strict=True)
    ]
    scheduling = document.get("schedulingConfig", {})
    environment = {
        "ACCELERATOR_TYPE": accelerator,
        "CONSUMER_PROJECT_ID": project,
        "CONSUMER_PROJECT_NUMBER": project_number(project),
        "NODE_ID": node_id,
        "PREEMPTIBLE": str(bool(scheduling.get("preemptible") or scheduling.get("spot"))).lower(),
        "RUNTIME_VERSION": document["runtimeVersion"],
        "SOURCE": "localcloud",
        "TOPOLOGY": config["topology"],
        "TYPE": config["type"],
        "UID": node.uid,
        "WORKER_ID": str(position),
        "ZONE": zone,
        "REGION": region_of(zone),
    }
    return {
        "accelerator-type": accelerator,
        "agent-worker-number": str(position),
        "instance-id": node_id,
        "tpu-env": "".join(f"{key}: '{value}'\n" for key, value in sorted(environment.items())),
        "worker-network-endpoints": ",".join(endpoints),
        "worker-port": str(PORT),
        **document.get("metadata", {}),
    }
