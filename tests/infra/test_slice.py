"""The slice component: what it asks the cloud for, and what it tells people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pytest
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks

from infra.slice import METADATA_KEYS, OPEN_FILES_KEY, STARTUP_SCRIPT, Slice, SliceArgs
from stack.config import StackConfig, parse_stack_config
from tests.infra.conftest import AsProgram

ENDPOINTS = [{"ipAddress": f"10.0.0.{index}", "port": 8470} for index in range(4)]


class Cloud(Mocks):
    """Gives every node four workers and remembers what it was asked."""

    def __init__(self) -> None:
        self.made: list[MockResourceArgs] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.made.append(args)
        return f"id-of-{args.name}", {**args.inputs, "networkEndpoints": ENDPOINTS, "state": "READY"}

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the component asks the cloud nothing while it is built: {args.token}")


def config(**values: Any) -> StackConfig:
    given = {"gcp:project": "p", "gcp:zone": "us-east5-b", "acceleratorType": "v6e-16", **values}
    return parse_stack_config("test", given)


def build(**values: Any) -> Callable[[], pulumi.Output[Any]]:
    """A program with the slice of such a stack; it results in the slice's summary."""
    args = SliceArgs.from_config(config(**values), runtime_version="v6e-ubuntu-2404")
    return lambda: Slice("slice", args).summary


def node_inputs(as_program: AsProgram, *, preview: bool = False, **values: Any) -> dict[str, Any]:
    """What the cloud is asked for."""
    cloud = Cloud()
    as_program(cloud, build(**values), preview=preview)
    (node,) = [item for item in cloud.made if item.typ == "gcp:tpu/v2Vm:V2Vm"]
    return dict(node.inputs)


def test_a_slice_is_one_node_of_the_stack(as_program: AsProgram) -> None:
    inputs = node_inputs(as_program, labels={"owner": "me"})
    assert inputs["name"] == "tpu-stack-test"
    assert (inputs["project"], inputs["zone"]) == ("p", "us-east5-b")
    assert inputs["acceleratorType"] == "v6e-16"
    assert inputs["runtimeVersion"] == "v6e-ubuntu-2404"
    assert inputs["labels"] == {"owner": "me", "tpu-stack": "test"}


def test_the_stack_s_own_label_wins_over_the_user_s(as_program: AsProgram) -> None:
    assert node_inputs(as_program, labels={"tpu-stack": "somebody-else"})["labels"] == {"tpu-stack": "test"}


def test_blocks_that_would_only_say_false_are_left_out(as_program: AsProgram) -> None:
    inputs = node_inputs(as_program)
    assert "networkConfig" not in inputs
    assert "schedulingConfig" not in inputs


@pytest.mark.parametrize(
    ("values", "block", "expected"),
    [
        ({"spot": True}, "schedulingConfig", {"spot": True}),
        ({"reserved": True}, "schedulingConfig", {"reserved": True}),
        ({"network": {"externalIps": True}}, "networkConfig", {"enableExternalIps": True}),
        (
            {"network": {"network": "projects/p/global/networks/vpc"}},
            "networkConfig",
            {"network": "projects/p/global/networks/vpc"},
        ),
    ],
)
def test_a_block_says_what_is_asked_and_no_more(
    as_program: AsProgram, values: dict[str, Any], block: str, expected: dict[str, Any]
) -> None:
    assert node_inputs(as_program, **values)[block] == expected


def test_metadata_holds_our_keys_only_and_the_script_as_it_is_in_its_file(as_program: AsProgram) -> None:
    metadata = node_inputs(as_program)["metadata"]
    assert set(metadata) == set(METADATA_KEYS)
    assert metadata["startup-script"] == STARTUP_SCRIPT.read_text()
    assert metadata[OPEN_FILES_KEY].isdigit()


def test_a_slice_on_cpu_leaves_the_machine_s_kernel_alone(as_program: AsProgram) -> None:
    assert "tpu-stack-huge-pages" not in node_inputs(as_program, serve={"device": "cpu"})["metadata"]


def test_the_summary_counts_the_workers_that_the_api_lists(as_program: AsProgram) -> None:
    assert as_program(Cloud(), build(labels={"owner": "me"})) == {
        "name": "tpu-stack-test",
        "id": "id-of-slice",
        "project": "p",
        "zone": "us-east5-b",
        "accelerator_type": "v6e-16",
        "runtime_version": "v6e-ubuntu-2404",
        "workers": 4,
        "labels": {"owner": "me", "tpu-stack": "test"},
        "state": "READY",
    }


def test_a_preview_asks_for_the_same_and_knows_no_summary_yet(as_program: AsProgram) -> None:
    class Preview(Cloud):
        def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
            self.made.append(args)
            return None, dict(args.inputs)

    assert as_program(Preview(), build(), preview=True) is None
    assert node_inputs(as_program, preview=True) == node_inputs(as_program)
