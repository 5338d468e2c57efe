"""A Hub model's config.json: from the local Hub cache, the Hub itself, or, offline, our table of well-known models."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.facts.tables import rows
from stack.errors import BadInput

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}(/[\w.-]{1,96})?$")
TIMEOUT_SECONDS = 4.0
"""For the whole request: the Hub's own client retries for 24 s when there is no network at all (measured)."""

NUMBERS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
)


def hub_config(model: str, *, key: str) -> tuple[object, str]:
    """The parsed config.json of the Hub model ``model``, and where it was read.

    Raises:
        BadInput: there is no such model, no access to it, or no way to reach the Hub.
    """
    if not HUB_ID.match(model):
        raise BadInput("is neither a Hub id nor a path", key=key, value=model, cure="Write OWNER/NAME, or ./FOLDER")
    cached = _from_cache(model)
    if cached is not None:
        return cached
    try:
        return _from_hub(model, key)
    except OSError as error:
        known = _from_table(model)
        if known is not None:
            return known
        cure = "Connect, or give a folder or a config.json; known offline: " + ", ".join(_known_models())
        raise BadInput(f"its config.json cannot be read offline ({error})", key=key, value=model, cure=cure) from None


def _from_cache(model: str) -> tuple[object, str] | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json")
    if not isinstance(found, str):
        return None
    return json.loads(Path(found).read_text(encoding="utf-8")), "the local Hub cache"


def _from_hub(model: str, key: str) -> tuple[object, str]:
    """Raises OSError where the Hub cannot be reached, BadInput where it answers no."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise OSError("HF_HUB_OFFLINE is set")
    import httpx
    from huggingface_hub import get_token, hf_hub_url

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(
            hf_hub_url(model, "config.json"), headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True
        )
    except httpx.HTTPError as error:
        raise OSError(str(error) or type(error).__name__) from None
    if answer.status_code == httpx.codes.OK:
        return answer.json(), "the Hub"
    if answer.status_code in (401, 403, 404):
        why = f"the Hub answers {answer.status_code}: no such model, or no access to it"
        raise BadInput(why, key=key, value=model, cure="Check the id; for a gated model accept its terms, set HF_TOKEN")
    raise OSError(f"the Hub answers {answer.status_code}")


def _known_models() -> list[str]:
    return [row["model"] for row in rows("models")]


def _from_table(model: str) -> tuple[Mapping[str, Any], str] | None:
    row = next((row for row in rows("models") if row["model"] == model), None)
    if row is None:
        return None
    document: dict[str, Any] = {name: int(row[name]) for name in NUMBERS if row[name]}
    document["architectures"] = [row["architecture"]]
    document["tie_word_embeddings"] = row["tie_word_embeddings"] == "true"
    document["torch_dtype"] = row["torch_dtype"]
    return document, "tpu-stack's table (the Hub was not reached)"
