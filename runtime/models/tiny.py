"""Tiny random models, made on the spot: the real engine serves them on CPU in seconds.

The shapes are those that sglang-jax needs (head_dim a multiple of 128) with the heads that make the
planner work for its answer: 28 heads and 4 KV heads, as Qwen2.5-7B has. Same name, same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stack.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

PREFIX = "tiny:"
RECIPE = 2
"""Raise it when the same shape gives other bytes: caches hold folders by shape and recipe."""

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TOKENS = 384
CORPUS = (
    "The quick brown fox jumps over the lazy dog. A slice is a set of chips that are joined and allocated together.",
    "What is the capital of France? The capital of France is Paris. One plus one is two, and two plus two is four.",
    "Write a short poem about the sea, the wind and the light of a lamp in the night.",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class TinyShape:
    """The shape of a tiny dense Qwen2."""

    attention_heads: int
    kv_heads: int
    head_dim: int = 128
    hidden_size: int = 64
    intermediate_size: int = 128
    layers: int = 2
    vocabulary: int = 512
    seed: int = 0


SHAPES = {"qwen2-28h": TinyShape(attention_heads=28, kv_heads=4)}


def tiny_shape(model: str, *, key: str) -> TinyShape:
    """The shape that ``tiny:NAME`` stands for.

    Raises:
        BadInput: there is no tiny model of that name.
    """
    name = model.removeprefix(PREFIX)
    if name in SHAPES:
        return SHAPES[name]
    known = ", ".join(PREFIX + name for name in SHAPES)
    raise BadInput("there is no tiny model of that name", key=key, value=model, cure=f"Known: {known}")


def config_document(shape: TinyShape) -> dict[str, Any]:
    """The config.json of a tiny model."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.attention_heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def make_tiny(shape: TinyShape, cache: Path, *, name: str) -> Path:
    """The folder of the tiny model, made if the cache does not hold it whole; a broken one is made again.

    Written beside its place and renamed into it, so that two callers at once, or one that is killed,
    leave either nothing or all of it.
    """
    identity = json.dumps([RECIPE, asdict(shape)], sort_keys=True).encode()
    folder = cache / f"{name}-{hashlib.sha256(identity).hexdigest()[:12]}"
    if _is_whole(folder):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
    try:
        _write(shape, fresh)
        fresh.chmod(0o755)
        if folder.exists():
            folder.rename(fresh.with_name(fresh.name + ".broken"))
        try:
            fresh.rename(folder)
        except OSError:
            if not _is_whole(folder):  # another caller was faster, and its bytes are the same
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(fresh.with_name(fresh.name + ".broken"), ignore_errors=True)
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        sums = json.loads((folder / "SHA256SUMS.json").read_text(encoding="utf-8"))
        return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == value for name, value in sums.items())
    except (OSError, ValueError):
        return False


def _write(shape: TinyShape, folder: Path) -> None:
    from safetensors.numpy import save_file

    tokenizer, printable = _tokenizer()
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    save_file(_weights(shape, printable), folder / "model.safetensors", metadata={"format": "np"})
    documents = {
        "config.json": config_document(shape),
        "generation_config.json": {"bos_token_id": 0, "eos_token_id": [2, 0], "do_sample": False},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": None,
            "eos_token": SPECIAL_TOKENS[2],
            "pad_token": SPECIAL_TOKENS[0],
            "model_max_length": 2048,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    (folder / "SHA256SUMS.json").write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


def _tokenizer() -> tuple[str, list[int]]:
    """A byte-level BPE tokenizer as JSON, and the ids of its tokens that are printable text."""
    # The trainer's threads would outlive this call and warn in a process that forks later.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    texts = {token: tokenizer.decode([token]) for token in range(len(SPECIAL_TOKENS), tokenizer.get_vocab_size())}
    return tokenizer.to_str(), [token for token, text in texts.items() if text.isascii() and text.strip().isalpha()]


def _weights(shape: TinyShape, printable: list[int]) -> dict[str, np.ndarray[Any, Any]]:
    """Random weights whose greedy tokens are always printable words, never the end of the text.

    The output head's rows of all other tokens are zero: their logit is 0, and the best of hundreds of
    random ones is above that. A probe thus gets text it can look at.
    """
    import numpy as np

    generator = np.random.default_rng(shape.seed)

    def normal(*size: int) -> np.ndarray[Any, Any]:
        # Large enough for attention and MLP to outweigh the embedding: else one token repeats itself for ever.
        return (generator.standard_normal(size) * 0.3).astype(np.float32)

    hidden, queries = shape.hidden_size, shape.attention_heads * shape.head_dim
    keys, inner = shape.kv_heads * shape.head_dim, shape.intermediate_size
    head = normal(shape.vocabulary, hidden)
    head[[row for row in range(shape.vocabulary) if row not in set(printable)]] = 0.0
    weights = {
        "model.embed_tokens.weight": normal(shape.vocabulary, hidden),
        "model.norm.weight": np.ones(hidden, np.float32),
        "lm_head.weight": head,
    }
    sizes = {
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "self_attn.q_proj.bias": (queries,),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.bias": (keys,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        weights |= {prefix + name: normal(*size) for name, size in sizes.items()}
        weights[prefix + "input_layernorm.weight"] = np.ones(hidden, np.float32)
        weights[prefix + "post_attention_layernorm.weight"] = np.ones(hidden, np.float32)
    return weights
