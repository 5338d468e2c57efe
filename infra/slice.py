"""The slice: one node of the Cloud TPU API, with what its workers need at boot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
from pulumi_gcp import tpu

from stack.config import NetworkConfig, StackConfig
from stack.names import stack_labels

STARTUP_SCRIPT = Path(__file__).with_name("startup.sh")

OPEN_FILES_KEY = "tpu-stack-open-files"
HUGE_PAGES_KEY = "tpu-stack-huge-pages"
METADATA_KEYS = ("startup-script", OPEN_FILES_KEY, HUGE_PAGES_KEY)
"""The metadata keys that are this program's. Every other one, ``ssh-keys`` above all, is somebody else's."""

OTHERS_METADATA = ('metadata["ssh-keys"]',)
"""What gcloud and our own runtime write after the create; owning it would lock both out again."""

OPEN_FILES = 1048576
"""Enough for data loaders and checkpoints over thousands of shards; the images' own limit is 1024 a process."""


@dataclass(frozen=True)
class SliceArgs:
    """What a slice is made from.

    Attributes:
        labels: all of them, the stack's own included.
        metadata: attributes for the workers; no secret belongs here, every process on a worker can read it.
    """

    name: str
    project: str
    zone: str
    accelerator_type: str
    runtime_version: str
    labels: Mapping[str, str]
    metadata: Mapping[str, str]
    spot: bool = False
    reserved: bool = False
    network: NetworkConfig = field(default_factory=NetworkConfig)

    @classmethod
    def from_config(cls, config: StackConfig, *, runtime_version: str) -> SliceArgs:
        """The slice that the stack's file asks for."""
        metadata = {"startup-script": STARTUP_SCRIPT.read_text(encoding="utf-8"), OPEN_FILES_KEY: str(OPEN_FILES)}
        if config.serve.device == "tpu":
            # A setting of the kernel, which workers of the embedded cloud share with this machine.
            metadata[HUGE_PAGES_KEY] = "always"
        return cls(
            name=config.name,
            project=config.project,
            zone=config.zone,
            accelerator_type=config.accelerator_type,
            runtime_version=runtime_version,
            labels=stack_labels(config.stack, config.labels),
            metadata=metadata,
            spot=config.spot,
            reserved=config.reserved,
            network=config.network,
        )


class Slice(pulumi.ComponentResource):
    """One TPU slice, labelled with its stack, and the summary of it for people and other stacks.

    It does not wait for the workers to take a login, place ssh keys, install or start anything: that is the
    runtime's, which asks the API for what is there. Nor does it make networks, firewall rules, service
    accounts or queued resources. A change of the type, the runtime version, the network or the kind of
    capacity replaces the slice: the old one goes first, because both would have the same name.
    """

    node: tpu.V2Vm
    summary: pulumi.Output[dict[str, Any]]

    def __init__(self, name: str, args: SliceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tpu-stack:infra:Slice", name, None, opts)
        self.node = tpu.V2Vm(
            name,
            name=args.name,
            project=args.project,
            zone=args.zone,
            accelerator_type=args.accelerator_type,
            runtime_version=args.runtime_version,
            labels=dict(args.labels),
            metadata=dict(args.metadata),
            network_config=_network(args.network),
            scheduling_config=_scheduling(args),
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=list(OTHERS_METADATA)),
        )
        self.summary = _summary(self.node, args)
        self.register_outputs({"slice": self.summary})


def _network(network: NetworkConfig) -> tpu.V2VmNetworkConfigArgs | None:
    """The network block, or none at all: one that only says false shows a replacement for ever."""
    if network == NetworkConfig():
        return None
    return tpu.V2VmNetworkConfigArgs(
        network=network.network,
        subnetwork=network.subnetwork,
        enable_external_ips=network.external_ips or None,
    )


def _scheduling(args: SliceArgs) -> tpu.V2VmSchedulingConfigArgs | None:
    """The scheduling block, or none at all, for the same reason."""
    if not (args.spot or args.reserved):
        return None
    return tpu.V2VmSchedulingConfigArgs(spot=args.spot or None, reserved=args.reserved or None)


def _summary(node: tpu.V2Vm, args: SliceArgs) -> pulumi.Output[dict[str, Any]]:
    known = {"project": args.project, "zone": args.zone, "labels": dict(args.labels)}
    read = pulumi.Output.all(
        id=node.id,
        name=node.name,
        accelerator_type=node.accelerator_type,
        runtime_version=node.runtime_version,
        workers=node.network_endpoints.apply(_count),
        state=node.state,
    )
    return read.apply(lambda values: {**known, **values})


def _count(endpoints: Sequence[Any] | None) -> int:
    return len(endpoints or ())
