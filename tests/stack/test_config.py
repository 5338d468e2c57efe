"""StackConfig refuses nonsense, names it, and reads the files of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stack.config import StackConfig, load_stack_config, parse_stack_config
from stack.errors import BadInput, BadInputs

ROOT = Path(__file__).resolve().parents[2]
GOOD: dict[str, Any] = {"gcp:project": "p", "gcp:zone": "us-east5-b", "tpu-stack:acceleratorType": "v6e-16"}


@pytest.mark.parametrize("stack", sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml")))
def test_the_stack_files_of_the_repository_are_valid(stack: str) -> None:
    config = load_stack_config(ROOT, stack)
    assert config.stack == stack
    assert config.name == f"tpu-stack-{stack}"


def test_the_local_stack_is_a_whole_v6e_16() -> None:
    config = load_stack_config(ROOT, "local")
    assert (config.cloud, config.accelerator_type, config.serve.devices_per_worker) == ("local", "v6e-16", 4)


def test_a_config_cannot_be_changed_after_reading() -> None:
    config = parse_stack_config("x", GOOD)
    with pytest.raises(ValidationError):
        config.zone = "us-east5-a"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "key", "part"),
    [
        ({"tpu-stack:acceleratorTyp": "v6e-16"}, "tpu-stack:acceleratorTyp", "Did you mean tpu-stack:acceleratorType?"),
        ({"tpu-stack:serve": {"modle": "x"}}, "tpu-stack:serve.modle", "Did you mean tpu-stack:serve.model?"),
        ({"gcp:zone": "us-east5"}, "gcp:zone", "match"),
        ({"gcp:regoin": "x"}, "gcp:regoin", "is not a key"),
        ({"tpu-stack:zone": "us-east5-b"}, "tpu-stack:zone", "is not a key"),
        ({"tpu-stack:network": {"network": "default"}}, "tpu-stack:network.network", "match"),
        ({"tpu-stack:serve": {"port": 80}}, "tpu-stack:serve.port", "1024"),
        ({"tpu-stack:serve": {"flags": {"; rm -rf /": 1}}}, "tpu-stack:serve.flags.; rm -rf /", "match"),
        ({"tpu-stack:ssh": {"user": "root; id"}}, "tpu-stack:ssh.user", "match"),
        ({"tpu-stack:ssh": {"route": "direct"}}, "tpu-stack:*", "externalIps"),
        ({"tpu-stack:spot": True, "tpu-stack:reserved": True}, "tpu-stack:*", "exclude each other"),
        ({"tpu-stack:labels": {"owner": {"secure": "v1:abc"}}}, "tpu-stack:labels.owner", "string"),
        ({"tpu-stack:name": {"secure": "v1:abc"}}, "tpu-stack:name", "Secret Manager"),
    ],
)
def test_a_fault_names_its_key_and_the_cure(change: dict[str, Any], key: str, part: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_stack_config("x", {**GOOD, **change})
    faults = caught.value.faults if isinstance(caught.value, BadInputs) else (caught.value,)
    assert [fault.key for fault in faults] == [key]
    assert part in str(faults[0])
    assert faults[0].exit_code == 2


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(BadInputs) as caught:
        parse_stack_config("x", {"gcp:zone": "nowhere", "tpu-stack:spott": True})
    keys = [fault.key for fault in caught.value.faults]
    assert sorted(keys) == ["gcp:project", "gcp:zone", "tpu-stack:acceleratorType", "tpu-stack:spott"]


def test_a_stack_without_a_file_names_those_that_have_one() -> None:
    with pytest.raises(BadInput, match="local"):
        load_stack_config(ROOT, "nosuch")


@pytest.mark.parametrize("name", ["../x", "", "a b", "a;b", "-x"])
def test_a_stack_name_never_leaves_its_folder(name: str) -> None:
    with pytest.raises(BadInput, match="not a stack's name"):
        load_stack_config(ROOT, name)


@pytest.mark.parametrize("text", ["config: [1]", "- a", "config: {a: [", "\x00"])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "Pulumi.x.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"Pulumi\.x\.yaml"):
        load_stack_config(tmp_path, "x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [*GOOD, "tpu-stack:serve", "tpu-stack:labels", "tpu-stack:ssh", "tpu-stack:network", "a:b", "c"]
        ),
        json_values,
    )
)
def test_any_mapping_is_a_config_or_a_bad_input(values: dict[str, Any]) -> None:
    try:
        config = parse_stack_config("x", values)
    except BadInput as error:
        assert str(error)
    else:
        assert isinstance(config, StackConfig)
