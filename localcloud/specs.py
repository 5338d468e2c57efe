"""From what the store knows of a node to what each of its workers' hosts has to be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from localcloud.keys import ssh_keys
from localcloud.network import Subnet
from localcloud.store import NodeRecord, WorkerRecord
from localcloud.workers import WorkerSpec

CHIP_DEVICES = {"V2": "accel{}", "V3": "accel{}", "V4": "accel{}"}
"""Names of the chips' device files by family, others have vfio/N (source: facts/families.csv)."""


def worker_specs(
    node: NodeRecord,
    workers: Sequence[WorkerRecord],
    *,
    cloud_id: str,
    folder: Path,
    subnet: Subnet,
    now: datetime,
) -> list[WorkerSpec]:
    """One spec a worker, in their order; ``folder`` holds the nodes' folders."""
    metadata = node.document.get("metadata", {})
    hosts = _hosts_file(node, workers, subnet)
    return [
        WorkerSpec(
            mark=f"{cloud_id}/{node.uid}/{worker.position}",
            folder=folder / node.uid / f"worker-{worker.position}",
            hostname=worker.hostname,
            octet=worker.octet,
            hosts=hosts,
            devices=_devices(node, len(workers)),
            startup_script=metadata.get("startup-script"),
            ssh_keys=ssh_keys(metadata, now),
        )
        for worker in workers
    ]


def _hosts_file(node: NodeRecord, workers: Sequence[WorkerRecord], subnet: Subnet) -> str:
    """Every worker's own name leads to its own address, never to loopback: gloo dials what its name says."""
    _, project, _, zone, *_ = node.name.split("/")
    lines = ["127.0.0.1 localhost", "169.254.169.254 metadata.google.internal metadata"]
    for worker in workers:
        full_name = f"{worker.hostname}.{zone}.c.{project}.internal"
        lines.append(f"{subnet.address(worker.octet)} {full_name} {worker.hostname}")
    return "\n".join(lines) + "\n"


def _devices(node: NodeRecord, workers: int) -> tuple[str, ...]:
    config = node.document["acceleratorConfig"]
    chips = 1
    for side in config["topology"].split("x"):
        chips *= int(side)
    pattern = CHIP_DEVICES.get(config["type"], "vfio/{}")
    return tuple(pattern.format(number) for number in range(chips // workers))
