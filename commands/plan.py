"""``plan``: what would be launched where, and whether it fits. Touches nothing."""

from __future__ import annotations

import shlex
from typing import Any, get_args

from commands.console import EXIT_DONE, EXIT_FAILED, Outcome
from runtime.facts import choose_runtime
from runtime.models.resolve import describe
from runtime.planner import LaunchPlan, plan_server, slice_shape
from stack.config import FlagValue, ServeConfig
from stack.errors import BadInput, NotVerified

RECOMMENDED_FLAGS: dict[str, FlagValue] = {
    "trust-remote-code": True,
    "dtype": "bfloat16",
    "mem-fraction-static": 0.8,
    "chunked-prefill-size": 2048,
    "page-size": 128,
    "max-running-requests": 256,
    "skip-server-warmup": True,
}
"""What sglang-jax's authors recommend for v6e, and Pulumi.dev.yaml sets; a stack's own flags count for deploy."""


def plan(model: str, accelerator_type: str, workers: int | None, engine_version: str) -> Outcome:
    """The plan as a command's outcome: exit code 1 when it does not fit.

    Raises:
        BadInput, BadInputs: what was asked for cannot be served there.
    """
    result = make_plan(model, accelerator_type, workers=workers, engine_version=engine_version)
    if result.fits:
        return Outcome(result.as_dict(), table(result), EXIT_DONE)
    error = NotVerified(
        f"{result.model} does not fit: {result.kv_tokens} tokens of cache are left beside the weights",
        key="--accelerator-type",
        value=accelerator_type,
        cure="Use a larger slice, or a smaller model",
    )
    return Outcome(result.as_dict(), table(result), EXIT_FAILED, (error,))


def make_plan(
    model: str, accelerator_type: str, *, workers: int | None = None, engine_version: str = "0.0.2"
) -> LaunchPlan:
    """The plan of a server with the recommended flags.

    Raises:
        BadInput, BadInputs: an argument is wrong, or the engine would not serve this model there.
    """
    shape = slice_shape(accelerator_type, workers=workers, key="--accelerator-type")
    versions = get_args(ServeConfig.model_fields["version"].annotation)
    if engine_version not in versions:
        why, cure = "is not a version of sglang-jax that is planned for", f"Use one of {', '.join(versions)}"
        raise BadInput(why, key="--engine-version", value=engine_version, cure=cure)
    if not model:
        raise BadInput("is empty", key="--model", cure="Give a Hub id, a folder or a config.json")
    values: dict[str, Any] = {"model": model, "version": engine_version, "flags": RECOMMENDED_FLAGS}
    serve = ServeConfig.model_validate(values)
    return plan_server(shape, describe(model, key="--model"), serve, runtime_version=choose_runtime(shape.family))


def table(result: LaunchPlan) -> tuple[str, ...]:
    """The plan for people, a line a subject."""
    replicas = f"{result.effective_replicas} effective replica{'s' if result.effective_replicas > 1 else ''}"
    rows = [
        (
            "slice",
            f"{result.chips} chips as {result.topology}, {result.worker_count} x {result.chips_per_worker}, "
            f"runtime_version={result.runtime_version} (by family; confirmed with the zone at preview)",
        ),
        (
            "model",
            f"{result.parameters:,} parameters, {result.attention_heads} heads, {result.kv_heads} KV heads",
        ),
        ("parallelism", f"tp {result.tensor_parallel} x dp {result.data_parallel}, {replicas}"),
        (
            "memory",
            f"{result.weights_gib_per_chip:.2f} of {result.hbm_gib_per_chip} GiB a chip for weights, "
            f"{result.kv_tokens:,} tokens of cache",
        ),
        *((f"worker {launch.index}", shlex.join(launch.argv)) for launch in result.launch[:1]),
        *(("note", note) for note in result.notes),
    ]
    title = f"{result.engine} {result.engine_version}: {result.model} on {result.accelerator_type}"
    verdict = "fits" if result.fits else "DOES NOT FIT"
    return (title, *(f"  {name:<12} {text}" for name, text in rows), f"  {verdict}")
