"""StackConfig: every key of a stack's file, as one frozen model.

The Pulumi program and the runtime read the same file through this model, so that what is declared and
what is driven cannot drift apart. Nothing here does I/O beyond reading that file.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from stack.errors import BadInput, BadInputs
from stack.names import PROJECT, default_slice_name

ResourceName = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")]
"""A name the TPU API takes for a node: lower case, digits, hyphens, at most 63 (source: the API's 400 answer)."""

LabelValue = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{0,63}$")]
LoginName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
FlagName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]
FlagValue = bool | int | float | str
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Network = Annotated[str, StringConstraints(pattern=r"^projects/[^/]+/global/networks/[^/]+$")]
Subnetwork = Annotated[str, StringConstraints(pattern=r"^projects/[^/]+/regions/[^/]+/subnetworks/[^/]+$")]

STACK_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")


class Model(BaseModel):
    """Frozen, strict about unknown keys, written in camelCase in the file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False, protected_namespaces=()
    )


class NetworkConfig(Model):
    """Where the slice's workers live. Full paths only: a short name shows a replacement for ever."""

    network: Network | None = None
    subnetwork: Subnetwork | None = None
    external_ips: bool = False


class SshConfig(Model):
    """How the runtime reaches the workers.

    ``direct`` dials external addresses, ``internal`` the VPC's own, ``iap`` goes through gcloud's tunnel.
    """

    user: LoginName = "tpu"
    route: Literal["direct", "internal", "iap"] = "iap"


class ServeConfig(Model):
    """What ``deploy`` serves.

    ``model`` is a Hub id, a folder on the caller's machine (with a slash at its start or ``./``), or
    ``tiny:NAME``, a small random model made on the spot. ``devices_per_worker`` is the number of virtual
    CPU devices a worker; without it a worker's chips count. ``flags`` are the engine's own, without dashes.
    """

    engine: Literal["sglang-jax"] = "sglang-jax"
    version: Literal["0.0.2", "head"] = "0.0.2"
    model: str = Field(default="Qwen/Qwen2.5-7B-Instruct", min_length=1)
    device: Literal["tpu", "cpu"] = "tpu"
    devices_per_worker: int | None = Field(default=None, ge=1, le=64)
    environment: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$")] = "sglang-jax-0.0.2-tpu"
    wheelhouse: str | None = None
    port: int = Field(default=30000, ge=1024, le=65535)
    dist_port: int = Field(default=5000, ge=1024, le=65529)
    flags: dict[FlagName, FlagValue] = Field(default_factory=dict)
    env: dict[EnvironmentName, str] = Field(default_factory=dict)


class StackConfig(Model):
    """One stack, whole. ``project`` and ``zone`` are the file's ``gcp:`` keys, the others ``tpu-stack:`` ones."""

    stack: str
    project: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,29}$")]
    zone: Annotated[str, StringConstraints(pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z0-9]+$")]
    cloud: Literal["google", "local"] = "google"
    name: ResourceName
    accelerator_type: Annotated[str, StringConstraints(min_length=1)]
    runtime_version: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")] | None = None
    confirm_runtime: bool = True
    spot: bool = False
    reserved: bool = False
    network: NetworkConfig = NetworkConfig()
    ssh: SshConfig = SshConfig()
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict)
    serve: ServeConfig = ServeConfig()

    @model_validator(mode="after")
    def _capacity_is_one_kind(self) -> StackConfig:
        if self.spot and self.reserved:
            raise ValueError("spot and reserved exclude each other: keep one")
        if self.ssh.route == "direct" and not self.network.external_ips:
            raise ValueError("ssh.route direct needs network.externalIps: true; a private slice takes internal or iap")
        return self


GCP_KEYS = ("project", "zone")
PROVIDER_KEYS = ("region", "billingProject", "userProjectOverride", "impersonateServiceAccount", "requestTimeout")
"""Keys of the gcp provider that a stack's file may carry for it; nothing here reads them."""


def load_stack_config(root: Path, stack: str) -> StackConfig:
    """The config of ``stack`` from ``root/Pulumi.<stack>.yaml``.

    Raises:
        BadInput: no such stack, or the file is not a stack's file.
        BadInputs: the keys or values are wrong; every fault is in it.
    """
    if not STACK_NAME.match(stack):
        raise BadInput("not a stack's name", key="--stack", value=stack, cure="Use letters, digits, dots and hyphens")
    import yaml

    path = root / f"Pulumi.{stack}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        known = sorted(file.name.split(".")[1] for file in root.glob("Pulumi.*.yaml"))
        raise BadInput(
            f"there is no {path.name}", key="--stack", value=stack, cure=f"Write it, or use one of: {', '.join(known)}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise BadInput(f"not valid YAML: {why}", key="file", value=path.name, cure="Mend the line it names") from None
    values = document.get("config", {}) if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise BadInput("has no `config:` mapping", key="file", value=path.name, cure="See Pulumi.local.yaml")
    return parse_stack_config(stack, values)


def parse_stack_config(stack: str, values: dict[str, Any]) -> StackConfig:
    """The config from the ``config:`` mapping of a stack's file, keys still carrying their namespaces.

    Raises:
        BadInputs: every fault at once, each naming its key.
    """
    fields: dict[str, Any] = {"stack": stack, "name": default_slice_name(stack)}
    faults: list[BadInput] = []
    for key, value in values.items():
        namespace, _, name = str(key).partition(":")
        if not name:
            namespace, name = PROJECT, namespace
        if isinstance(value, dict) and set(value) == {"secure"}:
            faults.append(_fault(str(key), "secret", "no key of a stack is a secret", "Keep secrets in Secret Manager"))
        elif namespace == "gcp" and name in GCP_KEYS:
            fields[name] = value
        elif namespace == "gcp" and name in PROVIDER_KEYS:
            continue
        elif namespace == PROJECT and name not in ("stack", *GCP_KEYS):
            fields[name] = value
        else:
            faults.append(_unknown(str(key), f"gcp:{name}" if namespace == "gcp" else f"{PROJECT}:{name}"))
    try:
        config = StackConfig.model_validate(fields)
    except ValidationError as error:
        faults.extend(_from_pydantic(item) for item in error.errors())
    else:
        if not faults:
            return config
    raise BadInputs(tuple(faults)) if len(faults) > 1 else faults[0]


def _fault(key: str, value: object, why: str, cure: str) -> BadInput:
    return BadInput(why, key=key, value=value, cure=cure)


def _from_pydantic(item: Any) -> BadInput:
    path = [str(part) for part in item["loc"] if part != "[key]"]
    namespace = "gcp" if path and path[0] in GCP_KEYS else PROJECT
    key = f"{namespace}:{'.'.join(path)}" if path else f"{PROJECT}:*"
    if item["type"] == "extra_forbidden":
        return _unknown(key, key)
    if item["type"] == "missing":
        return _fault(key, None, "is missing", f"Set it: pulumi config set {key} VALUE")
    value = item["input"] if not isinstance(item["input"], dict) else None
    why = str(item["msg"]).removeprefix("Value error, ")
    return _fault(key, value, why[0].lower() + why[1:], "Mend it in the stack's file")


def _unknown(key: str, guess_from: str) -> BadInput:
    known = _known_keys()
    near = difflib.get_close_matches(guess_from, known, n=1, cutoff=0.5)
    cure = f"Did you mean {near[0]}?" if near else f"Known keys: {', '.join(known)}"
    return _fault(key, None, "is not a key of a stack", cure)


def _known_keys() -> list[str]:
    keys = [f"gcp:{key}" for key in GCP_KEYS]
    for name, field in StackConfig.model_fields.items():
        if name in ("stack", *GCP_KEYS):
            continue
        keys.append(f"{PROJECT}:{field.alias}")
        annotation = next((arg for arg in (field.annotation, *get_args(field.annotation)) if _is_model(arg)), None)
        if annotation is not None:
            keys.extend(f"{PROJECT}:{field.alias}.{inner.alias}" for inner in annotation.model_fields.values())
    return keys


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Model)
