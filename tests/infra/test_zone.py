"""What the zone offers decides, while previewing, and the errors say what it does offer."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks

from infra.zone import Offer, confirm_offer
from stack.config import StackConfig, parse_stack_config
from stack.errors import BadInput, CloudFailed
from tests.infra.conftest import AsProgram

TYPES = ["v5litepod-4", "v5litepod-16", *(f"v6e-{size}" for size in (1, 4, 8, 16, 32, 64, 128, 256))]
VERSIONS = ["tpu-ubuntu2204-base", "v2-alpha-tpuv5-lite", "v2-alpha-tpuv6e", "v6e-ubuntu-2404"]


class Zone(Mocks):
    """Lists what it is given; ``failing`` answers as the provider does when the API refuses."""

    def __init__(self, types: list[str] = TYPES, versions: list[str] = VERSIONS, *, failing: bool = False) -> None:
        self.types, self.versions, self.failing = types, versions, failing
        self.asked: list[MockCallArgs] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise AssertionError(f"asking makes nothing: {args.name}")

    def call(self, args: MockCallArgs) -> dict[str, Any] | tuple[dict[str, Any], list[tuple[str, str]]]:
        self.asked.append(args)
        if self.failing:
            return {}, [("", "googleapi: Error 403: Cloud TPU API has not been used in project p before")]
        return {"types": self.types} if "AcceleratorTypes" in args.token else {"versions": self.versions}


def config(**values: Any) -> StackConfig:
    given = {"gcp:project": "p", "gcp:zone": "us-east5-b", "acceleratorType": "v6e-16", **values}
    return parse_stack_config("test", given)


def ask(as_program: AsProgram, zone: Zone, **values: Any) -> Offer:
    return as_program(zone, lambda: confirm_offer(config(**values)), preview=True)


def refusal(as_program: AsProgram, zone: Zone, **values: Any) -> BadInput:
    with pytest.raises(BadInput) as caught:
        ask(as_program, zone, **values)
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_preferred_runtime_is_taken_where_the_zone_has_it(
    as_program: AsProgram, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    zone = Zone()
    assert ask(as_program, zone) == Offer("v6e-16", "v6e-ubuntu-2404", confirmed=True)
    assert "runtime_version=v6e-ubuntu-2404" in caplog.messages
    assert [call.args for call in zone.asked] == [{"project": "p", "zone": "us-east5-b"}] * 2


@pytest.mark.parametrize(
    ("kind", "versions", "chosen"),
    [
        ("v6e-16", ["v2-alpha-tpuv6e", "v2-alpha-tpuv5"], "v2-alpha-tpuv6e"),
        ("v5litepod-16", VERSIONS, "v2-alpha-tpuv5-lite"),
    ],
)
def test_the_runtime_follows_the_family_and_the_zone(
    as_program: AsProgram, kind: str, versions: list[str], chosen: str
) -> None:
    assert ask(as_program, Zone(versions=versions), acceleratorType=kind).runtime_version == chosen


def test_a_runtime_of_the_user_s_own_must_be_offered_too(as_program: AsProgram) -> None:
    assert ask(as_program, Zone(), runtimeVersion="v2-alpha-tpuv6e").runtime_version == "v2-alpha-tpuv6e"
    error = refusal(as_program, Zone(), runtimeVersion="v2-alpha-tpuv9")
    assert (error.key, error.value) == ("tpu-stack:runtimeVersion", "v2-alpha-tpuv9")
    assert "v2-alpha-tpuv6e" in error.cure


def test_a_zone_without_any_fitting_runtime_says_what_it_has(as_program: AsProgram) -> None:
    error = refusal(as_program, Zone(versions=["v2-alpha-tpuv5"]))
    assert error.value == "v6e-ubuntu-2404 or v2-alpha-tpuv6e"
    assert "v2-alpha-tpuv5" in error.cure


def test_a_type_that_the_zone_lacks_fails_with_what_it_offers_and_where_else_to_go(as_program: AsProgram) -> None:
    line = str(refusal(as_program, Zone(), acceleratorType="v5p-16"))
    assert line.startswith("tpu-stack:acceleratorType=v5p-16: zone us-east5-b does not offer it")
    assert "v6e-16" in line
    assert "us-central1-a" in line


def test_the_nearest_types_come_first(as_program: AsProgram) -> None:
    error = refusal(as_program, Zone(types=["v5p-8", "v6e-8", "v6e-1", "v6e-4"]))
    assert "It offers v6e-1, v6e-4, v6e-8, v5p-8." in error.cure


def test_a_zone_without_tpus_says_so(as_program: AsProgram) -> None:
    assert "no TPU at all" in refusal(as_program, Zone(types=[])).cure


def test_an_unknown_type_is_refused_before_the_zone_is_asked(as_program: AsProgram) -> None:
    zone = Zone()
    assert refusal(as_program, zone, acceleratorType="v6e-17").value == "v6e-17"
    assert zone.asked == []


def test_without_confirmation_nothing_is_asked_and_that_is_said_aloud(
    as_program: AsProgram, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    zone = Zone(types=[], versions=[])
    assert ask(as_program, zone, confirmRuntime=False) == Offer("v6e-16", "v6e-ubuntu-2404", confirmed=False)
    assert zone.asked == []
    assert any("tpu-stack:confirmRuntime=false" in message for message in caplog.messages)
    assert "runtime_version=v6e-ubuntu-2404" in caplog.messages


def test_lists_that_cannot_be_read_are_the_cloud_s_failure_in_one_line(as_program: AsProgram) -> None:
    with pytest.raises(CloudFailed) as caught:
        ask(as_program, Zone(failing=True))
    assert "Cloud TPU API has not been used in project p before" in caught.value.why
    assert "confirmRuntime" in caught.value.cure
    assert "\n" not in str(caught.value)
