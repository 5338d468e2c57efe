"""Start, stop and find: bad input and bad machines are one line with a cure, and leave nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from localcloud import control, prerequisites, registry
from localcloud.control import CloudInfo
from stack.errors import CloudFailed, MissingPrerequisite


def info_of(state: Path) -> CloudInfo:
    return CloudInfo("http://127.0.0.1:1234", 1, state, "10.231.0.0/24", 0)


def test_without_root_the_cure_is_the_same_command_with_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["/usr/bin/invoke", "deploy-qwen", "--stack", "my stack"])
    with pytest.raises(MissingPrerequisite) as caught:
        control.start(tmp_path / "cloud")
    assert "needs root" in caught.value.why or "need root" in caught.value.why
    assert caught.value.cure == "Run: sudo -E env \"PATH=$PATH\" invoke deploy-qwen --stack 'my stack'"
    assert caught.value.exit_code == 2
    assert not (tmp_path / "cloud").exists()


def test_a_missing_program_is_named_by_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setitem(prerequisites.PROGRAMS, "no-such-program", "no-such-package")
    with pytest.raises(MissingPrerequisite) as caught:
        control.start(tmp_path / "cloud")
    assert (caught.value.key, caught.value.value) == ("package", "no-such-package")
    assert caught.value.cure == "Run: make setup"
    assert not (tmp_path / "cloud").exists()


def test_nothing_is_not_running_and_stops_without_a_word(tmp_path: Path) -> None:
    assert control.status(tmp_path / "none") is None
    control.stop(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"pid": 2**22 + 1, "started": 1, "url": "", "cloud": ""})])
def test_a_daemons_file_that_lies_is_no_running_cloud(tmp_path: Path, text: str) -> None:
    (tmp_path / "daemon.json").write_text(text)
    assert control.status(tmp_path) is None


def test_the_environment_names_what_gcloud_and_the_provider_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    variables = control.environment(info_of(tmp_path), project="p", zone="us-east1-d")
    assert variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU"] == "http://127.0.0.1:1234/"
    assert variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"] == "http://127.0.0.1:1234/compute/v1/"
    assert variables["GOOGLE_TPU_V2_CUSTOM_ENDPOINT"] == "http://127.0.0.1:1234/v2alpha1/"
    assert variables["GOOGLE_OAUTH_ACCESS_TOKEN"] == "secret"
    assert variables["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"] == str(tmp_path / "token")
    assert (variables["CLOUDSDK_CORE_PROJECT"], variables["CLOUDSDK_COMPUTE_ZONE"]) == ("p", "us-east1-d")
    assert Path(variables["CLOUDSDK_CONFIG"]).is_dir()


@pytest.mark.cloud
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_daemon_that_cannot_start_says_why_and_leaves_no_claim(tmp_path: Path) -> None:
    (tmp_path / "cloud.sqlite").write_text("this is no database, though it is long enough to be looked at as one" * 20)
    with pytest.raises(CloudFailed) as caught:
        control.start(tmp_path)
    assert "not a database" in caught.value.why
    assert str(tmp_path / "daemon.log") in caught.value.cure
    assert str(tmp_path) not in (registry.FOLDER / "clouds.json").read_text()


@pytest.mark.cloud
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_cloud_whose_folder_was_deleted_is_reclaimed_by_the_next(tmp_path: Path) -> None:
    from localcloud import network, processes

    lost = control.start(tmp_path / "lost")
    cloud_id = json.loads((lost.state / "daemon.json").read_text())["cloud"]
    os.kill(lost.pid, 9)
    os.waitpid(lost.pid, 0)
    for file in lost.state.glob("cloud.sqlite*"):
        file.unlink()
    following = control.start(tmp_path / "next")
    try:
        assert cloud_id not in (registry.FOLDER / "clouds.json").read_text()
        assert cloud_id not in network.links().values()
        assert not processes.marked(cloud_id)
    finally:
        control.stop(following.state)


@pytest.mark.cloud
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_cloud_ends_with_its_folder(tmp_path: Path) -> None:
    from localcloud import network, processes
    from tests.localcloud.conftest import client_of

    info = control.start(tmp_path / "cloud")
    cloud_id = json.loads((info.state / "daemon.json").read_text())["cloud"]
    client_of(info).create("n", acceleratorType="v6e-1")
    assert processes.marked(cloud_id)
    shutil.rmtree(info.state)
    os.waitpid(info.pid, 0)
    assert not processes.marked(cloud_id)
    assert cloud_id not in network.links().values()
    assert cloud_id not in (registry.FOLDER / "clouds.json").read_text()
    assert not info.state.exists()
