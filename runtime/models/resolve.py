"""From what a user writes (a Hub id, a folder, a config.json, ``tiny:NAME``) to shapes and to files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from runtime.models.config import ModelConfig, parse_config
from runtime.models.hub import hub_config
from runtime.models.tiny import PREFIX, config_document, make_tiny, tiny_shape
from stack.errors import BadInput

KEY = "tpu-stack:serve.model"
HASHED_WHOLE = 64 * 1024 * 1024
"""Files up to this size count with their content, larger ones with size and time: 15 GB take a minute to hash."""

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class ModelFile:
    """One file of a model's folder; ``size`` in bytes."""

    name: str
    path: Path
    size: int


@dataclass(frozen=True)
class ResolvedModel:
    """A model that can be served: its shapes, and where its files are.

    Attributes:
        folder: on this machine, to be brought to the workers; None for a Hub model.
        hub_id: fetched by each worker itself; None for a folder.
        files: of the folder, sorted by name.
        digest: of the files, for a folder's name on the workers and for ``is it there already?``; empty for the Hub.
    """

    config: ModelConfig
    folder: Path | None = None
    hub_id: str | None = None
    files: tuple[ModelFile, ...] = ()
    digest: str = ""


def is_path(model: str) -> bool:
    """Whether ``model`` names something on this machine: it starts with ``/``, ``.`` or ``~``, or ends in .json."""
    return model.startswith(("/", ".", "~")) or model.endswith(".json")


def describe(model: str, *, key: str = KEY) -> ModelConfig:
    """The shapes of ``model``, without touching its weights: what a plan needs.

    Raises:
        BadInput, BadInputs: not there, not readable, or not supported.
    """
    if model.startswith(PREFIX):
        shape = tiny_shape(model, key=key)
        return parse_config(config_document(shape), name=model, source=model)
    if is_path(model):
        path = Path(model).expanduser()
        if not path.exists():
            raise BadInput("is not there", key=key, value=model, cure="Give a model's folder or its config.json")
        if path.is_dir():
            path = path / "config.json"
        return parse_config(_read_json(path, model, key), name=model, source=str(path))
    document, source = hub_config(model, key=key)
    return parse_config(document, name=model, source=f"config.json of {model} ({source})")


def resolve(model: str, cache: Path, *, key: str = KEY) -> ResolvedModel:
    """``model`` as something to serve: a tiny one is made in ``cache``, a folder is checked for what is missing.

    Raises:
        BadInput, BadInputs: as ``describe``; or a folder without weights or tokenizer.
    """
    config = describe(model, key=key)
    if model.startswith(PREFIX):
        folder = make_tiny(tiny_shape(model, key=key), cache, name="tiny-" + model.removeprefix(PREFIX))
    elif is_path(model):
        folder = Path(model).expanduser().resolve()
        if not folder.is_dir():
            raise BadInput("is a file: there are no weights to serve", key=key, value=model, cure="Give the folder")
    else:
        return ResolvedModel(config, hub_id=model)
    files = tuple(
        ModelFile(path.name, path, path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    )
    _check_files({file.name for file in files}, folder, model, key)
    return ResolvedModel(config, folder=folder, files=files, digest=_digest(files))


def _read_json(path: Path, model: str, key: str) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"has no {path.name}", key=key, value=model, cure="Give the folder that a Hub download makes"
        ) from None
    except (ValueError, OSError) as error:
        raise BadInput(
            f"{path.name} cannot be read: {error}", key=key, value=model, cure="Give a model's own config.json"
        ) from None


def _check_files(names: set[str], folder: Path, model: str, key: str) -> None:
    if not any(name.endswith(".safetensors") for name in names):
        cure = "sglang-jax reads *.safetensors: download or convert them"
        raise BadInput("has a config but no weights", key=key, value=model, cure=cure)
    if "model.safetensors.index.json" in names:
        index = _read_json(folder / "model.safetensors.index.json", model, key)
        mapped = index.get("weight_map") if isinstance(index, dict) else None
        missing = sorted(set(mapped.values()) - names) if isinstance(mapped, dict) else []
        if missing:
            why = f"lacks weights that its index names: {', '.join(missing[:3])}"
            raise BadInput(why, key=key, value=model, cure="Download the folder again")
    if not names & set(TOKENIZERS):
        raise BadInput("has no tokenizer", key=key, value=model, cure=f"Add one of {', '.join(TOKENIZERS)}")


def _digest(files: tuple[ModelFile, ...]) -> str:
    total = hashlib.sha256()
    for file in files:
        content = (
            hashlib.sha256(file.path.read_bytes()).hexdigest()
            if file.size <= HASHED_WHOLE
            else f"{file.size}@{file.path.stat().st_mtime_ns}"
        )
        total.update(f"{file.name} {content}\n".encode())
    return total.hexdigest()
