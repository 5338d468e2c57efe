"""Which stack a command works on, and the cloud it lives in.

The only place that knows of ``cloud: local``: it starts the embedded cloud or finds it running, and sets the
environment with which everything else reaches it as it would reach Google.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.config import StackConfig, load_stack_config
from stack.errors import BadInput, CloudFailed

if TYPE_CHECKING:
    from localcloud.control import CloudInfo

ROOT = Path(__file__).resolve().parent.parent
STATE_VARIABLE = "LOCALCLOUD_STATE"


@dataclass(frozen=True)
class Target:
    """A stack as a command sees it.

    ``environment`` is what its cloud needs beyond the caller's own; it is also set in this process.
    """

    config: StackConfig
    root: Path
    environment: dict[str, str]
    notes: tuple[str, ...] = ()


def cloud_state() -> Path:
    """The state folder of the embedded cloud: ``$LOCALCLOUD_STATE``, else ``.localcloud`` of this clone."""
    return Path(os.environ.get(STATE_VARIABLE) or ROOT / ".localcloud").absolute()


def open_stack(stack: str, *, start_cloud: bool = False) -> Target:
    """The target for ``stack``; a local one's cloud runs afterwards.

    Args:
        start_cloud: start the embedded cloud where it is not running; without it, that is an error.

    Raises:
        BadInput: the stack's file is wrong, or a prerequisite is missing.
        CloudFailed: the embedded cloud is not running.
    """
    config = load_stack_config(ROOT, stack)
    if config.cloud != "local":
        return Target(config, ROOT, {})
    info = start_local_cloud() if start_cloud else running_local_cloud()
    environment, notes = local_environment(info)
    os.environ.update(environment)
    return Target(config, ROOT, environment, notes)


def start_local_cloud() -> CloudInfo:
    """Start the embedded cloud, or find it running."""
    from localcloud import control
    from toolchain import paths

    tools = paths.load(ROOT)
    return control.start(cloud_state(), wheelhouse=tools.wheelhouse, python_prefix=tools.python312)


def running_local_cloud() -> CloudInfo:
    """The embedded cloud, which must be running."""
    from localcloud import control

    info = control.status(cloud_state())
    if info is None:
        raise CloudFailed(
            "the embedded cloud is not running", key="local", value=str(cloud_state()), cure="Run: invoke cloud.start"
        )
    return info


def local_environment(info: CloudInfo) -> tuple[dict[str, str], tuple[str, ...]]:
    """What makes pulumi, gcloud and the client libraries talk to the cloud, and what to say of it."""
    from commands.engine import pulumi_environment
    from localcloud import control

    pulumi = pulumi_environment(info.state, info.url)
    ours = {STATE_VARIABLE: str(info.state), **_past_the_proxy()}
    return {**ours, **control.environment(info), **pulumi.variables}, pulumi.notes


def _past_the_proxy() -> dict[str, str]:
    """``NO_PROXY`` with loopback in it: a proxy of the user's would not find the embedded cloud."""
    known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    hosts = [host for host in known.split(",") if host]
    value = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return {"NO_PROXY": value, "no_proxy": value}


def require_local(stack: str) -> StackConfig:
    """The config of a stack that lives in the embedded cloud."""
    config = load_stack_config(ROOT, stack)
    if config.cloud != "local":
        raise BadInput("lives on Google Cloud, not in the embedded cloud", key="--stack", value=stack, cure="Use local")
    return config
