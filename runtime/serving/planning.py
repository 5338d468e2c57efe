"""What will be served where: decided before the slice is touched, and held against what the slice really is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.cloud.slice import LiveSlice
from runtime.jobs.bootstrap import Environment, locked_environment
from runtime.models.resolve import ResolvedModel, resolve
from runtime.planner import LaunchPlan, plan_server, slice_shape
from runtime.progress import Progress
from stack.config import ServeConfig, StackConfig
from stack.errors import NotVerified

MODULES = ("sgl_jax", "jaxlib")
"""Imported at every check of the environment: the engine is found, and jaxlib's native part loads."""


@dataclass(frozen=True)
class Intent:
    """A model and how to serve it, checked against the type of slice that the stack declares."""

    config: StackConfig
    serve: ServeConfig
    model: ResolvedModel
    environment: Environment


def intend(config: StackConfig, cache: Path, *, model: str | None = None) -> Intent:
    """Check everything that can be checked without a slice; make a tiny model, read a folder.

    Args:
        model: instead of the stack's own.

    Raises:
        BadInput, BadInputs: the type, the model or the flags cannot be served.
    """
    serve = config.serve.model_copy(update={"model": model}) if model else config.serve
    resolved = resolve(serve.model, cache)
    plan_server(slice_shape(config.accelerator_type), resolved.config, serve, runtime_version=None)
    environment = locked_environment(serve.environment, wheelhouse=serve.wheelhouse, modules=MODULES)
    return Intent(config, serve, resolved, environment)


def plan_for(intent: Intent, slice_: LiveSlice, progress: Progress) -> LaunchPlan:
    """The launch on the slice as it is: its endpoints decide how many workers there are.

    Raises:
        NotVerified: the slice is not what the stack declares; both numbers are named.
    """
    declared = slice_shape(intent.config.accelerator_type)
    listed = len(slice_.workers)
    # A slice asked for by type and topology lists no type of its own.
    if slice_.accelerator_type and slice_.accelerator_type != declared.accelerator_type:
        why = f"is a {slice_.accelerator_type}, the stack declares {declared.accelerator_type}"
        cure = f"Make it so: invoke up --stack {intent.config.stack}"
        raise NotVerified(why, key="slice", value=slice_.node_id, cure=cure)
    if listed != declared.workers and not declared.assumption:
        why = f"lists {listed} workers, a {declared.accelerator_type} has {declared.workers}"
        cure = f"Look at it, or make it anew: invoke down, invoke up --stack {intent.config.stack}"
        raise NotVerified(why, key="slice", value=slice_.node_id, cure=cure)
    shape = slice_shape(intent.config.accelerator_type, workers=listed)
    plan = plan_server(shape, intent.model.config, intent.serve, runtime_version=slice_.runtime_version)
    progress.step(
        f"plan: {plan.model} on {plan.chips} chips, tp {plan.tensor_parallel}, dp {plan.data_parallel}, "
        f"{plan.worker_count} workers, runtime_version={plan.runtime_version}"
    )
    for note in plan.notes:
        progress.step(f"note: {note}")
    return plan
