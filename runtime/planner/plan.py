"""plan_server: a slice, a model and a server's config -> what each worker runs. Pure."""

from __future__ import annotations

from dataclasses import replace

from runtime.models.config import ModelConfig
from runtime.models.count import count_parameters
from runtime.models.resolve import is_path
from runtime.models.tiny import PREFIX
from runtime.planner.command import Devices, check_environment, worker_argv, worker_environment
from runtime.planner.flags import DTYPES, check_flags
from runtime.planner.memory import DEFAULT_FRACTION, Memory, judge_memory
from runtime.planner.parallelism import Parallelism, choose_parallelism
from runtime.planner.types import PLACEHOLDERS, LaunchPlan, SliceShape, WorkerLaunch
from stack.config import ServeConfig
from stack.errors import BadInput


def plan_server(
    shape: SliceShape, model: ModelConfig, serve: ServeConfig, *, runtime_version: str | None = None
) -> LaunchPlan:
    """What ``deploy`` launches on a slice of ``shape``; nothing is touched.

    Raises:
        BadInput, BadInputs: the engine would not serve this model on this slice, or the config says what
            only the plan may say.
    """
    check_flags(serve.flags, version=serve.version)
    check_environment(serve)
    devices = _devices(shape, serve)
    parallelism = choose_parallelism(shape, model, version=serve.version, devices=devices.total)
    memory = _memory(shape, model, serve, parallelism)
    folder = serve.model.startswith(PREFIX) or is_path(serve.model)
    launch = tuple(
        WorkerLaunch(
            index,
            worker_argv(index, shape, serve, parallelism, devices),
            worker_environment(serve, devices, folder=folder),
        )
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


def _devices(shape: SliceShape, serve: ServeConfig) -> Devices:
    real = shape.chips_per_worker * shape.devices_per_chip
    if serve.devices_per_worker is not None and serve.device == "tpu":
        why = "virtual devices are for device cpu; a TPU worker has its chips"
        raise BadInput(why, key="tpu-stack:serve.devicesPerWorker", value=serve.devices_per_worker, cure="Remove it")
    per_worker = serve.devices_per_worker or real
    return Devices(per_worker, per_worker * shape.workers)


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
