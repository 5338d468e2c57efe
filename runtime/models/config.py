"""ModelConfig: what a plan needs of a model's ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """The shapes of a dense decoder, as its ``config.json`` gives them.

    Attributes:
        name: as the user gave it: a Hub id, a folder, a file, or ``tiny:NAME``.
        architecture: ``Qwen2ForCausalLM`` or ``Qwen3ForCausalLM``.
        qkv_bias: the query, key and value projections carry a bias (Qwen2: always).
        qk_norm: each head's queries and keys are normalised (Qwen3).
        source: where the shapes were read.
    """

    name: str
    architecture: str
    hidden_size: int
    intermediate_size: int
    layers: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    max_positions: int
    dtype: str
    source: str
