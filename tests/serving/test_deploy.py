"""The main job, for real: cloud, slice, four workers, the real server; and what befalls it.

One cloud serves the whole file; every test gets a verified server on it, deployed anew where one is needed.
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import Project, copy_project, user_environment

pytestmark = [pytest.mark.cloud, pytest.mark.engine]

CHECKS = ["health", "launchers", "rendezvous", "completion"]
RUNGS = ["reachable", "gates", "environment", "process", "rendezvous", "devices", "http", "token"]
ENVIRONMENT = "$HOME/.tpu-stack/envs/sglang-jax-0.0.2-cpu-*"


def serves_tokens(document: Any) -> bool:
    """Whether the server answers a completion of ours, asked from outside its workers."""
    body = {"model": "tiny:qwen2-28h", "prompt": "Hello", "max_tokens": 2, "temperature": 0}
    request = urllib.request.Request(
        f"http://{document['endpoint']}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return bool(json.load(response)["usage"]["completion_tokens"] == 2)


def test_the_main_job_ends_in_a_verdict_with_evidence(main_job: Any) -> None:
    server = main_job
    assert server["verified"] is True
    assert (server["tensor_parallel"], server["data_parallel"]) == (4, 4)
    assert server["runtime_version"] == "v6e-ubuntu-2404"
    assert [check["name"] for check in server["checks"] if check["passed"]] == CHECKS
    assert [worker["index"] for worker in server["workers"]] == [0, 1, 2, 3]
    for worker in server["workers"]:
        assert (worker["state"], worker["ack"]) == ("running", "LAUNCHED")
        assert [rung["name"] for rung in worker["rungs"] if rung["passed"]] == RUNGS
    evidence = Path(server["evidence"])
    assert json.loads((evidence / "verdict.json").read_text())["verified"] is True
    assert "Succeeds to synchronize!" in (evidence / "worker-0.log").read_text()
    assert serves_tokens(server)


def test_saying_the_same_attempt_again_launches_nothing(stack: Project, server: Any) -> None:
    before = stack.invoke("status", "--json").document["workers"]
    again = stack.invoke("deploy-qwen", "--attempt", server["attempt"], "--json")
    assert again.code == 0, again.err
    assert {worker["ack"] for worker in again.document["workers"]} == {"ALREADY_RUNNING"}
    after = stack.invoke("status", "--json").document["workers"]
    assert [_server(worker)["pid"] for worker in after] == [_server(worker)["pid"] for worker in before]


def _server(worker: Any) -> Any:
    return next(job for job in worker["jobs"] if job["job"] == "server-llm")


def test_a_second_clone_sees_and_verifies_what_the_first_launched(stack: Project, server: Any, tmp_path: Path) -> None:
    copy_project(tmp_path / "second")
    environment = user_environment(tmp_path / "second", tmp_path / "config")
    environment["LOCALCLOUD_STATE"] = str(stack.root / ".localcloud")
    second = Project(tmp_path / "second", environment)
    verified = second.invoke("verify", "--json")
    assert verified.code == 0, verified.err
    assert verified.document["attempt"] == server["attempt"]
    log = second.invoke("logs", "--worker", "0", "--lines", "400")
    assert "The server is fired up and ready to roll!" in log.out


def test_the_server_outlives_the_daemon_of_the_cloud(stack: Project, server: Any) -> None:
    pid = int(stack.invoke("cloud.status", "--json").document["pid"])
    os.kill(pid, signal.SIGKILL)
    dead = stack.invoke("status", "--json")
    assert dead.code == 3
    assert dead.document["errors"][0]["cure"] == "Run: invoke cloud.start"
    assert stack.invoke("cloud.start").code == 0
    verified = stack.invoke("verify", "--json")
    assert verified.code == 0, verified.err
    assert verified.document["attempt"] == server["attempt"]


@pytest.mark.usefixtures("server")
def test_a_dead_scheduler_is_named_though_health_still_answers(stack: Project) -> None:
    pid = stack.on_worker(2, "pgrep -f sglang::scheduler | head -n 1").split()[-1]
    stack.on_worker(2, f"kill -KILL {pid}")
    verified = stack.invoke("verify", "--json")
    assert verified.code == 1
    assert verified.document["verified"] is False
    assert any(reason.startswith("worker 2: process:") for reason in verified.document["reasons"])


def test_a_deploy_rebuilds_what_was_broken_on_one_worker(stack: Project, main_job: Any) -> None:
    stack.on_worker(2, f"rm -r {ENVIRONMENT}/lib/python3.12/site-packages/sgl_jax/srt/managers")
    deployed = stack.invoke("deploy", "--json")
    assert deployed.code == 0, deployed.err
    assert deployed.document["attempt"] != main_job["attempt"]
    assert "worker 2  environment  built" in deployed.err
    assert "worker 1  environment  whole" in deployed.err
    assert serves_tokens(deployed.document)


@pytest.mark.usefixtures("main_job")
def test_a_stranger_on_the_port_is_named_and_left_alone(stack: Project) -> None:
    assert stack.invoke("stop").code == 0
    marker = "stranger-on-the-port"
    stack.on_worker(
        3,
        f"mkdir -p {marker} && cd {marker} && "
        "(setsid python3.12 -m http.server 30000 </dev/null >log 2>&1 & echo $! >pid); "
        "until curl -s -o /dev/null http://127.0.0.1:30000/; do sleep 0.1; done",
    )
    refused = stack.invoke("deploy", "--json")
    assert refused.code == 2
    text = str(refused.document["errors"])
    pid = stack.on_worker(3, f"cat {marker}/pid").split()[-1]
    for part in ("port 30000", f"pid {pid}", "user tpu", "http.server 30000"):
        assert part in text
    status = stack.invoke("status", "--json").document["workers"]
    assert {_server(worker)["state"] for worker in status} == {"stopped"}
    assert stack.on_worker(3, f"kill -0 {pid} && echo alive").strip().endswith("alive")
    stack.on_worker(3, f"kill {pid}")
