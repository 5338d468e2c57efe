"""The whole line on the embedded cloud's workers: API, login key, pinned host keys, jobs as an ordinary user."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from localcloud import control
from runtime.cloud import LiveSlice, TpuApi
from runtime.jobs import (
    Answer,
    Gates,
    JobSpec,
    Lease,
    State,
    check_gates,
    launch_gang,
    log_tail,
    new_attempt,
    status,
    stop,
)
from runtime.jobs.bootstrap import check_environment, ensure_environment, locked_environment
from runtime.keys import login_key
from runtime.transport import Fleet, open_fleet
from runtime.transport.host_keys import KnownHosts

pytestmark = pytest.mark.cloud

MODULES = ("sgl_jax",)


@dataclass
class Site:
    """A cloud with a slice of four workers, and the settings of one user of the tool."""

    folder: Path
    info: control.CloudInfo
    api: TpuApi
    slice: LiveSlice

    def fleet(self) -> Fleet:
        pins = KnownHosts(self.folder / "known_hosts")
        key = login_key(self.folder / "id")
        return open_fleet(self.slice, user="tpu", route="internal", key=key, known_hosts=pins)


def wheelhouse() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tpu-stack/wheelhouse"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    if os.geteuid() != 0:
        pytest.skip("needs root: workers are network namespaces")
    folder = Path(tempfile.mkdtemp(prefix="tpu-stack-jobs-"))
    state = folder / "cloud"
    wheels = wheelhouse() if wheelhouse().is_dir() else None
    info = control.start(state, wheelhouse=wheels, python_prefix=Path(sys.base_prefix))
    saved = dict(os.environ)
    try:
        os.environ.update(control.environment(info))
        api = TpuApi("local", "us-east5-b")
        _create(info, api)
        found = api.find_slice("jobs")
        assert api.ensure_ssh_key(found, "tpu", login_key(folder / "id").public)
        yield Site(folder, info, api, found)
    finally:
        os.environ.clear()
        os.environ.update(saved)
        control.stop(state)
        shutil.rmtree(folder, ignore_errors=True)


def _create(info: control.CloudInfo, api: TpuApi) -> None:
    node = {
        "acceleratorType": "v6e-16",
        "runtimeVersion": "v6e-ubuntu-2404",
        "labels": {"tpu-stack": "jobs"},
    }
    headers = {"Authorization": f"Bearer {os.environ['GOOGLE_OAUTH_ACCESS_TOKEN']}"}
    url = f"{info.url}/v2/{api.parent}/nodes"
    created = httpx.post(url, params={"nodeId": "jobs"}, json=node, headers=headers, timeout=60)
    assert created.status_code == 200, created.text
    deadline = time.monotonic() + 120
    while True:
        found = httpx.get(f"{url}/jobs", headers=headers, timeout=60).json()
        if found["state"] == "READY":
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def job(attempt: str, worker: int, script: str) -> JobSpec:
    return JobSpec(kind="run", name="t", attempt=attempt, run_script=script, env={"RANK": str(worker)})


def test_a_gang_runs_as_an_ordinary_user_and_is_stopped(site: Site) -> None:
    with site.fleet() as fleet:
        assert fleet.workers == (0, 1, 2, 3)
        attempt = new_attempt()
        script = 'echo "rank $RANK as $(id -un) on $(hostname)"; sleep 301 & exec sleep 300'
        with Lease(fleet[0], attempt) as lease:
            gang = launch_gang(fleet, {worker: job(attempt, worker, script) for worker in fleet.workers})
            lease.check()
        assert gang.check().ok
        again = launch_gang(fleet, {worker: job(attempt, worker, script) for worker in fleet.workers})
        assert {ack.answer for ack in again.acks.values()} == {Answer.ALREADY_RUNNING}
        assert log_tail(fleet[0], "run-t").startswith("rank 0 as tpu on ")
        found = {worker: outcome.get() for worker, outcome in status(fleet, "run-t").items()}
        assert {report.state for report in found.values()} == {State.RUNNING}
        assert {report.members for report in found.values()} == {2}
        stopped = stop(fleet, "run-t")
        assert all(outcome.get().was_running and not outcome.get().killed for outcome in stopped.values())
        assert not fleet[0].run(["pgrep", "-x", "sleep"]).ok


def test_a_stranger_of_another_user_on_the_port_is_named(site: Site) -> None:
    with site.fleet() as fleet:
        server = "import socket,time; s=socket.create_server(('0.0.0.0',30000)); time.sleep(20)"
        held = ["sudo", "-n", "setsid", "-f", "/opt/python3.12/bin/python3.12", "-c", server]
        fleet[0].run(["sh", "-c", 'exec "$@" </dev/null >/dev/null 2>&1', "sh", *held]).check()
        deadline = time.monotonic() + 10
        while True:
            report = check_gates(fleet, dict.fromkeys(fleet.workers, Gates(ports=(30000,))))
            if not report[0].get().passed or time.monotonic() > deadline:
                break
        (blocker,) = report[0].get().blockers
        assert (blocker.user, blocker.argv[0]) == ("root", "/opt/python3.12/bin/python3.12")
        assert "worker=0: port 30000: held by pid" in str(blocker.error())
        assert all(report[worker].get().passed for worker in fleet.workers if worker)
        fleet[0].run(["sudo", "-n", "kill", str(blocker.pid)]).check()


def test_a_worker_that_comes_back_with_its_home_emptied_is_served_anew(site: Site) -> None:
    with site.fleet() as fleet:
        fleet[0].run(["sh", "-c", "rm -rf ~/.tpu-stack"]).check()
        attempt = new_attempt()
        assert launch_gang(fleet, {0: job(attempt, 0, "true")}).check().ok
        stop(fleet, "run-t", workers=[0])


@pytest.mark.long
def test_the_engine_s_environment_is_built_on_every_worker_and_mended_on_one(site: Site) -> None:
    environment = locked_environment("sglang-jax-0.0.2-cpu", wheelhouse="/opt/wheelhouse", modules=MODULES)
    with site.fleet() as fleet:
        built = {worker: outcome.get() for worker, outcome in ensure_environment(fleet, environment).items()}
        assert all(report.ready and report.built for report in built.values())
        print({worker: round(report.seconds, 1) for worker, report in built.items()})  # noqa: T201
        last = fleet.workers[-1]
        package = f".tpu-stack/envs/{environment.folder}/lib/python3.12/site-packages/sgl_jax"
        fleet[last].run(["sh", "-c", f"rm {package}/launch_server.py"]).check()
        report = check_environment(fleet, environment)
        assert "launch_server.py is missing" in report[last].get().why
        mended = ensure_environment(fleet, environment)
        assert [mended[worker].get().built for worker in fleet.workers] == [worker == last for worker in fleet.workers]
