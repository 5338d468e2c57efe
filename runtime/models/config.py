"""ModelConfig: what a plan needs of a model's ``config.json``, checked while it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stack.errors import BadInput, BadInputs

SUPPORTED = {"Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
"""Architectures that the planner counts and sglang-jax serves; the value is the config's ``model_type``."""

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number by dtype, for the dtypes that the engine takes."""

REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class ModelConfig:
    """The shapes of a dense decoder, as its ``config.json`` gives them.

    Attributes:
        name: as the user gave it: a Hub id, a folder, a file, or ``tiny:NAME``.
        architecture: one of ``SUPPORTED``.
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


def parse_config(document: object, *, name: str, source: str) -> ModelConfig:
    """The shapes in a parsed ``config.json``.

    Raises:
        BadInput, BadInputs: not such a document, or one that is not supported; every fault at once.
    """
    if not isinstance(document, Mapping):
        raise BadInput("is not a model's config.json: no JSON object", key=source, cure="Point at a model's folder")
    faults = [*_architecture_faults(document, source), *_number_faults(document, source)]
    if not faults:
        faults = _relation_faults(document, source)
    if faults:
        raise faults[0] if len(faults) == 1 else BadInputs(tuple(faults))
    return _config(document, name, source)


def _architecture_faults(document: Mapping[str, Any], source: str) -> list[BadInput]:
    architectures = document.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else None
    supported = ", ".join(SUPPORTED)
    if named is None:
        return [BadInput("has no architectures", key=source, cure=f"Use a model's own config.json ({supported})")]
    if named not in SUPPORTED:
        return [BadInput("is not supported", key=f"{source}: architectures", value=named, cure=f"Known: {supported}")]
    quantised = document.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unnamed") if isinstance(quantised, Mapping) else quantised
        why = "quantised weights are not planned for yet"
        return [BadInput(why, key=f"{source}: quantization_config", value=method, cure="Use the bfloat16 model")]
    return []


def _number_faults(document: Mapping[str, Any], source: str) -> list[BadInput]:
    faults = []
    for key in (*REQUIRED, "num_key_value_heads", "head_dim", "max_position_embeddings"):
        value = document.get(key)
        if value is None:
            if key in REQUIRED:
                faults.append(BadInput("is missing", key=f"{source}: {key}", cure="Use the model's own config.json"))
        elif isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            faults.append(BadInput("is not a whole number above zero", key=f"{source}: {key}", value=value))
    dtype = _dtype(document)
    if dtype not in BYTES:
        faults.append(
            BadInput("is not a dtype we know", key=f"{source}: torch_dtype", value=dtype, cure=_known_dtypes())
        )
    return faults


def _relation_faults(document: Mapping[str, Any], source: str) -> list[BadInput]:
    heads, hidden = document["num_attention_heads"], document["hidden_size"]
    kv_heads = document.get("num_key_value_heads") or heads
    faults = []
    if heads % kv_heads:
        why = f"does not divide the {heads} attention heads"
        faults.append(BadInput(why, key=f"{source}: num_key_value_heads", value=kv_heads, cure="Check the config.json"))
    if document.get("head_dim") is None and document["architectures"][0] != "Qwen3ForCausalLM" and hidden % heads:
        why = f"is not divisible by the {heads} attention heads, and no head_dim is given"
        faults.append(BadInput(why, key=f"{source}: hidden_size", value=hidden, cure="Check the config.json"))
    return faults


def _config(document: Mapping[str, Any], name: str, source: str) -> ModelConfig:
    architecture = document["architectures"][0]
    heads, hidden = document["num_attention_heads"], document["hidden_size"]
    qwen3 = architecture == "Qwen3ForCausalLM"
    return ModelConfig(
        name=name,
        architecture=architecture,
        hidden_size=hidden,
        intermediate_size=document["intermediate_size"],
        layers=document["num_hidden_layers"],
        attention_heads=heads,
        kv_heads=document.get("num_key_value_heads") or heads,
        # Transformers gives Qwen3 a head_dim of 128 where the file has none; Qwen2 divides the hidden size.
        head_dim=document.get("head_dim") or (128 if qwen3 else hidden // heads),
        vocabulary=document["vocab_size"],
        tied_embeddings=bool(document.get("tie_word_embeddings", False)),
        qkv_bias=bool(document.get("attention_bias", False)) if qwen3 else True,
        qk_norm=qwen3,
        max_positions=document.get("max_position_embeddings") or 32768,
        dtype=_dtype(document),
        source=source,
    )


def _dtype(document: Mapping[str, Any]) -> str:
    # Newer transformers write `dtype`, older ones `torch_dtype`; without either the engine takes float32.
    return str(document.get("torch_dtype") or document.get("dtype") or "float32").removeprefix("torch.")


def _known_dtypes() -> str:
    return f"Known: {', '.join(BYTES)}"
