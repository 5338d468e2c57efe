"""Which tensor and data parallelism an engine version will really run, by the engine's own rules.

Source: the code of sglang-jax 0.0.2 (server_args, scheduler, model_config, weight_utils, memory_pool)
and of its head; the 0.0.2 rules were tried on CPU (tests/engines).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.models.config import ModelConfig
from runtime.planner.types import SliceShape
from stack.errors import BadInput


@dataclass(frozen=True)
class Parallelism:
    """How the devices of a slice are used.

    Attributes:
        tensor: devices that share one replica's attention.
        data: replicas of it over the slice.
        effective_replicas: how many of them do work of their own.
    """

    tensor: int
    data: int
    effective_replicas: int


def choose_parallelism(shape: SliceShape, model: ModelConfig, *, version: str, devices: int) -> Parallelism:
    """The largest power of two that the heads, the KV heads, the MLP and the devices all agree with.

    Args:
        devices: JAX devices over the whole slice.

    Raises:
        BadInput: no such number serves this model on this slice; the error has the numbers and a cure.
    """
    if model.head_dim % 128:
        # memory_pool asserts it; on CPU a server with 64 answers /health and dies at its first token (seen).
        why = f"sglang-jax {version} needs a head_dim that is a multiple of 128"
        cure = "Serve a model with 128 (Qwen2.5-7B and up, any Qwen3)"
        raise BadInput(why, key="head_dim", value=model.head_dim, cure=cure)
    reasons = {size: _refusal(size, shape, model, version, devices) for size in _powers_of_two(devices)}
    fitting = [size for size, reason in reasons.items() if reason is None]
    if not fitting:
        raise _nothing_fits(shape, model, version, reasons)
    tensor = max(fitting)
    data = devices // tensor
    # 0.0.2 shards no dense model over its data axis: the replicas repeat each other's work.
    return Parallelism(tensor, data, effective_replicas=data if version == "head" else 1)


def _powers_of_two(limit: int) -> list[int]:
    return [1 << power for power in range(limit.bit_length()) if 1 << power <= limit]


def _refusal(size: int, shape: SliceShape, model: ModelConfig, version: str, devices: int) -> str | None:
    """Why the engine would not run with ``size`` devices a replica; None when it would."""
    heads, kv_heads = model.attention_heads, model.kv_heads
    if heads % size:
        return f"{heads} attention heads are not divisible by {size}"
    if kv_heads % size and size % kv_heads:
        return f"{kv_heads} KV heads neither divide {size} nor are divided by it"
    if model.intermediate_size % size:
        return f"an MLP of {model.intermediate_size} is not divisible by {size}"
    if devices % size:
        return f"{devices} devices are not divisible by {size}"
    if version == "head" and model.vocabulary % size:
        return f"a vocabulary of {model.vocabulary} is not divisible by {size}"
    if version == "0.0.2" and size % shape.workers:
        return f"tp-size {size} is not divisible by {shape.workers} workers"
    return None


def _nothing_fits(shape: SliceShape, model: ModelConfig, version: str, reasons: dict[int, str | None]) -> BadInput:
    # The smallest number that every worker could take part in is the one whose reason tells the user most.
    wanted = min((size for size in reasons if size >= shape.workers), default=max(reasons))
    alone = replace(shape, workers=1)
    devices = max(reasons)
    most = max(size for size in reasons if _refusal(size, alone, model, version, devices) is None)
    cure = f"Use a slice of at most {most} worker{'s' if most > 1 else ''}, another model, or engine version head"
    why = f"sglang-jax {version} cannot serve it on {shape.workers} workers: {reasons[wanted]}"
    return BadInput(why, key="attention_heads", value=model.attention_heads, cure=cure)
