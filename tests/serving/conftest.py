"""A cloud of the tests' own, with the local stack up on it, driven by the commands as a user gives them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = Path("/run/tpu-stack/clouds.json")
INVOKE = str(Path(sys.executable).parent / "invoke")


@dataclass(frozen=True)
class Ran:
    """A command that was run to its end."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Project:
    """A clone of the project, and the environment of a user who works in it."""

    root: Path
    environment: dict[str, str]

    def invoke(self, *line: str, timeout: float = 600) -> Ran:
        result = subprocess.run(
            [INVOKE, *line],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(result.returncode, result.stdout, result.stderr)

    def on_worker(self, worker: int, script: str) -> str:
        """What a shell on a worker prints, by ``invoke ssh``."""
        result = subprocess.run(
            [INVOKE, "ssh", "--worker", str(worker)],
            cwd=self.root,
            env=self.environment,
            input=script,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return result.stdout


def copy_project(target: Path) -> None:
    """The project as git would clone it, changes included; the environment and the tools are shared by links."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for name in (".venv", ".cache"):
        (target / name).symlink_to(ROOT / name)


def user_environment(root: Path, config: Path) -> dict[str, str]:
    """A user's environment with keys of its own; nothing of ours, of Google's or of Pulumi's in it."""
    own = ("CLOUDSDK", "GOOGLE", "PULUMI", "LOCALCLOUD", "TPU_STACK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "XDG_CONFIG_HOME": str(config), "PYTHONPATH": str(root), "CLOUDSDK_CONFIG": str(config / "gcloud")}


def assert_nothing_left(clone: Project, subnet: str) -> None:
    """No interface, mount, process or folder of the clone's cloud is there any more.

    A subnet that is given back may be another cloud's a moment later; then its bridge is that cloud's.
    """
    index = subnet.split(".")[2]
    registry = json.loads(REGISTRY.read_text())
    assert str(clone.root) not in json.dumps(registry)
    if index.isdigit() and int(index) not in {claim["index"] for claim in registry}:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert f"tpulc{index}:" not in links
    assert str(clone.root) not in Path("/proc/mounts").read_text()
    assert not list((clone.root / ".localcloud").glob("nodes/*"))
    deadline = time.monotonic() + 10
    while found := [
        command for path in Path("/proc").glob("[0-9]*/cmdline") if str(clone.root) in (command := _read(path))
    ]:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A clone whose embedded cloud is stopped at the end, whatever happened; nothing of it may be left."""
    base = tmp_path_factory.mktemp("project")
    copy_project(base / "clone")
    clone = Project(base / "clone", user_environment(base / "clone", base / "config"))
    yield clone
    running = clone.invoke("cloud.status", "--json").document
    stopped = clone.invoke("cloud.stop")
    assert stopped.code == 0, stopped.err
    assert_nothing_left(clone, running.get("subnet", "no.cloud.was.started"))
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def stack(project: Project) -> Project:
    """The clone with its local stack up."""
    made = project.invoke("up", "--json")
    assert made.code == 0, made.err
    return project


@pytest.fixture(scope="session")
def main_job(stack: Project) -> Any:
    """The document of the main job, run once."""
    return _deployed(stack)


@pytest.fixture
def server(stack: Project, main_job: Any) -> Any:
    """The document of a server that is verified now: the main job's, or one deployed since, or anew."""
    verified = stack.invoke("verify", "--json")
    document = verified.document
    if verified.code == 0:
        return document if document["attempt"] != main_job["attempt"] else main_job
    return _deployed(stack)


def _deployed(stack: Project) -> Any:
    deployed = stack.invoke("deploy-qwen", "--json")
    assert deployed.code == 0, deployed.err
    return deployed.document
