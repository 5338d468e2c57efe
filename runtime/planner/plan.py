"""plan_server: a slice, a model and a server's config -> what each worker runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.models.config import ModelConfig
from runtime.models.count import count_parameters
from runtime.models.resolve import is_path
from runtime.models.tiny import PREFIX
from runtime.planner.flags import DTYPES, check_flags, flag_arguments
from runtime.planner.memory import DEFAULT_FRACTION, Memory, judge_memory
from runtime.planner.parallelism import Parallelism, choose_parallelism
from runtime.planner.types import PLACEHOLDERS, LaunchPlan, SliceShape, WorkerLaunch
from stack.config import ServeConfig
from stack.errors import BadInput

OWNED_ENVIRONMENT = ("JAX_PLATFORMS", "PYTHONPATH", "TPU_STACK_ATTEMPT_DIR")
COMPILATION_CACHE = "{home}/cache/jax"
"""Outside the attempt's folder, so that the next attempt need not compile again: minutes on a TPU.

Not on CPU: only rank 0 writes it, so a second start finds rank 0 waiting in a collective while the others
compile, and gloo gives up after 30 s (seen on a busy machine).
"""

CPU_PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
"""XLA ends a process whose virtual devices have not met after 40 s; on two busy cores that is too soon."""


@dataclass(frozen=True)
class _Devices:
    per_worker: int
    total: int


def plan_server(
    shape: SliceShape, model: ModelConfig, serve: ServeConfig, *, runtime_version: str | None = None
) -> LaunchPlan:
    """What ``deploy`` launches on a slice of ``shape``; nothing is touched.

    Raises:
        BadInput, BadInputs: the engine would not serve this model on this slice, or the config says what
            only the plan may say.
    """
    check_flags(serve.flags, version=serve.version)
    _check_environment(serve)
    devices = _devices(shape, serve)
    parallelism = choose_parallelism(shape, model, version=serve.version, devices=devices.total)
    memory = _memory(shape, model, serve, parallelism)
    folder = serve.model.startswith(PREFIX) or is_path(serve.model)
    launch = tuple(
        WorkerLaunch(index, _argv(index, shape, serve, parallelism, devices), _environment(serve, devices, folder))
        for index in range(shape.workers)
    )
    return LaunchPlan(
        engine=serve.engine,
        engine_version=serve.version,
        model=serve.model,
        model_is_folder=folder,
        accelerator_type=shape.accelerator_type,
        topology=shape.topology,
        runtime_version=runtime_version,
        parameters=count_parameters(model).total,
        chips=shape.chips,
        worker_count=shape.workers,
        chips_per_worker=shape.chips_per_worker,
        tensor_parallel=parallelism.tensor,
        data_parallel=parallelism.data,
        effective_replicas=parallelism.effective_replicas,
        attention_heads=model.attention_heads,
        kv_heads=model.kv_heads,
        fits=memory.fits,
        weights_gib_per_chip=memory.weights_gib_per_chip,
        kv_tokens=memory.kv_tokens,
        hbm_gib_per_chip=shape.hbm_gib_per_chip,
        platform=serve.device,
        process_count=shape.workers,
        device_count=devices.total,
        local_device_count=devices.per_worker,
        port=serve.port,
        dist_port=serve.dist_port,
        launch=launch,
        notes=_notes(shape, model, serve, parallelism, memory),
    )


def bind(plan: LaunchPlan, *, worker0: str, model_path: str, python: str, attempt: str, home: str) -> LaunchPlan:
    """The plan with every placeholder filled in: nothing of it is left to the workers' shells.

    Args:
        worker0: address of worker 0 that the other workers reach.
        model_path: folder on the workers, or the Hub id.
        python: interpreter of the engine's environment on the workers.
        attempt: the attempt's folder on the workers, absolute.
        home: ``~/.tpu-stack`` on the workers, absolute.
    """
    values = dict(zip(PLACEHOLDERS, (worker0, model_path, python, attempt, home), strict=True))

    def fill(text: str) -> str:
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        return text

    launch = tuple(
        WorkerLaunch(
            worker.index,
            tuple(fill(argument) for argument in worker.argv),
            {name: fill(value) for name, value in worker.env.items()},
        )
        for worker in plan.launch
    )
    return replace(plan, launch=launch)


def _devices(shape: SliceShape, serve: ServeConfig) -> _Devices:
    real = shape.chips_per_worker * shape.devices_per_chip
    if serve.devices_per_worker is not None and serve.device == "tpu":
        why = "virtual devices are for device cpu; a TPU worker has its chips"
        raise BadInput(why, key="tpu-stack:serve.devicesPerWorker", value=serve.devices_per_worker, cure="Remove it")
    per_worker = serve.devices_per_worker or real
    return _Devices(per_worker, per_worker * shape.workers)


def _check_environment(serve: ServeConfig) -> None:
    for name in OWNED_ENVIRONMENT:
        if name in serve.env:
            raise BadInput(
                "is set by the plan", key=f"tpu-stack:serve.env.{name}", value=serve.env[name], cure="Remove it"
            )


def _memory(shape: SliceShape, model: ModelConfig, serve: ServeConfig, parallelism: Parallelism) -> Memory:
    flags = serve.flags
    return judge_memory(
        shape,
        model,
        parallelism,
        version=serve.version,
        dtype=DTYPES[str(flags.get("dtype", "auto"))],
        fraction=float(flags.get("mem-fraction-static", DEFAULT_FRACTION)),
        max_total_tokens=_tokens(serve, "max-total-tokens"),
        context_length=_tokens(serve, "context-length"),
        page_size=_tokens(serve, "page-size") or 1,
    )


def _tokens(serve: ServeConfig, flag: str) -> int | None:
    value = serve.flags.get(flag)
    return None if value is None else int(value)


def _argv(
    index: int, shape: SliceShape, serve: ServeConfig, parallelism: Parallelism, devices: _Devices
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
        argv += ["--served-model-name", serve.model]
    if "download-dir" not in serve.flags:
        argv += ["--download-dir", "{home}/cache/huggingface"]
    argv += ["--host", "0.0.0.0", "--port", str(serve.port)]  # noqa: S104  # its own worker's probes and the VPC
    return (*argv, *flag_arguments(serve.flags))


def _environment(serve: ServeConfig, devices: _Devices, folder: bool) -> dict[str, str]:
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


def _notes(
    shape: SliceShape, model: ModelConfig, serve: ServeConfig, parallelism: Parallelism, memory: Memory
) -> tuple[str, ...]:
    notes = []
    if parallelism.data > parallelism.effective_replicas:
        notes.append(
            f"tp {parallelism.tensor} x dp {parallelism.data}, 1 effective replica: sglang-jax {serve.version} repeats "
            "the same work on its data axis; version head would serve "
            f"{parallelism.data} replicas, or a slice of {parallelism.tensor} chips do the same for less"
        )
    if not memory.fits:
        notes.append(
            f"does not fit: the cache holds {memory.kv_tokens} tokens, one request may need {memory.context}; "
            "use more chips a replica, or a shorter context-length"
        )
    if shape.assumption:
        notes.append(f"assumed for {shape.accelerator_type}: {shape.assumption}")
    if "(the Hub was not reached)" in model.source:
        notes.append(f"shapes: {model.source}")
    if serve.version == "head":
        notes.append("flags of version head are from its authors' notes: not run by tpu-stack")
    return tuple(notes)
