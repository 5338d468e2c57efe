"""What a slice really is decides: held against the stack before anything is touched."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runtime.cloud.slice import LiveSlice, LiveWorker
from runtime.evidence import evidence_folder, write_evidence
from runtime.progress import Silent
from runtime.serving.planning import intend, plan_for
from runtime.serving.record import parse_plan, plan_bytes
from runtime.verdict import Check, RungResult, Verdict, WorkerVerdict
from stack.config import StackConfig, parse_stack_config
from stack.errors import BadInput, NotVerified


def config_of(accelerator_type: str, **serve: Any) -> StackConfig:
    return parse_stack_config(
        "local",
        {
            "gcp:project": "p",
            "gcp:zone": "us-east5-b",
            "tpu-stack:acceleratorType": accelerator_type,
            "tpu-stack:serve": {
                "model": "tiny:qwen2-28h",
                "device": "cpu",
                "environment": "sglang-jax-0.0.2-cpu",
                "flags": {"max-total-tokens": 4096},
                **serve,
            },
        },
    )


def slice_of(accelerator_type: str, workers: int) -> LiveSlice:
    return LiveSlice(
        node_id="n",
        name="projects/p/locations/us-east5-b/nodes/n",
        id="1",
        state="READY",
        health="HEALTHY",
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
        runtime_version="v6e-ubuntu-2404",
        accelerator_type=accelerator_type,
        workers=tuple(LiveWorker(index, f"10.0.0.{index}") for index in range(workers)),
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_both_layouts_of_a_v6e_8_are_planned_as_the_api_lists_them(workers: int, tmp_path: Path) -> None:
    intent = intend(config_of("v6e-8"), tmp_path)
    plan = plan_for(intent, slice_of("v6e-8", workers), Silent())
    assert (plan.worker_count, plan.process_count, plan.device_count, len(plan.launch)) == (
        workers,
        workers,
        8,
        workers,
    )


@pytest.mark.parametrize("workers", [1, 3, 5])
def test_another_number_of_workers_than_the_type_has_names_both(workers: int, tmp_path: Path) -> None:
    intent = intend(config_of("v6e-16"), tmp_path)
    with pytest.raises(NotVerified, match=f"lists {workers} workers, a v6e-16 has 4"):
        plan_for(intent, slice_of("v6e-16", workers), Silent())


def test_a_slice_of_another_type_names_both(tmp_path: Path) -> None:
    intent = intend(config_of("v6e-16"), tmp_path)
    with pytest.raises(NotVerified, match="is a v6e-32, the stack declares v6e-16"):
        plan_for(intent, slice_of("v6e-32", 8), Silent())


@pytest.mark.parametrize(
    ("serve", "part"),
    [
        ({"environment": "nosuch"}, "sglang-jax-0.0.2-cpu"),
        ({"model": "/nosuch/folder"}, "/nosuch/folder"),
        ({"model": "tiny:nosuch"}, "nosuch"),
        ({"flags": {"tp-size": 8}}, "tp-size"),
    ],
)
def test_what_cannot_be_served_is_refused_without_a_slice(serve: dict[str, Any], part: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        intend(config_of("v6e-16", **serve), tmp_path)
    assert part in str(caught.value)


def test_a_plan_read_back_from_a_worker_is_the_plan_that_was_launched(tmp_path: Path) -> None:
    intent = intend(config_of("v6e-16"), tmp_path)
    plan = plan_for(intent, slice_of("v6e-16", 4), Silent())
    assert parse_plan(json.loads(plan_bytes(plan))) == plan
    assert plan_bytes(plan) == plan_bytes(replace(plan))
    with pytest.raises(KeyError):
        parse_plan({"engine": "sglang-jax"})


def verdict_of(*, rung: bool = True, check: bool = True) -> Verdict:
    worker = WorkerVerdict(0, "running", "LAUNCHED", (RungResult("http", rung, 1.0, "x"),))
    return Verdict("server-llm", "A", "10.0.0.1:1", "v", 4, 4, (worker,), (Check("health", check, "y"),))


def test_verified_needs_every_rung_and_every_check_and_some_of_each() -> None:
    assert verdict_of().verified
    assert not verdict_of(rung=False).verified
    assert not verdict_of(check=False).verified
    assert not replace(verdict_of(), checks=()).verified
    assert not replace(verdict_of(), workers=()).verified


def test_the_evidence_holds_verdict_plan_slice_and_logs(tmp_path: Path) -> None:
    folder = evidence_folder(tmp_path, "local", "server-llm", "A")
    kept = write_evidence(folder, verdict_of(), plan={"a": 1}, slice_={"b": 2}, logs={3: "line\n"})
    assert kept.evidence == str(folder)
    assert json.loads((folder / "verdict.json").read_text())["verified"] is True
    assert (folder / "worker-3.log").read_text() == "line\n"
    assert {path.name for path in folder.iterdir()} == {"verdict.json", "plan.json", "slice.json", "worker-3.log"}
