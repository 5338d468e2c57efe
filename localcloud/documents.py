"""From what a client asks for to what the API says of a node, with the real API's traps.

A short network name comes back as a full path, all-false blocks come back empty, absent scopes become the
six default ones (source: facts recorded with the official provider, docs/localcloud.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from localcloud.errors import ApiError, invalid, unimplemented
from localcloud.models import Message, NetworkConfig, Node
from localcloud.store import NodeRecord, WorkerRecord
from runtime import facts

DEFAULT_ACCELERATOR_TYPE = "v2-8"

DEFAULT_SCOPES = tuple(
    f"https://www.googleapis.com/auth/{scope}"
    for scope in (
        "devstorage.read_write", "logging.write", "service.management", "servicecontrol", "cloud-platform", "pubsub",
    )
)  # fmt: skip

UPDATABLE = {
    "description": "description",
    "labels": "labels",
    "metadata": "metadata",
    "tags": "tags",
    "dataDisks": "dataDisks",
    "data_disks": "dataDisks",
    "networkConfig.enableExternalIps": "networkConfig",
    "network_config.enable_external_ips": "networkConfig",
}
"""What an update mask may name, and the key of the document that it changes."""

PORT = 8470

CHIPS_PER_WORKER = "localcloud-chips-per-worker"
"""Node metadata with which a test asks for the other layout of a type (a v6e-8 as two workers of 4 chips)."""


def accelerator_of(node: Node, zone: str) -> facts.AcceleratorType:
    """The accelerator type that ``node`` asks for, which ``zone`` must list.

    Raises:
        ApiError: INVALID_ARGUMENT with what the zone lists.
    """
    listed = facts.accelerator_types_in(zone)
    known = facts.accelerator_types()
    name = node.accelerator_type
    if node.accelerator_config is not None:
        wanted = node.accelerator_config
        matching = [
            item.name
            for item in known.values()
            if item.family.api_type == wanted.type and item.topology == wanted.topology
        ]
        if not matching or (name and name not in matching):
            raise invalid(
                f"accelerator_config type {wanted.type} topology {wanted.topology} "
                + (f"does not agree with accelerator_type {name}" if name and matching else "is not a slice")
            )
        name = name or next((item for item in matching if item in listed), matching[0])
    name = name or DEFAULT_ACCELERATOR_TYPE
    if name not in listed:
        raise invalid(f"Accelerator type '{name}' is not offered in zone {zone}. It offers: {', '.join(listed)}")
    return known[name]


def check_runtime_version(node: Node, zone: str) -> None:
    """Refuse a runtime version that ``zone`` does not list.

    Raises:
        ApiError: INVALID_ARGUMENT with what the zone lists.
    """
    listed = facts.runtime_versions_in(zone)
    if not node.runtime_version:
        raise invalid(f"runtime_version is required. Zone {zone} offers: {', '.join(listed)}")
    if node.runtime_version not in listed:
        raise invalid(
            f"Runtime version '{node.runtime_version}' is not offered in zone {zone}. It offers: {', '.join(listed)}"
        )


def chips_by_worker(node: Node, accelerator: facts.AcceleratorType) -> tuple[int, ...]:
    """How many chips each worker has, one number a worker."""
    each = accelerator.chips_per_worker
    wanted = node.metadata.get(CHIPS_PER_WORKER)
    if wanted is not None:
        if not wanted.isdigit() or int(wanted) not in (1, 2, 4, 8) or accelerator.chips % int(wanted):
            raise invalid(f"metadata {CHIPS_PER_WORKER} '{wanted}' does not divide {accelerator.chips} chips")
        each = int(wanted)
    return (each,) * (accelerator.chips // each)


def new_document(
    node: Node, accelerator: facts.AcceleratorType, *, project: str, zone: str, uid: str
) -> dict[str, Any]:
    """What the API says of a new node, without state, endpoints and health."""
    document: dict[str, Any] = {
        "acceleratorType": accelerator.name,
        "acceleratorConfig": {"type": accelerator.family.api_type, "topology": accelerator.topology},
        "runtimeVersion": node.runtime_version,
        "id": uid,
        "schedulingConfig": _set_fields(node.scheduling_config),
        "shieldedInstanceConfig": _set_fields(node.shielded_instance_config),
        "serviceAccount": _service_account(node, project),
    }
    if len(node.network_configs) > 1:
        raise unimplemented("more than one network a node")
    if node.network_configs:
        document["networkConfigs"] = [_network(item, project, zone) for item in node.network_configs]
    else:
        document["networkConfig"] = _network(node.network_config or NetworkConfig(), project, zone)
    for key, value in (("cidrBlock", node.cidr_block), ("description", node.description)):
        if value:
            document[key] = value
    for key in ("labels", "metadata", "tags", "dataDisks"):
        _put(document, key, _field(node, key))
    return document


def apply_update(document: dict[str, Any], node: Node, mask: str) -> dict[str, Any]:
    """``document`` with the fields that ``mask`` names taken from ``node``: the mask decides, whatever the body holds.

    Raises:
        ApiError: INVALID_ARGUMENT for an empty mask or a field that cannot be updated.
    """
    names = [name for name in mask.split(",") if name]
    if not names:
        raise invalid("update_mask is required: name the fields to update")
    fresh = dict(document)
    for name in names:
        if name not in UPDATABLE:
            raise invalid(f"Field '{name}' of update_mask cannot be updated. It may be: {', '.join(UPDATABLE)}")
        key = UPDATABLE[name]
        if key == "networkConfig":
            wanted = (node.network_config or NetworkConfig()).enable_external_ips
            network = {**fresh.get("networkConfig", {}), "enableExternalIps": wanted}
            fresh["networkConfig"] = {field: value for field, value in network.items() if value}
        else:
            _put(fresh, key, _field(node, key))
    return fresh


def shown_node(
    node: NodeRecord, workers: Sequence[WorkerRecord], addresses: Sequence[str], *, health: bool
) -> dict[str, Any]:
    """The node as the API answers it. ``health`` is absent from a create's own response."""
    shown = {"name": node.name, "state": node.state, "apiVersion": node.api_version, "createTime": node.created}
    document = {**shown, **node.document}
    if workers and node.state not in ("CREATING", "DELETING") and all(worker.host_key for worker in workers):
        configs = node.document.get("networkConfigs") or [node.document.get("networkConfig", {})]
        external = configs[0].get("enableExternalIps", False)
        document["networkEndpoints"] = [
            {"ipAddress": address, "port": PORT, "accessConfig": {"externalIp": address} if external else {}}
            for address in addresses
        ]
    if health and node.state == "READY":
        document["health"] = "HEALTHY"
    return document


def project_number(project: str) -> str:
    """A project's number, always the same for its id."""
    return str(int(hashlib.sha256(project.encode()).hexdigest()[:10], 16) + 10**11)


def region_of(zone: str) -> str:
    return zone.rpartition("-")[0]


def _network(config: NetworkConfig, project: str, zone: str) -> dict[str, Any]:
    network = config.network or "default"
    subnetwork = config.subnetwork or network.rpartition("/")[2]
    if "/" not in network:
        network = f"projects/{project}/global/networks/{network}"
    if "/" not in subnetwork:
        subnetwork = f"projects/{project}/regions/{region_of(zone)}/subnetworks/{subnetwork}"
    given = config.model_dump(by_alias=True)
    return {key: value for key, value in {**given, "network": network, "subnetwork": subnetwork}.items() if value}


def _service_account(node: Node, project: str) -> dict[str, Any]:
    account = node.service_account
    email = (
        account.email
        if account and account.email
        else f"{project_number(project)}-compute@developer.gserviceaccount.com"
    )
    return {"email": email, "scope": list(account.scope) if account and account.scope else list(DEFAULT_SCOPES)}


def _set_fields(message: Message | None) -> dict[str, Any]:
    dumped = message.model_dump(by_alias=True) if message is not None else {}
    return {key: value for key, value in dumped.items() if value}


def _field(node: Node, key: str) -> Any:
    dumped = node.model_dump(by_alias=True, include={"labels", "metadata", "tags", "data_disks", "description"})
    if key == "dataDisks":
        return [{name: value for name, value in disk.items() if value} for disk in dumped[key]]
    return dumped[key]


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    if value:
        document[key] = value
    else:
        document.pop(key, None)


def unknown_zone(zone: str) -> ApiError:
    """A zone that the tables do not know. (Google's words for one that does not exist: not observed on this API.)"""
    return ApiError("PERMISSION_DENIED", f"Permission denied on 'locations/{zone}' (or it may not exist).")
