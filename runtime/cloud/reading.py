"""From the API's messages to our data, and the login keys' text: pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from runtime.cloud.slice import LiveSlice, LiveWorker

if TYPE_CHECKING:
    from google.cloud import tpu_v2

Attributes = dict[str, dict[str, str]]
"""Guest attributes of one worker: namespace, key, value."""


def live_slice(node: tpu_v2.Node, attributes: list[Attributes], project: str, zone: str) -> LiveSlice:
    """The node as the runtime sees it; ``attributes`` are its workers' in their order, or none."""
    workers = []
    for index, endpoint in enumerate(node.network_endpoints):
        own = attributes[index] if attributes else {}
        keys = tuple(f"{kind} {value}" for kind, value in sorted(own.get("hostkeys", {}).items()))
        workers.append(
            LiveWorker(
                index=index,
                internal_ip=endpoint.ip_address,
                external_ip=endpoint.access_config.external_ip or None,
                hostname=_hostname(own),
                host_keys=keys,
            )
        )
    return LiveSlice(
        node_id=short_name(node.name),
        name=node.name,
        id=str(node.id),
        state=node.state.name,
        health=node.health.name,
        create_time=_time(node),
        runtime_version=node.runtime_version,
        accelerator_type=node.accelerator_type,
        workers=tuple(workers),
        labels=dict(node.labels),
        project=project,
        zone=zone,
    )


def merge_key(existing: str, user: str, public_key: str) -> str | None:
    """The ``ssh-keys`` text with this user's key added, or None if it is in it already."""
    kind, blob = public_key.split()[:2]
    for line in existing.splitlines():
        name, _, key = line.partition(":")
        if name.strip() == user and key.split()[:2] == [kind, blob]:
            return None
    kept = existing.strip("\n")
    return f"{kept}\n{user}:{kind} {blob} {user}".lstrip("\n")


def _hostname(attributes: Attributes) -> str | None:
    for values in attributes.values():
        if values.get("hostname"):
            return values["hostname"]
    return None


def _time(node: tpu_v2.Node) -> datetime | None:
    stamp: Any = node.create_time  # proto-plus hands out a datetime; its annotations name the message
    return stamp if isinstance(stamp, datetime) else None


def short_name(name: str) -> str:
    """The last part of a resource's full name."""
    return name.rsplit("/", 1)[-1]
