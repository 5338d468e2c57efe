"""What a client may send about a node, checked as Google's JSON front end checks it.

Field names in camelCase or as in the proto, enumerations as names or numbers, null as absent (source: the
proto3 JSON mapping). Output-only fields are taken and ignored; unknown ones are refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from localcloud.errors import ApiError, bad_field, invalid

ACCELERATOR_ENUM = {2: "V2", 4: "V3", 7: "V4", 9: "V5LITE_POD", 10: "V5P", 11: "V6E"}
"""AcceleratorConfig.Type's numbers (source: google-cloud-tpu 1.28); clients over REST may send numbers."""

DISK_MODE_ENUM = {1: "READ_WRITE", 2: "READ_ONLY"}

NODE_ID = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
LABEL_KEY = re.compile(r"^[^\W\d_][\w-]{0,62}$")
LABEL_VALUE = re.compile(r"^[\w-]{0,63}$")
METADATA_KEY = re.compile(r"^[A-Za-z0-9_-]{1,128}$")


def _named(numbers: dict[int, str]) -> BeforeValidator:
    def name_of(value: object) -> object:
        return numbers.get(value, value) if isinstance(value, int) else value

    return BeforeValidator(name_of)


class Message(BaseModel):
    """A proto message as JSON."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, populate_by_name=True, frozen=True, coerce_numbers_to_str=False
    )


class NetworkConfig(Message):
    network: str = ""
    subnetwork: str = ""
    enable_external_ips: bool = False
    can_ip_forward: bool = False
    queue_count: int = 0


class SchedulingConfig(Message):
    """``provisioningModel`` and ``reservationName`` are v2alpha1's."""

    preemptible: bool = False
    reserved: bool = False
    spot: bool = False
    provisioning_model: Literal["", "STANDARD", "SPOT", "RESERVATION_BOUND"] = ""
    reservation_name: str = ""


class ShieldedInstanceConfig(Message):
    enable_secure_boot: bool = False


class ServiceAccount(Message):
    email: str = ""
    scope: list[str] = Field(default_factory=list)


class AcceleratorConfig(Message):
    type: Annotated[Literal["V2", "V3", "V4", "V5LITE_POD", "V5P", "V6E"], _named(ACCELERATOR_ENUM)]
    topology: str


class AttachedDisk(Message):
    source_disk: str
    mode: Annotated[Literal["READ_WRITE", "READ_ONLY"], _named(DISK_MODE_ENUM)] = "READ_WRITE"
    worker_ids: list[str] = Field(default_factory=list)


class Node(Message):
    """A node as a client sends it. What the server alone decides has type ``Any`` and is ignored."""

    description: str = Field(default="", max_length=512)
    accelerator_type: str = ""
    accelerator_config: AcceleratorConfig | None = None
    runtime_version: str = ""
    network_config: NetworkConfig | None = None
    network_configs: list[NetworkConfig] = Field(default_factory=list)
    cidr_block: str = ""
    service_account: ServiceAccount | None = None
    scheduling_config: SchedulingConfig | None = None
    shielded_instance_config: ShieldedInstanceConfig | None = None
    data_disks: list[AttachedDisk] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    name: Any = None
    id: Any = None
    state: Any = None
    health: Any = None
    health_description: Any = None
    create_time: Any = None
    network_endpoints: Any = None
    api_version: Any = None
    symptoms: Any = None
    queued_resource: Any = None
    multislice_node: Any = None
    upcoming_maintenance: Any = None
    boot_disk_config: Any = None
    autocheckpoint_enabled: Any = None


class GuestAttributesRequest(Message):
    query_path: str = ""
    worker_ids: list[str] = Field(default_factory=list)


def parse[M: Message](model: type[M], body: object, *, field: str) -> M:
    """``body`` as a ``model``.

    Raises:
        ApiError: INVALID_ARGUMENT, naming the first field that is wrong.
    """
    if not isinstance(body, dict):
        raise bad_field(field, f"Invalid JSON payload received. Expected an object at '{field}'.")
    try:
        return model.model_validate(_without_nulls(body))
    except ValidationError as error:
        raise _from_pydantic(error.errors()[0], field) from None


def check_node_values(node: Node) -> None:
    """Refuse what parses but is no good.

    Raises:
        ApiError: INVALID_ARGUMENT, naming field and value.
    """
    for key, value in node.labels.items():
        if not LABEL_KEY.match(key) or key != key.lower():
            raise invalid(f"Invalid label key '{key}': lower case letters, digits, _ and -, at most 63, a letter first")
        if not LABEL_VALUE.match(value) or value != value.lower():
            raise invalid(f"Invalid value '{value}' of label '{key}': lower case letters, digits, _ and -, at most 63")
    for key in node.metadata:
        if not METADATA_KEY.match(key):
            raise invalid(f"Invalid metadata key '{key}': letters, digits, _ and -, at most 128")
    for tag in node.tags:
        if not NODE_ID.match(tag):
            raise invalid(f"Invalid tag '{tag}': lower case letters, digits and -, at most 63, a letter first")
    if node.network_config and node.network_configs:
        raise invalid("network_config and network_configs are mutually exclusive")
    scheduling = node.scheduling_config
    if scheduling and scheduling.reserved and (scheduling.preemptible or scheduling.spot):
        raise invalid("scheduling_config: reserved excludes preemptible and spot")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _from_pydantic(item: Any, field: str) -> ApiError:
    path = [str(part) for part in item["loc"]]
    parent = ".".join([field, *path[:-1]] if path else [field])
    if item["type"] == "extra_forbidden":
        return bad_field(
            parent, f"Invalid JSON payload received. Unknown name \"{path[-1]}\" at '{parent}': Cannot find field."
        )
    where = ".".join([field, *path])
    if item["type"] == "missing":
        return bad_field(where, f"Required field '{where}' is missing.")
    return bad_field(where, f"Invalid value at '{where}': {item['msg']}, got {item['input']!r}.")
