"""What the official provider sent when it was recorded, sent again: our answers have the recorded form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.localcloud.conftest import FakeCloud

RECORDED = Path(__file__).parents[1] / "provider" / "data" / "official_provider_recorded.json"

OURS = ("createTime", "id", "networkEndpoints", "serviceAccount")
"""Made by the server: each has its own."""

MADE_UP_THERE = {
    "after somebody added ssh-keys to metadata: refresh": "the recording server changed the node by itself",
    "node preempted: refresh": "the recording server changed the node by itself",
    "queued resource create": "not in this cloud yet",
    "queued resource destroy": "not in this cloud yet",
}
"""Scenarios whose answers cannot come from the requests alone; those that fail on purpose are told by their status."""


def exchanges() -> list[tuple[str, dict[str, Any]]]:
    scenarios = json.loads(RECORDED.read_text(encoding="utf-8"))["scenarios"]
    return [
        (item["scenario"], exchange)
        for item in scenarios
        if item["scenario"] not in MADE_UP_THERE
        and "fails" not in item["scenario"]
        and "then destroy" not in item["scenario"]
        for exchange in item["http"]
    ]


def plain(node: dict[str, Any]) -> dict[str, Any]:
    """The node without what each server makes itself, and without zeros, which the JSON of protos leaves out."""
    kept = {key: value for key, value in node.items() if key not in OURS}
    kept["networkConfig"] = {key: value for key, value in node["networkConfig"].items() if value}
    kept["schedulingConfig"] = {key: value for key, value in node["schedulingConfig"].items() if value}
    # The recording server knew no types: a node asked for by its topology stayed the default v2-8 there.
    if kept["acceleratorType"] == "v2-8":
        kept["acceleratorType"] = "v6e-16"
    return kept


@pytest.mark.skipif(not RECORDED.exists(), reason="the recording is not in this checkout")
def test_the_recorded_calls_get_answers_of_the_recorded_form(fake_cloud: FakeCloud) -> None:
    client = fake_cloud.client
    operations: dict[str, str] = {}
    nodes = 0
    for scenario, exchange in exchanges():
        path = operations.get(exchange["path"], exchange["path"]).removeprefix("/v2alpha1/")
        answer = client.call(exchange["method"], path, exchange["body"], exchange["status"], **exchange["query"])
        expected = exchange["response"]
        if "/operations/" in str(expected.get("name", "")):
            operations[f"/v2alpha1/{expected['name']}"] = f"/v2alpha1/{answer['name']}"
            done = client.wait(answer)
            assert set(answer) >= {"name", "metadata", "done"}
            assert answer["metadata"]["@type"] == expected["metadata"]["@type"], scenario
            if "health" in done.get("response", {}):
                raise AssertionError(f"{scenario}: an operation's node has no health yet")
        elif "/nodes/" in str(expected.get("name", "")):
            nodes += 1
            assert plain(answer) == plain(expected), scenario
            assert set(answer) == set(expected), scenario
            assert [set(item) for item in answer["networkEndpoints"]] == [
                set(item) for item in expected["networkEndpoints"]
            ]
            if exchange["path"].endswith("/n") and "email" in expected["serviceAccount"]:
                assert answer["serviceAccount"]["scope"] == expected["serviceAccount"]["scope"], scenario
        else:
            (key,) = expected
            for item in expected[key]:
                assert item in answer[key], scenario
    assert nodes >= 6
