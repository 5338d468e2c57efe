"""The rungs over what the real engine showed: fixtures are recorded runs of two ranks of two devices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.engines import sglang_jax
from runtime.engines.completion import Answer, Completion
from runtime.engines.ladder import Rung, RungReport, RungState, climb, current, failed, passed, pending
from runtime.engines.observation import Holder, Listener, Observation, parse_observation
from runtime.engines.sglang_jax_rungs import Facts, reason
from runtime.models.resolve import describe
from runtime.planner import LaunchPlan, plan_server, slice_shape
from stack.config import ServeConfig

FIXTURES = Path(__file__).parent / "fixtures"
GENERATED = Completion(Answer.GENERATED, "nn", 2, 1.0, "2 tokens in 1.0 s: 'nn'")


def plan_of(devices: int = 2, **values: Any) -> LaunchPlan:
    serve = ServeConfig.model_validate(
        {"model": "tiny:qwen2-28h", "device": "cpu", "devicesPerWorker": devices, **values}
    )
    return plan_server(slice_shape("v6e-8", workers=2), describe("tiny:qwen2-28h"), serve)


PLAN = plan_of()


def seen(case: str, worker: int) -> Observation:
    return parse_observation((FIXTURES / case / f"observation-{worker}.json").read_text())


def stand(
    observation: Observation | None, worker: int = 0, completion: Completion | None = GENERATED, plan: LaunchPlan = PLAN
) -> RungReport | None:
    return current(climb(sglang_jax.ladder(plan), worker, Facts(worker, observation, "no answer", completion)))


def test_a_server_that_is_up_is_at_the_top_on_every_worker() -> None:
    assert stand(seen("up", 0), 0) is None
    assert stand(seen("up", 1), 1) is None


def test_the_rungs_are_those_of_the_design_in_order() -> None:
    names = [rung.name for rung in sglang_jax.ladder(PLAN)]
    assert names == ["reachable", "gates", "environment", "process", "rendezvous", "devices", "http", "token"]
    assert all(rung.patience > 0 for rung in sglang_jax.ladder(PLAN))


def test_without_a_token_it_is_not_up() -> None:
    report = stand(seen("up", 0), completion=None)
    assert report is not None
    assert (report.name, report.state) == ("token", RungState.PENDING)
    refused = stand(seen("up", 0), completion=Completion(Answer.REFUSED, detail="an empty completion"))
    assert refused is not None
    assert refused.state is RungState.FAILED


def test_a_worker_that_is_not_reached_is_pending_with_the_reason() -> None:
    report = stand(None)
    assert report == RungReport("reachable", 0, RungState.PENDING, "no answer")


@pytest.mark.parametrize("worker", [0, 1])
def test_heads_that_tp_does_not_divide_fail_in_the_engine_s_own_words(worker: int) -> None:
    report = stand(seen("heads-not-divisible", worker), worker, plan=plan_of(4))
    assert report is not None
    assert (report.name, report.state) == ("process", RungState.FAILED)
    assert "exit code 137" in report.detail
    assert "(28) must be divisible by tensor parallel size (8). Got remainder: 4" in report.detail


def test_a_launcher_whose_scheduler_was_killed_is_failed_although_health_is_200() -> None:
    observation = seen("scheduler-killed", 1)
    assert observation.health == 200
    report = stand(observation, 1)
    assert report is not None
    assert (report.name, report.state) == ("process", RungState.FAILED)
    assert "has died and left the launcher" in report.detail
    # Rank 0 cannot know yet: its own look is fine, so the whole slice must be asked.
    assert stand(seen("scheduler-killed", 0), 0) is None


def test_a_stranger_on_the_port_is_named_and_fired_up_is_no_success() -> None:
    observation = seen("port-in-use", 0)
    assert "fired_up" in observation.marks
    report = stand(observation)
    assert report is not None
    assert (report.name, report.state) == ("gates", RungState.FAILED)
    assert "http.server" in report.detail
    assert "pid" in report.detail
    assert "Errno 98" in reason(observation)


def test_health_200_from_a_stranger_is_never_health() -> None:
    up = seen("up", 0)
    stranger = Listener(30000, ours=False, holder=Holder(4242, "eve", "nginx"))
    fooled = replace(up, listeners=(stranger,))
    assert fooled.health == 200
    report = stand(fooled)
    assert report is not None
    assert report.state is RungState.FAILED
    assert "pid 4242 of eve: nginx" in report.detail
    health = next(check for check in sglang_jax.checks(PLAN, {0: Facts(0, fooled)}) if check.name == "health")
    assert not health.passed


def test_a_socket_whose_owner_is_hidden_is_no_health_either() -> None:
    up = seen("up", 0)
    hidden = replace(up, listeners=(Listener(30000, ours=False, holder=Holder(None, "", "")),))
    report = stand(hidden)
    assert report is not None
    assert "may not see" in report.detail


def test_a_rank_that_waits_for_another_is_pending_at_the_rendezvous() -> None:
    report = stand(seen("rank-missing", 0))
    assert report is not None
    assert (report.name, report.state) == ("rendezvous", RungState.PENDING)
    assert "waits for the others of 2 ranks" in report.detail


def test_rank_0_s_mark_is_not_taken_for_a_worker_s() -> None:
    up = seen("up", 0)
    report = stand(up, worker=1)
    assert report is not None
    assert report.name == "rendezvous"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"process_count": 1, "device_count": 2}, "1 processes, 2 devices"),
        ({"platform": "gpu"}, "gpu"),
        ({"local_device_count": 1}, "1 here"),
    ],
)
def test_devices_other_than_the_plan_s_fail_with_both_sides(changes: dict[str, Any], said: str) -> None:
    up = seen("up", 0)
    assert up.devices is not None
    report = stand(replace(up, devices=replace(up.devices, **changes)))
    assert report is not None
    assert (report.name, report.state) == ("devices", RungState.FAILED)
    assert said in report.detail
    assert "the plan says cpu with 2 processes, 4 devices, 2 here" in report.detail


def test_devices_that_were_not_recorded_are_awaited_unless_the_shim_gave_up() -> None:
    up = replace(seen("up", 0), devices=None)
    report = stand(up)
    assert report is not None
    assert (report.name, report.state) == ("devices", RungState.PENDING)
    gave_up = replace(up, marks={**up.marks, "shim_failed": "[tpu-stack shim] could not patch x"})
    report = stand(gave_up)
    assert report is not None
    assert report.state is RungState.FAILED


@pytest.mark.parametrize(
    ("changes", "name", "state", "said"),
    [
        ({"disk_free_mib": 10}, "gates", "failed", "10 MiB"),
        ({"chip_holders": (Holder(7, "bob", "python train.py"),)}, "gates", "failed", "pid 7 of bob"),
        ({"python_runs": False}, "environment", "failed", "bootstrap again"),
        ({"python": ""}, "environment", "pending", "nothing"),
        ({"started": False, "processes": ()}, "process", "pending", "not started"),
        ({"processes": (), "supervised": False}, "process", "failed", "nobody recorded"),
        ({"exit_code": 2, "errors": ("launch_server.py: error: bad",)}, "process", "failed", "error: bad"),
        ({"exit_code": 0}, "process", "failed", "exit code 0"),
        ({"health": 0}, "http", "pending", "answers nothing"),
        ({"health": 503}, "http", "pending", "503"),
        ({"listeners": ()}, "http", "pending", "nothing of this attempt"),
    ],
)
def test_each_rung_says_why(changes: dict[str, Any], name: str, state: str, said: str) -> None:
    report = stand(replace(seen("up", 0), **changes))
    assert report is not None
    assert (report.name, str(report.state)) == (name, state)
    assert said in report.detail


def test_an_exception_in_the_log_fails_even_while_everything_is_alive() -> None:
    up = seen("up", 0)
    report = stand(replace(up, marks={**up.marks, "scheduler_exception": "x"}, errors=("ValueError: boom",)))
    assert report is not None
    assert "ValueError: boom" in report.detail


def test_one_worker_has_nobody_to_meet() -> None:
    serve = ServeConfig.model_validate({"model": "tiny:qwen2-28h", "device": "cpu"})
    single = plan_server(slice_shape("v6e-4"), describe("tiny:qwen2-28h"), serve)
    marks = {name: line for name, line in seen("up", 0).marks.items() if name not in ("publisher", "begins")}
    report = stand(replace(seen("up", 0), marks=marks), plan=single)
    assert report is not None
    assert report.name == "devices"


def test_above_a_rung_that_has_not_passed_all_wait_for_it() -> None:
    rungs = (
        Rung[int]("a", 1.0, lambda _: passed("x")),
        Rung[int]("b", 1.0, lambda value: failed("y") if value else pending("z")),
        Rung[int]("c", 1.0, lambda _: passed("never looked at")),
    )
    assert [report.state for report in climb(rungs, 0, 1)] == ["passed", "failed", "pending"]
    assert climb(rungs, 0, 0)[2].detail == "waits for b"


def test_the_four_checks_have_names_and_pass_only_together_with_evidence() -> None:
    facts = {worker: Facts(worker, seen("up", worker), completion=GENERATED) for worker in (0, 1)}
    found = sglang_jax.checks(PLAN, facts)
    assert [check.name for check in found] == ["health", "launchers", "rendezvous", "completion"]
    assert all(check.passed for check in found)
    lone = sglang_jax.checks(PLAN, {0: facts[0]})
    assert not next(check for check in lone if check.name == "launchers").passed
    assert "not on 1" in next(check for check in lone if check.name == "launchers").detail
    assert not any(check.passed for check in sglang_jax.checks(PLAN, {}))


def test_our_own_looks_are_no_progress() -> None:
    observation = seen("up", 0)
    assert 0 < observation.log_growth < observation.log_bytes
    assert sglang_jax.progress_of(Facts(0, observation)) == observation.log_growth
    assert sglang_jax.progress_of(Facts(0)) == 0


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"time": 1}', "REFUSED"])
def test_what_is_no_observation_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"observation|JSON|Expecting"):
        parse_observation(text)


def test_the_command_line_reaches_the_worker_as_data() -> None:
    launch = replace(PLAN.launch[0], argv=("/x/python", "a b", "$(touch /tmp/never)", "it's"))
    files = sglang_jax.job_files(launch)
    assert files["argv"] == b"/x/python\0a b\0$(touch /tmp/never)\0it's\0"
    assert b"meta_path" in files["shim/sitecustomize.py"]
    assert "exec" in sglang_jax.run_script()


def test_the_rendezvous_port_is_looked_at_on_worker_0_only() -> None:
    assert sglang_jax.observe_arguments(PLAN, 0, "/a") == ("/a", "30000", "5000")
    assert sglang_jax.observe_arguments(PLAN, 1, "/a") == ("/a", "30000")


def test_fixtures_hold_no_path_of_the_machine_that_recorded_them() -> None:
    for path in FIXTURES.rglob("*"):
        if path.is_file():
            assert "/root" not in path.read_text()
            if path.suffix == ".json":
                json.loads(path.read_text())
