"""Bad input: one line that names key, value and cure; exit 2 or 3; nothing created, nothing half done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serving.conftest import Project, copy_project, user_environment

LOCAL = Path(__file__).resolve().parents[2] / "Pulumi.local.yaml"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone without a cloud."""
    base = tmp_path_factory.mktemp("bad")
    copy_project(base / "clone")
    return Project(base / "clone", user_environment(base / "clone", base / "config"))


def write_stack(clone: Project, name: str, **changes: Any) -> None:
    """A stack like the local one, with some of its keys changed."""
    document = yaml.safe_load(LOCAL.read_text())
    for key, value in changes.items():
        document["config"][f"tpu-stack:{key}"] = value
    (clone.root / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump(document))


def errors(clone: Project, code: int, *line: str) -> str:
    """The errors of a command that must fail with ``code``, as one text of one line an error."""
    ran = clone.invoke(*line, "--json")
    assert ran.code == code, ran.out + ran.err
    assert "Traceback" not in ran.err
    document = ran.document
    assert document["ok"] is False
    assert all(error["why"] and "\n" not in error["why"] and error["cure"] for error in document["errors"])
    return str(document["errors"])


def test_the_local_stack_without_its_daemon_says_how_to_start_it(clone: Project) -> None:
    for command in ("deploy", "status", "verify", "stop"):
        assert "invoke cloud.start" in errors(clone, 3, command)


def test_dev_without_credentials_says_how_to_log_in(clone: Project) -> None:
    assert "gcloud auth application-default login" in errors(clone, 2, "deploy-qwen", "--stack", "dev")


def test_a_model_folder_that_is_not_there_is_refused_before_the_slice_is_looked_for(stack: Project) -> None:
    text = errors(stack, 2, "deploy", "--model", "./no-such-model")
    assert "no-such-model" in text


def test_an_attempt_that_is_no_id_is_refused(stack: Project) -> None:
    assert "attempt" in errors(stack, 2, "deploy", "--attempt", "../../etc")


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"acceleratorType": "v6e-17"}, ["v6e-17", "v6e-16"]),
        ({"acceleratorType": "tpu7x-8"}, ["tpu7x-8", "GKE"]),
        ({"runtimeVersion": "tpu-ubuntu2204-base"}, ["tpu-ubuntu2204-base", "v6e-ubuntu-2404"]),
    ],
)
def test_what_the_zone_does_not_have_fails_the_preview_with_what_it_has(
    stack: Project, changes: dict[str, Any], parts: list[str]
) -> None:
    write_stack(stack, "odd", **changes)
    before = stack.invoke("status", "--json").document["slice"]
    text = errors(stack, 2, "up", "--stack", "odd")
    assert all(part in text for part in parts), text
    assert stack.invoke("status", "--json").document["slice"] == before


@pytest.mark.cloud
def test_a_stack_without_a_slice_says_how_to_make_one(stack: Project) -> None:
    write_stack(stack, "none")
    assert "invoke up --stack none" in errors(stack, 2, "deploy", "--stack", "none")


def test_heads_that_no_parallelism_divides_are_refused_by_plan_and_by_deploy(clone: Project, tmp_path: Path) -> None:
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 7,
        "num_key_value_heads": 3,
        "vocab_size": 512,
        "head_dim": 128,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = errors(clone, 2, "plan", "--model", str(tmp_path), "--accelerator-type", "v6e-16")
    assert "7" in text
