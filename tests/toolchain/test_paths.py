"""Reading what set-up recorded, and the ways in which it is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack.errors import MissingPrerequisite
from toolchain.paths import Toolchain, load


def record(root: Path, **changes: object) -> Path:
    facts: dict[str, object] = {"language_host": True}
    for name in ("pulumi", "python312", "wheelhouse"):
        (root / name / "bin").mkdir(parents=True)
        facts[name] = str(root / name)
    for program in ("pulumi/pulumi", "uv"):
        (root / program).touch()
    facts["uv"] = str(root / "uv")
    (root / ".cache").mkdir()
    path = root / ".cache/toolchain.json"
    path.write_text(json.dumps({**facts, **changes}))
    return path


def test_what_was_recorded_is_read_as_paths(tmp_path: Path) -> None:
    record(tmp_path)
    expected = Toolchain(tmp_path / "pulumi", tmp_path / "python312", tmp_path / "uv", tmp_path / "wheelhouse", True)
    assert load(tmp_path) == expected


def test_a_clone_that_is_not_set_up_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingPrerequisite) as raised:
        load(tmp_path)
    assert "this clone is not set up" in str(raised.value)
    assert raised.value.cure == "Run: make setup"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pulumi": 1}', '"x"'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = record(tmp_path)
    path.write_text(text)
    with pytest.raises(MissingPrerequisite) as raised:
        load(tmp_path)
    assert raised.value.value == path


@pytest.mark.parametrize("key", ["pulumi", "python312", "uv", "wheelhouse"])
def test_what_is_gone_since_set_up_is_named(tmp_path: Path, key: str) -> None:
    record(tmp_path, **{key: str(tmp_path / "gone")})
    with pytest.raises(MissingPrerequisite) as raised:
        load(tmp_path)
    assert raised.value.key == key
    assert "gone" in str(raised.value.value)
