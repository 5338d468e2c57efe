"""The small resources of the API as JSON: locations, versions, accelerator types, guest attributes."""

from __future__ import annotations

from typing import Any

from localcloud.store import WorkerRecord
from runtime import facts


def location_view(project: str, zone: str) -> dict[str, Any]:
    """A zone, by the API."""
    return {"name": f"projects/{project}/locations/{zone}", "locationId": zone}


def runtime_view(parent: str, version: str) -> dict[str, Any]:
    """A runtime version of a zone."""
    return {"name": f"{parent}/runtimeVersions/{version}", "version": version}


def accelerator_view(parent: str, name: str) -> dict[str, Any]:
    """An accelerator type of a zone, with its topology."""
    known = facts.accelerator_types()[name]
    config = {"type": known.family.api_type, "topology": known.topology}
    return {"name": f"{parent}/acceleratorTypes/{name}", "type": name, "acceleratorConfigs": [config]}


def attributes_view(worker: WorkerRecord, path: str) -> dict[str, Any]:
    """The guest attributes of a worker under ``path``: its host key and its hostname."""
    kind, _, key = worker.host_key.partition(" ")
    items = [
        {"namespace": "hostkeys", "key": kind, "value": key},
        {"namespace": "guestInventory", "key": "hostname", "value": worker.hostname},
    ]
    namespace, _, name = path.strip("/").partition("/")
    items = [
        item for item in items if item["value"] and namespace in ("", item["namespace"]) and name in ("", item["key"])
    ]
    return {"queryPath": path, "queryValue": {"items": items}}
