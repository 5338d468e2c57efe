"""The fields of a V2Vm: Pulumi's name, the API's name, and how the official provider treats each.

One table, from which checking, planning, diffing and the bodies of requests follow (sources: pulumi-gcp
9.35.0's ``tpu/v2_vm.py``; terraform-provider-google-beta 7.45's ``resource_tpu_v2_vm.go`` for what is
computed, what replaces and what is sent although it is false).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    TEXT = "a string"
    WHOLE = "a whole number"
    FLAG = "true or false"
    MAP = "a map of strings"
    TEXTS = "a list of strings"
    BLOCK = "an object"
    BLOCKS = "a list of objects"


@dataclass(frozen=True)
class Field:
    """One property.

    Attributes:
        name: Pulumi's, as programs and state have it.
        wire: the API's.
        replaces: a change makes a new node; else it is updated in place.
        computed: left out of the program, it keeps what the API says.
        required: a program must give it.
        default: filled in by the check.
        always_sent: goes into a body although it is false.
        choices: the values it may have; any if empty.
        unremovable: items of a list that the API adds by itself; they count for nothing.
        fields: what a block consists of.
    """

    name: str
    wire: str
    kind: Kind
    replaces: bool = False
    computed: bool = False
    required: bool = False
    default: str | None = None
    always_sent: bool = False
    choices: tuple[str, ...] = ()
    unremovable: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()


def _text(name: str, wire: str = "", *, computed: bool = False, required: bool = False) -> Field:
    return Field(name, wire or name, Kind.TEXT, replaces=True, computed=computed, required=required)


def _flag(name: str, *, always_sent: bool = True) -> Field:
    return Field(name, name, Kind.FLAG, replaces=True, always_sent=always_sent)


PUBSUB_SCOPE = "https://www.googleapis.com/auth/pubsub"

NETWORK = (
    _text("network", computed=True),
    _text("subnetwork", computed=True),
    _flag("enableExternalIps"),
    _flag("canIpForward"),
    Field("queueCount", "queueCount", Kind.WHOLE, replaces=True),
)

INPUTS: tuple[Field, ...] = (
    _text("name", required=True),
    _text("runtimeVersion", required=True),
    _text("acceleratorType", computed=True),
    Field("description", "description", Kind.TEXT),
    _text("cidrBlock", computed=True),
    Field("networkConfig", "networkConfig", Kind.BLOCK, replaces=True, computed=True, fields=NETWORK),
    Field("networkConfigs", "networkConfigs", Kind.BLOCKS, replaces=True, fields=NETWORK),
    Field(
        "serviceAccount",
        "serviceAccount",
        Kind.BLOCK,
        replaces=True,
        computed=True,
        fields=(
            _text("email", computed=True),
            Field("scopes", "scope", Kind.TEXTS, replaces=True, computed=True, unremovable=(PUBSUB_SCOPE,)),
        ),
    ),
    Field(
        "schedulingConfig",
        "schedulingConfig",
        Kind.BLOCK,
        replaces=True,
        fields=(_flag("preemptible"), _flag("reserved"), _flag("spot", always_sent=False)),
    ),
    Field(
        "dataDisks",
        "dataDisks",
        Kind.BLOCKS,
        fields=(
            Field("sourceDisk", "sourceDisk", Kind.TEXT, required=True),
            Field("mode", "mode", Kind.TEXT, default="READ_WRITE", choices=("READ_WRITE", "READ_ONLY")),
        ),
    ),
    Field(
        "shieldedInstanceConfig",
        "shieldedInstanceConfig",
        Kind.BLOCK,
        replaces=True,
        fields=(
            Field("enableSecureBoot", "enableSecureBoot", Kind.FLAG, replaces=True, required=True, always_sent=True),
        ),
    ),
    Field(
        "acceleratorConfig",
        "acceleratorConfig",
        Kind.BLOCK,
        replaces=True,
        computed=True,
        fields=(_text("type", required=True), _text("topology", required=True)),
    ),
    Field("metadata", "metadata", Kind.MAP),
    Field("tags", "tags", Kind.TEXTS),
    Field("labels", "", Kind.MAP),
    _text("zone", computed=True),
    _text("project", computed=True),
    Field("deletionPolicy", "", Kind.TEXT, default="DELETE", choices=("DELETE", "PREVENT", "ABANDON")),
)
"""In the order of the official provider's requests. ``labels`` is sent as the effective ones."""

INPUT = {field.name: field for field in INPUTS}

LABEL_FIELDS = (Field("pulumiLabels", "", Kind.MAP), Field("effectiveLabels", "labels", Kind.MAP))
"""Computed by the plan: the stack's labels with the provider's, and those with what others put on the node."""

SENT = (*(field for field in INPUTS if field.wire and field.name not in ("zone", "project")), LABEL_FIELDS[1])
"""What goes into the body of a create."""

UPDATABLE = (INPUT["description"], INPUT["dataDisks"], INPUT["metadata"], INPUT["tags"], LABEL_FIELDS[1])
"""What an update may name in its mask, in the official provider's order; its body holds all of them."""

CONFLICTS = (("acceleratorType", "acceleratorConfig"), ("networkConfig", "networkConfigs"))

READ_ONLY = (
    "apiVersion",
    "effectiveLabels",
    "health",
    "healthDescription",
    "multisliceNode",
    "networkEndpoints",
    "pulumiLabels",
    "queuedResource",
    "state",
    "symptoms",
)
"""What only the API says: unknown while a create is previewed."""
