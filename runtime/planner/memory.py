"""Whether the weights and a cache fit: the engine's own arithmetic, on the HBM that XLA leaves.

Source: sglang-jax 0.0.2 ``ModelRunner.profile_max_num_token`` and the weight mappings of its Qwen models
(embeddings and output head whole on every chip; head shards them too). Not observed on a TPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.models.config import BYTES, ModelConfig
from runtime.models.count import count_parameters
from runtime.planner.parallelism import Parallelism
from runtime.planner.types import SliceShape

GIB = 1024**3
DEFAULT_FRACTION = 0.88
"""``--mem-fraction-static`` of the engine where the flag is not given (device tpu)."""


@dataclass(frozen=True)
class Memory:
    """What one chip holds, and what is left.

    Attributes:
        kv_tokens: tokens of cache over the whole slice, copies not counted twice.
        context: tokens that one request may need.
        fits: a request of full context finds room.
    """

    weights_gib_per_chip: float
    kv_bytes_per_token_per_chip: int
    kv_tokens: int
    context: int
    fits: bool


def judge_memory(
    shape: SliceShape,
    model: ModelConfig,
    parallelism: Parallelism,
    *,
    version: str,
    dtype: str = "auto",
    fraction: float = DEFAULT_FRACTION,
    max_total_tokens: int | None = None,
    context_length: int | None = None,
    page_size: int = 1,
) -> Memory:
    """The memory of a plan. Pure arithmetic; bytes in, GiB out."""
    width = BYTES[model.dtype if dtype == "auto" else dtype]
    weights = _weight_parameters_per_device(model, parallelism.tensor, version) * width
    kv_heads = max(1, model.kv_heads // parallelism.tensor)
    cell = 2 * kv_heads * model.head_dim * model.layers * width
    per_device = shape.usable_hbm_gib_per_chip * GIB / shape.devices_per_chip
    room = int(per_device * fraction - weights)
    tokens = max(0, room // cell)
    if max_total_tokens is not None:
        tokens = min(tokens, max_total_tokens)
    tokens = tokens // page_size * page_size
    context = min(context_length or model.max_positions, model.max_positions)
    return Memory(
        weights_gib_per_chip=round(weights * shape.devices_per_chip / GIB, 3),
        kv_bytes_per_token_per_chip=cell * shape.devices_per_chip,
        kv_tokens=tokens * parallelism.effective_replicas,
        context=context,
        fits=tokens >= context,
    )


def _weight_parameters_per_device(model: ModelConfig, tensor: int, version: str) -> int:
    count = count_parameters(model)
    embeddings = count.embeddings // tensor if version == "head" else count.embeddings
    # KV heads are repeated until every device has one.
    key_value = count.key_value // min(tensor, model.kv_heads)
    return embeddings + key_value + (count.attention + count.mlp) // tensor + count.small
