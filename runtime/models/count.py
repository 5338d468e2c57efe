"""Parameters, counted from shapes."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.models.config import ModelConfig


@dataclass(frozen=True)
class ParameterCount:
    """A dense decoder's parameters by what shards them.

    Attributes:
        embeddings: the token embedding, and the output head where it is a matrix of its own.
        attention: query and output projections, which are split by attention heads.
        key_value: key and value projections, which are split or repeated by KV heads.
        mlp: gate, up and down projections.
        small: norms and biases, which every chip holds whole.
    """

    embeddings: int
    attention: int
    key_value: int
    mlp: int
    small: int

    @property
    def total(self) -> int:
        return self.embeddings + self.attention + self.key_value + self.mlp + self.small


def count_parameters(config: ModelConfig) -> ParameterCount:
    """The parameters of ``config``; a tied output head counts once, as in the published figures."""
    hidden, layers = config.hidden_size, config.layers
    queries, keys = config.attention_heads * config.head_dim, config.kv_heads * config.head_dim
    norms = 2 * hidden + (2 * config.head_dim if config.qk_norm else 0)
    biases = queries + 2 * keys if config.qkv_bias else 0
    return ParameterCount(
        embeddings=config.vocabulary * hidden * (1 if config.tied_embeddings else 2),
        attention=layers * 2 * hidden * queries,
        key_value=layers * 2 * hidden * keys,
        mlp=layers * 3 * hidden * config.intermediate_size,
        small=layers * (norms + biases) + hidden,
    )
