"""Unmodified gcloud against the cloud. Few calls: each takes a second or two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from localcloud import control
from tests.localcloud.conftest import RealCloud

pytestmark = [
    pytest.mark.cloud,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed on this machine"),
]


def test_gcloud_creates_enters_copies_and_deletes(real_cloud: RealCloud, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    variables = {**os.environ, **control.environment(real_cloud.info, project="p"), "HOME": str(home)}

    def tpu_vm(*arguments: str, fails: bool = False) -> str:
        done = subprocess.run(
            ["gcloud", "compute", "tpus", "tpu-vm", *arguments],
            env=variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout

    tpu_vm("create", "g", "--accelerator-type=v6e-16", "--version=v6e-ubuntu-2404", "--labels=a=b")
    assert real_cloud.client.node("g")["apiVersion"] == "V2"
    row = tpu_vm("list").splitlines()[1].split()
    assert row == ["g", "us-east5-b", "v6e-16", "V6E", "4x4", "default", "READY"]
    described = json.loads(tpu_vm("describe", "g", "--format=json"))
    assert described["labels"] == {"a": "b"} and len(described["networkEndpoints"]) == 4

    said = tpu_vm("ssh", "ann@g", "--worker=all", "--command=hostname; sudo -n id -un").split()
    assert sorted(word[-2:] for word in said if word.startswith("t1v-n-")) == ["-0", "-1", "-2", "-3"]
    assert said.count("root") == 4
    (tmp_path / "file").write_text("carried")
    tpu_vm("scp", str(tmp_path / "file"), "ann@g:there", "--worker=2")
    assert tpu_vm("ssh", "ann@g", "--worker=2", "--command=cat there") == "carried"
    assert "several workers" in tpu_vm("stop", "g", fails=True)
    tpu_vm("delete", "g")
    assert real_cloud.client.call("GET", "projects/p/locations/-/nodes") == {"nodes": []}


def test_gcloud_tells_bad_input_in_one_line(real_cloud: RealCloud) -> None:
    variables = {**os.environ, **control.environment(real_cloud.info)}
    done = subprocess.run(
        [
            "gcloud",
            "compute",
            "tpus",
            "tpu-vm",
            "create",
            "g",
            "--accelerator-type=v6e-17",
            "--version=v6e-ubuntu-2404",
        ],
        env=variables,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "INVALID_ARGUMENT: Accelerator type 'v6e-17' is not offered in zone us-east5-b" in done.stderr
