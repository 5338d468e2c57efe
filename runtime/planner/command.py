"""One worker's command line and environment: what sglang-jax is given, by its version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from runtime.models.resolve import is_path
from runtime.planner.flags import flag_arguments
from runtime.planner.parallelism import Parallelism
from runtime.planner.types import SliceShape
from stack.config import ServeConfig
from stack.errors import BadInput

OWNED_ENVIRONMENT = ("JAX_PLATFORMS", "PYTHONPATH", "TPU_STACK_ATTEMPT_DIR")
COMPILATION_CACHE = "{home}/cache/jax"
"""Outside the attempt's folder, so that the next attempt need not compile again: minutes on a TPU.

Not on CPU: JAX lets only rank 0 write it, so at a second start rank 0 would wait in a collective while the
others compile, and gloo gives up when ranks come to one more than 30 s apart (seen when one rank waited for
another's compilation on a busy machine).
"""

CPU_PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
"""XLA's own default ends a process whose virtual devices have not met after 40 s: too soon on two busy cores."""


@dataclass(frozen=True)
class Devices:
    """JAX devices of one worker and of the whole slice."""

    per_worker: int
    total: int


def served_name(model: str) -> str:
    """What clients call the model: its Hub id, or the last part of its folder, which lies elsewhere on the workers."""
    return PurePath(model).name if is_path(model) else model


def check_environment(serve: ServeConfig) -> None:
    """Return when the user sets nothing that the plan sets.

    Raises:
        BadInput: a variable that only the plan may set.
    """
    for name in OWNED_ENVIRONMENT:
        if name in serve.env:
            raise BadInput(
                "is set by the plan", key=f"tpu-stack:serve.env.{name}", value=serve.env[name], cure="Remove it"
            )


def worker_argv(
    index: int, shape: SliceShape, serve: ServeConfig, parallelism: Parallelism, devices: Devices
) -> tuple[str, ...]:
    """One worker's command line, by engine version (sglang-jax's server_args)."""
    argv = ["{python}", "-m", "sgl_jax.launch_server", "--model-path", "{model}", "--device", serve.device]
    if serve.version == "head":
        # There tp-size is the total of devices, and attention's share of it is tp-size / dp-size.
        argv += ["--tp-size", str(devices.total), "--dp-size", str(parallelism.data)]
    else:
        # The mesh is (-1, tp, 1): the data axis fills itself, and any --dp-size but 1 starts no scheduler.
        argv += ["--tp-size", str(parallelism.tensor)]
    if shape.workers > 1:
        argv += ["--nnodes", str(shape.workers), "--node-rank", str(index)]
        argv += ["--dist-init-addr", f"{{worker0}}:{serve.dist_port}"]
        if serve.version == "0.0.2":
            argv += ["--jax-proc-id", str(index), "--jax-num-procs", str(shape.workers)]
    if "served-model-name" not in serve.flags and serve.version == "0.0.2":
        argv += ["--served-model-name", served_name(serve.model)]
    if "download-dir" not in serve.flags:
        argv += ["--download-dir", "{home}/cache/huggingface"]
    argv += ["--host", "0.0.0.0", "--port", str(serve.port)]  # noqa: S104  # its own worker's probes and the VPC
    return (*argv, *flag_arguments(serve.flags))


def worker_environment(serve: ServeConfig, devices: Devices, *, folder: bool) -> dict[str, str]:
    """The environment that the process gets over the login's own; the user's variables are in it."""
    environment = {
        "JAX_PLATFORMS": serve.device,
        "PYTHONPATH": "{attempt}/files/shim",
        "PYTHONUNBUFFERED": "1",
    }
    if folder:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if serve.device == "tpu":
        # libtpu's logs under /tmp/tpu_logs have filled a boot disk of 97 GB.
        environment |= {"TPU_LOG_DIR": "disabled", "JAX_COMPILATION_CACHE_DIR": COMPILATION_CACHE}
    environment |= serve.env
    if serve.device == "cpu":
        virtual = f"--xla_force_host_platform_device_count={devices.per_worker}"
        environment["XLA_FLAGS"] = f"{serve.env.get('XLA_FLAGS', '')} {CPU_PATIENCE} {virtual}".strip()
    return environment
