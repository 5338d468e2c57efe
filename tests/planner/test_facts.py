from __future__ import annotations

import pytest

from runtime import facts
from stack.errors import BadInput


def test_every_row_has_a_source() -> None:
    assert all(item.source for item in facts.accelerator_types().values())
    assert all(item.source for item in facts.families().values())


def test_chips_are_workers_times_chips_per_worker() -> None:
    for item in facts.accelerator_types().values():
        assert item.chips == item.workers * item.chips_per_worker, item.name


def test_the_number_in_a_name_counts_chips_or_tensorcores() -> None:
    for item in facts.accelerator_types().values():
        number = int(item.name.rpartition("-")[2])
        per_chip = 1 if item.family.counts == "chips" else item.family.tensorcores_per_chip
        assert number == item.chips * per_chip, item.name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v6e-12", "v6e-16"),
        ("v5e-8", "v5litepod-8"),
        ("v6-16", "v6e-16"),
        ("H100", "v6e-N"),
        ("", "v6e-N"),
        ("tpu7x-8", "GKE"),
        ("tpu7x-3", "GKE"),
    ],
)
def test_an_unknown_or_refused_type_names_the_way_out(name: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        facts.accelerator_type(name)
    assert said in str(caught.value)
    assert caught.value.key == "tpu-stack:acceleratorType"
    assert caught.value.cure


def test_v6e_prefers_the_image_seen_in_the_field_then_googles_own() -> None:
    assert facts.runtime_preferences("v6e") == ("v6e-ubuntu-2404", "v2-alpha-tpuv6e")
    assert facts.choose_runtime("v6e") == "v6e-ubuntu-2404"
    assert facts.choose_runtime("v6e", ["tpu-ubuntu2204-base", "v2-alpha-tpuv6e"]) == "v2-alpha-tpuv6e"


def test_each_v5_family_has_its_own_image() -> None:
    assert facts.choose_runtime("v5e") != facts.choose_runtime("v5p")


def test_a_runtime_the_zone_lacks_is_refused_with_what_it_offers() -> None:
    with pytest.raises(BadInput, match="tpu-ubuntu2204-base") as caught:
        facts.choose_runtime("v6e", ["tpu-ubuntu2204-base"])
    assert caught.value.value == "v6e-ubuntu-2404 or v2-alpha-tpuv6e"
    with pytest.raises(BadInput, match="v2-alpha-tpuv6e"):
        facts.choose_runtime("v6e", ["v2-alpha-tpuv6e"], "tpu-ubuntu2204-base")
    with pytest.raises(BadInput, match="no runtime version at all"):
        facts.choose_runtime("v6e", [])


def test_an_override_nobody_confirms_is_taken() -> None:
    assert facts.choose_runtime("v6e", None, "my-image") == "my-image"


def test_zones_list_their_families_types_and_runtimes() -> None:
    assert "us-east5-b" in facts.zones_with("v6e")
    assert "v6e-16" in facts.accelerator_types_in("us-east5-b")
    assert "v6e-ubuntu-2404" in facts.runtime_versions_in("us-east5-b")
    assert facts.accelerator_types_in("us-central1-c")[0] == "v2-8"
    assert "v2-32" not in facts.accelerator_types_in("us-central1-c")
    assert facts.accelerator_types_in("moon-1-a") == ()


def test_prices_are_by_zone_then_region_then_unknown() -> None:
    east = facts.price("v6e", "us-east5-b")
    assert east is not None
    assert east.on_demand == 2.7
    assert east.spot == 1.27575
    assert facts.price("v6e", "moon-1-a") is None
    assert all(item.source for item in [east])
