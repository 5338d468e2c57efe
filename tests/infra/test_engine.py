"""The real engine against the real embedded cloud: what each operation does, and what is left when one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from commands import engine
from localcloud import control
from stack.errors import BadInput, BadInputs, CloudFailed
from toolchain import paths

pytestmark = [pytest.mark.cloud, pytest.mark.skipif(os.geteuid() != 0, reason="workers are namespaces: needs root")]

SECONDS = 30.0
NODE = "projects/local/locations/us-east5-b/nodes/tpu-stack-t"


@dataclass
class House:
    """A project with one stack, ``t``, in a cloud of its own."""

    root: Path
    environment: dict[str, str]
    url: str

    def configure(self, **values: Any) -> None:
        config = {
            "gcp:project": "local",
            "gcp:zone": "us-east5-b",
            "tpu-stack:cloud": "local",
            "tpu-stack:acceleratorType": "v6e-4",
            "tpu-stack:serve": {"device": "cpu"},
            **{f"tpu-stack:{key}": value for key, value in values.items()},
        }
        path = self.root / "Pulumi.t.yaml"
        kept = yaml.safe_load(path.read_text()) if path.exists() else {}
        path.write_text(yaml.safe_dump({**kept, "config": config}))

    def run(self, operation: str) -> engine.StackResult:
        result: engine.StackResult = getattr(engine, operation)("t", self.environment, root=self.root)
        return result

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.environment['GOOGLE_OAUTH_ACCESS_TOKEN']}"}
        return httpx.request(method, f"{self.url}/v2alpha1/{path}", headers=headers, timeout=SECONDS, **more)


def ops(result: engine.StackResult) -> list[tuple[str, str]]:
    return [(change.op, change.type) for change in result.changes if change.type.startswith("gcp:")]


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def house(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.delenv("TPU_STACK_GCP_PLUGIN", raising=False)
    project = tmp_path / "project"
    project.mkdir()
    (project / "infra").symlink_to(root / "infra")
    document = yaml.safe_load((root / "Pulumi.yaml").read_text())
    document["runtime"]["options"]["virtualenv"] = sys.prefix
    (project / "Pulumi.yaml").write_text(yaml.safe_dump(document))
    info = control.start(tmp_path / "cloud")
    try:
        pulumi = engine.pulumi_environment(info.state, info.url)
        house = House(project, {**control.environment(info), **pulumi.variables}, info.url)
        house.configure()
        yield house
    finally:
        control.stop(info.state)


def test_a_stack_from_nothing_and_back(house: House) -> None:
    previewed = house.run("preview")
    assert previewed.summary == {"create": 3}
    assert house.api("GET", NODE).status_code == 404

    made = house.run("up")
    assert made.summary == {"create": 3}
    assert made.outputs["slice"]["workers"] == 1
    assert made.outputs["slice"]["runtime_version"] == "v6e-ubuntu-2404"
    assert house.api("GET", NODE).json()["labels"]["tpu-stack"] == "t"

    # The start-up script has run on the worker, with its parameter from the metadata server.
    worker = "cloud/nodes/*/worker-0/root"
    assert until(lambda: list(house.root.parent.glob(f"{worker}/var/lib/tpu-stack/startup.done")) != [])
    (limits,) = house.root.parent.glob(f"{worker}/etc/security/limits.d/90-tpu-stack.conf")
    assert "* hard nofile 1048576" in limits.read_text()

    # Somebody logs in the Google way: the key is theirs, and stays.
    metadata = {**house.api("GET", NODE).json()["metadata"], "ssh-keys": "somebody:ssh-ed25519 AAAA somebody"}
    house.api("PATCH", f"{NODE}?updateMask=metadata", json={"metadata": metadata}).raise_for_status()
    assert ops(house.run("up")) == []
    house.configure(labels={"owner": "me"})
    changed = house.run("up")
    assert ops(changed) == [("update", "gcp:tpu/v2Vm:V2Vm")]
    node = house.api("GET", NODE).json()
    assert node["labels"]["owner"] == "me"
    assert "ssh-keys" in node["metadata"]

    house.configure(runtimeVersion="v2-alpha-tpuv6e", labels={"owner": "me"})
    (replaced,) = [change for change in house.run("preview").changes if change.op == "replace"]
    assert replaced.replacing == ("runtimeVersion",)

    house.api("DELETE", NODE).raise_for_status()
    assert until(lambda: house.api("GET", NODE).status_code == 404)
    assert ops(house.run("up")) == [("create", "gcp:tpu/v2Vm:V2Vm")]
    assert house.api("GET", NODE).json()["runtimeVersion"] == "v2-alpha-tpuv6e"

    assert house.run("down").summary == {"delete": 3}
    assert house.api("GET", NODE).status_code == 404
    assert house.run("down").changes == ()


def test_bad_input_comes_back_as_what_it_was_and_touches_nothing(house: House) -> None:
    house.configure(acceleratorType="v4-8")
    with pytest.raises(BadInput) as caught:
        house.run("up")
    assert caught.value.key == "tpu-stack:acceleratorType"
    assert caught.value.value == "v4-8"
    assert "v6e-4" in caught.value.cure

    house.configure(sport=True, spott=True)
    with pytest.raises(BadInputs) as both:
        house.run("preview")
    assert [fault.key for fault in both.value.faults] == ["tpu-stack:sport", "tpu-stack:spott"]

    house.configure()
    house.environment["GOOGLE_TPU_V2_CUSTOM_ENDPOINT"] = "https://tpu.googleapis.com/v2alpha1/"
    with pytest.raises(BadInput, match="loopback only"):
        house.run("preview")
    house.environment["GOOGLE_TPU_V2_CUSTOM_ENDPOINT"] = "http://127.0.0.1:9/v2alpha1/"
    with pytest.raises(CloudFailed, match=r"invoke cloud\.start"):
        house.run("up")
    assert house.api("GET", NODE).status_code == 404


def test_a_killed_run_leaves_no_process_and_its_lock_is_named_with_the_cure(house: House) -> None:
    program = house.root / "infra"
    program.unlink()
    program.mkdir()
    (program / "__main__.py").write_text("import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(3600)\n")
    variables = {**os.environ, **house.environment}
    pulumi = [str(paths.load().pulumi / "pulumi"), "--non-interactive", "-C", str(house.root)]
    subprocess.run([*pulumi, "stack", "init", "t"], env=variables, check=True, capture_output=True)
    command = [*pulumi, "up", "--yes", "--skip-preview", "-s", "t"]
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as cli:
        assert until((program / "started").exists)
        assert len(processes_of(house)) >= 3, "the CLI, the language host, the program"
        cli.send_signal(signal.SIGKILL)
    assert until(lambda: processes_of(house) == [])

    with pytest.raises(CloudFailed) as caught:
        house.run("up")
    assert f"pid {cli.pid}" in caught.value.why
    assert "that process is gone" in caught.value.why
    assert "pulumi cancel --yes -s t" in caught.value.cure
    subprocess.run([*pulumi, "cancel", "--yes", "-s", "t"], env=variables, check=True, capture_output=True)
    (program / "__main__.py").write_text("import pulumi\npulumi.export('done', True)\n")
    assert house.run("up").outputs == {"done": True}


def processes_of(house: House) -> list[str]:
    """The command lines of living processes that work on the stack, found by their environment."""
    mark = f"PULUMI_HOME={house.environment['PULUMI_HOME']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_the_official_plugin_is_used_where_it_is_asked_for_and_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    state = tmp_path / "state"
    monkeypatch.setenv("TPU_STACK_GCP_PLUGIN", "official")
    with pytest.raises(BadInput, match=r"pulumi plugin install resource gcp 9\.35\.0"):
        engine.pulumi_environment(state, "http://127.0.0.1:9")

    users_own = tmp_path / "home" / ".pulumi" / "plugins" / "resource-gcp-v9.35.0"
    users_own.mkdir(parents=True)
    (users_own / "pulumi-resource-gcp").write_text("the official one")
    installed = state / "pulumi-home" / "plugins" / "resource-gcp-v9.35.0" / "pulumi-resource-gcp"
    for wanted, note, content in (
        ("stand-in", "stand-in", "localcloud.provider"),
        ("official", "official", "the official one"),
        ("official", "official", "the official one"),
        ("stand-in", "stand-in", "localcloud.provider"),
    ):
        monkeypatch.setenv("TPU_STACK_GCP_PLUGIN", wanted)
        pulumi = engine.pulumi_environment(state, "http://127.0.0.1:9")
        assert note in pulumi.notes[0]
        assert content in installed.read_text()
    assert (users_own / "pulumi-resource-gcp").read_text() == "the official one"

    monkeypatch.setenv("TPU_STACK_GCP_PLUGIN", "oficial")
    with pytest.raises(BadInput, match="TPU_STACK_GCP_PLUGIN=oficial"):
        engine.pulumi_environment(state, "http://127.0.0.1:9")


def test_a_result_is_a_document() -> None:
    change = engine.Change("replace", "gcp:tpu/v2Vm:V2Vm", "slice", ("zone",), ("zone",))
    result = engine.StackResult("t", "preview", (change,), {"slice": {"workers": 4}}, {"replace": 1})
    document = json.loads(json.dumps(result.as_dict()))
    assert document["changes"][0]["replacing"] == ["zone"]
    assert document["summary"] == {"replace": 1}
