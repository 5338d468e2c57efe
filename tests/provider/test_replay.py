"""The stand-in does what the official provider was recorded to do: requests, diffs, outputs and errors.

Every recorded scenario is replayed through the real engine, in chains, because each starts from the state
that the one before it left.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.provider.harness import Engine, RecordedApi, recorded_api, request_of
from tests.provider.programs import CHAINS
from toolchain import paths

RECORDING = json.loads(Path(__file__).with_name("data").joinpath("official_provider_recorded.json").read_text())
SCENARIOS: dict[str, dict[str, Any]] = {item["scenario"]: item for item in RECORDING["scenarios"]}

LATER = {
    "queued resource create": "V2QueuedResource comes with queued resources, issue 4/7",
    "queued resource again": "V2QueuedResource comes with queued resources, issue 4/7",
    "queued resource destroy": "V2QueuedResource comes with queued resources, issue 4/7",
}
"""Recorded, and not replayed yet: each with its reason."""


def test_every_recorded_scenario_is_replayed_or_named_as_later_work() -> None:
    replayed = [name for chain in CHAINS.values() for name in chain]
    assert sorted([*replayed, *LATER]) == sorted(SCENARIOS)
    assert len(replayed) == len(set(replayed))


@pytest.mark.parametrize("chain", CHAINS)
def test_the_stand_in_does_as_the_official_provider(chain: str, tmp_path: Path) -> None:
    with recorded_api() as api:
        engine = Engine(tmp_path, paths.load().pulumi / "pulumi", api.endpoint)
        for name in CHAINS[chain]:
            replay(name, engine, api)


def replay(name: str, engine: Engine, api: RecordedApi) -> None:
    recorded = SCENARIOS[name]
    api.expected, api.seen = recorded["http"], []
    outcome = engine.run(recorded["operation"], name)
    assert api.seen == [request_of(exchange) for exchange in recorded["http"]], f"{name}: {outcome.output}"
    assert outcome.error == recorded["error"], name
    assert outcome.events == recorded["events"], name
    assert outcome.summary == recorded["summary"], name
    if recorded["operation"] == "up":
        assert outcome.outputs == recorded["outputs"], name
