"""A stack's whole life without a job on it: up, again, changed, down, and nothing left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.serving.conftest import Project, assert_nothing_left, copy_project, user_environment

pytestmark = pytest.mark.cloud


def test_up_twice_down_and_stop_leave_nothing(tmp_path: Path) -> None:
    copy_project(tmp_path / "clone")
    clone = Project(tmp_path / "clone", user_environment(tmp_path / "clone", tmp_path / "config"))
    try:
        first = clone.invoke("up", "--json")
        assert first.code == 0, first.err
        assert "runtime_version=v6e-ubuntu-2404" in first.err
        subnet = clone.invoke("cloud.status", "--json").document["subnet"]
        again = clone.invoke("up", "--json")
        assert again.code == 0, again.err
        assert again.document["summary"] == {}
        assert clone.invoke("status").out.count("no job") == 4
        assert clone.invoke("down").code == 0
        gone = clone.invoke("status", "--json")
        assert gone.code == 2
        assert "invoke up" in gone.document["errors"][0]["cure"]
    finally:
        assert clone.invoke("cloud.stop").code == 0
    assert_nothing_left(clone, subnet)
    assert clone.invoke("cloud.status").code == 3
    shutil.rmtree(tmp_path / "clone")
