"""The programs of the recorded scenarios; each runs in a process of its own, started by the language host."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pulumi
from pulumi_gcp import tpu

SCENARIO_VARIABLE = "REPLAYED_SCENARIO"

Program = Callable[[], None]

EXPORTED = [
    "accelerator_type",
    "api_version",
    "cidr_block",
    "effective_labels",
    "health",
    "id",
    "metadata",
    "multislice_node",
    "name",
    "network_config",
    "network_endpoints",
    "pulumi_labels",
    "queued_resource",
    "scheduling_config",
    "service_account",
    "state",
]
"""What the recorded programs exported."""

STARTUP = "#!/bin/sh\ntrue\n"
VPC = "projects/p/global/networks/vpc"
OTHER = "v2-alpha-tpuv6e"


def node(**arguments: Any) -> Program:
    """A program with one V2Vm, everything of it exported."""

    def program() -> None:
        given = {"name": "n", "accelerator_type": "v6e-16", "runtime_version": "v6e-ubuntu-2404", **arguments}
        vm = tpu.V2Vm("n", **{key: value for key, value in given.items() if value is not None})
        for name in EXPORTED:
            pulumi.export(name, getattr(vm, name))

    return program


def lists() -> None:
    """Both data sources."""
    pulumi.export("rv", tpu.get_v2_runtime_versions().versions)
    pulumi.export("at", tpu.get_v2_accelerator_types().types)


def nothing() -> None:
    """An empty program: what a destroy is asked with."""


def touched(value: str, **arguments: Any) -> Program:
    """One node with everything that can be updated in place."""
    return node(labels={"a": value}, metadata={"startup-script": STARTUP}, tags=["t1"], description="d", **arguments)


def full(**arguments: Any) -> Program:
    """One node with every argument."""
    given: dict[str, Any] = {
        "accelerator_type": None,
        "accelerator_config": {"type": "V6E", "topology": "4x4"},
        "cidr_block": "10.9.0.0/29",
        "data_disks": [{"source_disk": "projects/p/zones/us-east5-b/disks/d", "mode": "READ_WRITE"}],
        "description": "full",
        "labels": {"owner": "o"},
        "metadata": {"k": "v"},
        "network_config": {"network": VPC, "subnetwork": "projects/p/regions/us-east5/subnetworks/s", "queue_count": 4},
        "scheduling_config": {"spot": True},
        "service_account": {
            "email": "sa@p.iam.gserviceaccount.com",
            "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        },
        "shielded_instance_config": {"enable_secure_boot": True},
        "tags": ["x"],
    }
    return node(**{**given, **arguments})


CHAINS: dict[str, dict[str, Program]] = {
    "data sources": {"data sources": lists},
    "life of a node": {
        "minimal create": node(),
        "minimal again, no change": node(),
        "labels, metadata, tags, description added": touched("b"),
        "labels only changed": touched("c"),
        "after somebody added ssh-keys to metadata: refresh": touched("c"),
        "after that refresh: preview": touched("c"),
        "after that: up": touched("c"),
        "node preempted: refresh": touched("c"),
        "node preempted: preview": touched("c"),
        "runtime version changed: preview": touched("c", runtime_version=OTHER),
        "runtime version changed: up": node(runtime_version=OTHER),
        "short network name": node(runtime_version=OTHER, network_config={"network": "default"}),
        "destroy": nothing,
    },
    "every argument": {
        "full create": full(),
        "full again, no change": full(),
        "spot removed: preview": full(scheduling_config=None),
        "network_configs (two)": full(network_config=None, network_configs=[{"network": VPC}, {"network": f"{VPC}2"}]),
        "full destroy": nothing,
    },
    "errors": {
        "create fails: 409": node(name="e409"),
        "then destroy 409": nothing,
        "create fails: 429": node(name="e429"),
        "then destroy 429": nothing,
        "create fails: 403": node(name="e403"),
        "then destroy 403": nothing,
        "create fails: stockout": node(name="estockout"),
        "then destroy stockout": nothing,
    },
}
"""In the order of the recording: each scenario starts from the state that the one before it left."""

MORE: dict[str, Program] = {
    "automatic name": node(name=None),
    "automatic name, other runtime": node(name=None, runtime_version=OTHER),
    "ssh-keys ignored": node(metadata={"k": "v"}, opts=pulumi.ResourceOptions(ignore_changes=['metadata["ssh-keys"]'])),
    "ssh-keys ignored, metadata changed": node(
        metadata={"k": "w"}, opts=pulumi.ResourceOptions(ignore_changes=['metadata["ssh-keys"]'])
    ),
    "secret metadata": node(metadata={"k": pulumi.Output.secret("v")})
    if os.environ.get(SCENARIO_VARIABLE)
    else nothing,
    "import": node(opts=pulumi.ResourceOptions(import_="us-east5-b/n")),
    "abandon": node(deletion_policy="ABANDON"),
    "prevent": node(deletion_policy="PREVENT"),
}
"""What the recording does not have, and the stand-in must still do."""


def run() -> None:
    """Run the program of the scenario that the environment names."""
    everything = {name: program for chain in CHAINS.values() for name, program in chain.items()}
    {**everything, **MORE}[os.environ[SCENARIO_VARIABLE]]()
