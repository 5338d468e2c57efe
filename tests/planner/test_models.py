from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.facts.tables import rows
from runtime.models.config import ModelConfig, parse_config
from runtime.models.count import count_parameters
from runtime.models.resolve import describe, resolve
from runtime.models.tiny import SHAPES, TinyShape, config_document, make_tiny
from stack.errors import BadInput, BadInputs

QWEN = config_document(SHAPES["qwen2-28h"])


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def parse(**changes: Any) -> ModelConfig:
    document = {key: value for key, value in (QWEN | changes).items() if value is not None}
    return parse_config(document, name="test", source="config.json")


@pytest.mark.parametrize("row", rows("models"), ids=lambda row: row["model"])
def test_parameters_equal_the_published_count(row: dict[str, str]) -> None:
    assert count_parameters(describe(row["model"])).total == int(row["published_parameters"])


def test_the_default_model_is_described_offline() -> None:
    config = describe("Qwen/Qwen2.5-7B-Instruct")
    assert (config.attention_heads, config.kv_heads, config.head_dim) == (28, 4, 128)
    assert "not reached" in config.source


def test_a_cached_config_wins_over_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    config = tmp_path / "config.json"
    config.write_text(json.dumps(QWEN))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(config))
    assert "local Hub cache" in describe("Qwen/Qwen2.5-7B-Instruct").source


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("someone/unknown-model", "offline"),
        ("not an id", "neither a Hub id nor a path"),
        ("./no-such-folder", "is not there"),
        ("/nowhere/config.json", "is not there"),
        ("tiny:unknown", "tiny:qwen2-28h"),
    ],
)
def test_a_model_that_cannot_be_found_says_why_and_what_to_do(model: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        describe(model, key="--model")
    assert caught.value.key == "--model"
    assert caught.value.value == model
    assert caught.value.cure


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "Qwen2ForCausalLM"),
        ({"architectures": None}, "has no architectures"),
        ({"hidden_size": None}, "is missing"),
        ({"num_hidden_layers": 0}, "above zero"),
        ({"num_hidden_layers": -2}, "above zero"),
        ({"num_attention_heads": True}, "above zero"),
        ({"vocab_size": "512"}, "above zero"),
        ({"num_key_value_heads": 5}, "does not divide the 28"),
        ({"head_dim": None}, "no head_dim is given"),
        ({"torch_dtype": "int8"}, "bfloat16"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised"),
    ],
)
def test_a_config_that_is_wrong_is_refused_by_its_key(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        parse(**changes)
    assert "config.json" in caught.value.key


def test_all_faults_of_a_config_come_at_once() -> None:
    with pytest.raises(BadInputs) as caught:
        parse(architectures=["Other"], hidden_size=None, vocab_size=0)
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(BadInput):
        describe(str(path))


def test_qwen3_has_norms_of_its_own_and_no_bias() -> None:
    qwen3 = parse(architectures=["Qwen3ForCausalLM"], head_dim=None)
    assert qwen3.head_dim == 128
    assert qwen3.qk_norm
    assert not qwen3.qkv_bias


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("models")
    return make_tiny(SHAPES["qwen2-28h"], cache, name="tiny-qwen2-28h")


def test_the_tiny_model_is_small_and_the_same_every_time(tiny: Path, tmp_path: Path) -> None:
    files = resolve("tiny:qwen2-28h", tmp_path / "other").files
    assert {file.name: file.path.read_bytes() for file in files} == {
        path.name: path.read_bytes() for path in tiny.iterdir()
    }
    assert 4_000_000 < sum(file.size for file in files) < 5_000_000


def test_its_weights_are_as_many_as_counted(tiny: Path) -> None:
    from safetensors import safe_open

    with safe_open(tiny / "model.safetensors", framework="np") as weights:
        total = sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118  # not a mapping
    assert total == count_parameters(describe("tiny:qwen2-28h")).total


def test_a_whole_tiny_model_is_kept_and_a_broken_one_is_made_again(tiny: Path, tmp_path: Path) -> None:
    folder = make_tiny(SHAPES["qwen2-28h"], tmp_path, name="t")
    before = (folder / "config.json").stat().st_mtime_ns
    assert make_tiny(SHAPES["qwen2-28h"], tmp_path, name="t") == folder
    assert (folder / "config.json").stat().st_mtime_ns == before
    (folder / "model.safetensors").write_bytes(b"half")
    assert make_tiny(SHAPES["qwen2-28h"], tmp_path, name="t") == folder
    assert (folder / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_another_shape_lives_in_another_folder(tmp_path: Path) -> None:
    small = TinyShape(attention_heads=2, kv_heads=1)
    assert make_tiny(small, tmp_path, name="t") != make_tiny(TinyShape(4, 1), tmp_path, name="t")


def test_a_folder_is_resolved_with_its_files_and_a_digest_of_them(tiny: Path, tmp_path: Path) -> None:
    first = resolve(str(tiny), tmp_path)
    assert first.folder == tiny
    assert first.hub_id is None
    assert first.digest == resolve("tiny:qwen2-28h", tmp_path).digest
    assert resolve("Qwen/Qwen2.5-7B-Instruct", tmp_path).hub_id == "Qwen/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize(
    ("removed", "said"),
    [("model.safetensors", "no weights"), ("config.json", "has no config.json"), ("tokenizer.json", "no tokenizer")],
)
def test_a_folder_that_lacks_something_says_what(tiny: Path, tmp_path: Path, removed: str, said: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny.iterdir():
        if path.name != removed:
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match=said):
        resolve(str(folder), tmp_path)


def test_a_shard_that_the_index_names_must_be_there(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    with pytest.raises(BadInput, match="model-2"):
        resolve(str(folder), tmp_path)


def test_a_config_file_can_be_planned_but_not_served(tiny: Path, tmp_path: Path) -> None:
    file = str(tiny / "config.json")
    assert describe(file).attention_heads == 28
    with pytest.raises(BadInput, match="no weights to serve"):
        resolve(file, tmp_path)
