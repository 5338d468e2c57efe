"""The real sglang-jax 0.0.2 on CPU: two ranks of two virtual devices, by the plan, the job scripts and the ladder."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines import sglang_jax
from runtime.engines.ladder import RungState, current
from runtime.models.resolve import describe, resolve
from runtime.planner import LaunchPlan, plan_server, slice_shape
from stack.config import ServeConfig, load_stack_config
from stack.errors import MissingPrerequisite
from tests.engines.local_worker import launched, look, watch, workers
from toolchain.paths import load

pytestmark = pytest.mark.engine

MODEL = "tiny:qwen2-28h"
PATIENT = 300.0
"""Seconds; alone on two cores it takes 20, beside other tests much longer."""


@pytest.fixture(scope="module")
def python(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the engine's locked environment, installed from the wheelhouse alone."""
    try:
        toolchain = load(root)
    except MissingPrerequisite as error:
        pytest.skip(f"the engine's wheels are not here: {error}")
    folder = tmp_path_factory.mktemp("engine") / "env"
    lock = root / "runtime" / "engines" / "locks" / "sglang-jax-0.0.2-cpu.txt"
    interpreter = folder / "bin" / "python"
    base = toolchain.python312 / "bin" / "python3.12"
    wheels = ["--offline", "--no-index", "--find-links", str(toolchain.wheelhouse), "--require-hashes", "--no-deps"]
    for command in (
        ["venv", "--quiet", "--python", str(base), str(folder)],
        ["pip", "install", "--quiet", "--python", str(interpreter), *wheels, "--requirements", str(lock)],
    ):
        subprocess.run([str(toolchain.uv), *command], check=True, timeout=300)
    return interpreter


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = resolve(MODEL, tmp_path_factory.mktemp("models")).folder
    assert folder is not None
    return folder


def plan_of(root: Path, devices: int) -> LaunchPlan:
    """Two workers by the local stack's own config, with fewer devices."""
    local = load_stack_config(root, "local").serve
    serve = ServeConfig.model_validate(local.model_dump(by_alias=True) | {"devicesPerWorker": devices})
    return plan_server(slice_shape("v6e-8", workers=2), describe(MODEL), serve)


def test_two_ranks_climb_to_a_token_and_a_killed_scheduler_is_seen(
    root: Path, tmp_path: Path, python: Path, model: Path
) -> None:
    plan = plan_of(root, devices=2)
    assert (plan.tensor_parallel, plan.data_parallel, plan.device_count) == (4, 1, 4)
    ranks = workers(plan, tmp_path, model=model, python=python)
    with launched(ranks):
        reports, facts = watch(ranks, seconds=PATIENT)
        assert {index: current(report) for index, report in reports.items()} == {0: None, 1: None}
        completion = facts[0].completion
        assert completion is not None
        assert completion.tokens == 8
        assert completion.text
        for rank in ranks:
            found = sglang_jax.checks(rank.plan, facts)
            assert all(check.passed for check in found) or rank.index != 0, found
        (scheduler,) = ranks[1].observe().pids("scheduler")
        os.kill(scheduler, signal.SIGKILL)
        report = None
        deadline = time.monotonic() + 60
        while report is None and time.monotonic() < deadline:
            report = current(look(ranks, completion)[0][1])
        assert report is not None
        assert (report.name, report.state) == ("process", RungState.FAILED)
        assert str(scheduler) in report.detail
    for rank in ranks:
        assert rank.observe().processes == ()
        assert rank.observe().listeners == ()


def test_what_the_plan_refuses_the_engine_refuses_for_the_same_reason(
    root: Path, tmp_path: Path, python: Path, model: Path
) -> None:
    plan = plan_of(root, devices=4)
    assert (plan.tensor_parallel, plan.data_parallel) == (4, 2)
    refused = tuple(replace(launch, argv=_with_tp(launch.argv, "8")) for launch in plan.launch)
    ranks = workers(replace(plan, launch=refused), tmp_path, model=model, python=python)
    with launched(ranks):
        reports, _ = watch(ranks, seconds=PATIENT)
        failures = [report for item in reports.values() for report in item if report.state is RungState.FAILED]
    assert failures
    assert failures[0].name == "process"
    assert "Number of attention heads (28) must be divisible by tensor parallel size (8)" in failures[0].detail


def test_the_engine_is_the_version_that_is_planned_for(python: Path) -> None:
    command = [str(python), "-c", "from importlib.metadata import version; print(version('sglang-jax'))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ServeConfig.model_fields["version"].default


def _with_tp(argv: tuple[str, ...], size: str) -> tuple[str, ...]:
    at = argv.index("--tp-size") + 1
    return (*argv[:at], size, *argv[at + 1 :])
