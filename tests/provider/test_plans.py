"""Laws of planning and diffing, over inputs that nobody thought of."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localcloud.provider.checking import AutomaticName, check
from localcloud.provider.differences import changes, update_mask
from localcloud.provider.node import create_body, inputs_of, state_of
from localcloud.provider.paths import join, parse_path
from localcloud.provider.planning import Surroundings, plan

AROUND = Surroundings(project="p", zone="z")
NAMES = st.text("abcdefghijklmnop-", min_size=1, max_size=8)
MAPS = st.dictionaries(NAMES, NAMES, max_size=3)
NETWORK = st.fixed_dictionaries(
    {"network": NAMES},
    optional={"subnetwork": NAMES, "enableExternalIps": st.booleans(), "queueCount": st.integers(0, 8)},
)
INPUTS = st.fixed_dictionaries(
    {"runtimeVersion": NAMES},
    optional={
        "name": NAMES,
        "acceleratorType": NAMES,
        "description": NAMES,
        "cidrBlock": NAMES,
        "networkConfig": NETWORK,
        "schedulingConfig": st.sampled_from([{"spot": True}, {"reserved": True}, {"preemptible": True, "spot": False}]),
        "serviceAccount": st.fixed_dictionaries({}, optional={"email": NAMES, "scopes": st.lists(NAMES, min_size=1)}),
        "dataDisks": st.lists(st.fixed_dictionaries({"sourceDisk": NAMES}), max_size=2),
        "shieldedInstanceConfig": st.just({"enableSecureBoot": True}),
        "metadata": MAPS,
        "tags": st.lists(NAMES, max_size=3),
        "labels": MAPS,
        "deletionPolicy": st.sampled_from(["DELETE", "ABANDON"]),
    },
)


def checked(inputs: dict[str, Any]) -> dict[str, Any]:
    result, faults = check(inputs, {}, AutomaticName("n", b"seed"))
    assert faults == []
    return result


def created(inputs: dict[str, Any]) -> dict[str, Any]:
    """The state after a create, by an API that adds defaults of its own and sends no empty values."""
    planned = plan(inputs, None, AROUND)
    body = create_body(planned)
    defaults = {"network": "default", "subnetwork": "default", "queueCount": 0}
    node = {
        **body,
        "name": f"projects/p/locations/z/nodes/{body['name']}",
        "networkConfig": {**defaults, **body.get("networkConfig", {})},
        "serviceAccount": {"email": "default", "scope": ["all"], **body.get("serviceAccount", {})},
        "schedulingConfig": {key: value for key, value in body.get("schedulingConfig", {}).items() if value},
        "state": "READY",
    }
    return state_of(node, planned, project="p", zone="z")


@given(INPUTS)
def test_what_was_just_created_shows_no_change(inputs: dict[str, Any]) -> None:
    given_inputs = checked(inputs)
    state = created(given_inputs)
    assert changes(state, plan(given_inputs, state, AROUND)) == []


@given(INPUTS)
def test_a_refresh_of_what_nobody_touched_changes_no_input(inputs: dict[str, Any]) -> None:
    given_inputs = checked(inputs)
    state = created(given_inputs)
    refreshed = inputs_of(state, given_inputs)
    assert changes(state, plan(refreshed, state, AROUND)) == []


@given(INPUTS)
def test_what_is_imported_can_be_declared_as_it_is(inputs: dict[str, Any]) -> None:
    state = created(checked(inputs))
    imported = inputs_of(state, {})
    result, faults = check(imported, {}, AutomaticName("n", b"seed"))
    assert faults == []
    assert changes(state, plan(result, state, AROUND)) == []


@given(INPUTS, INPUTS)
def test_after_an_update_in_place_nothing_is_left_to_do(before: dict[str, Any], after: dict[str, Any]) -> None:
    kept = ("name", "description", "metadata", "tags", "labels", "dataDisks")
    old_inputs = checked(before)
    new_inputs = {key: value for key, value in old_inputs.items() if key not in kept[1:]}
    new_inputs |= {key: value for key, value in checked(after).items() if key in kept[1:]}
    state = created(old_inputs)
    planned = plan(new_inputs, state, AROUND)
    assert not any(change.replaces for change in changes(state, planned))
    assert (update_mask(state, planned) == []) == (changes(state, planned) == [])
    assert changes(planned, plan(new_inputs, planned, AROUND)) == []


@given(st.lists(st.one_of(st.text(min_size=1), st.integers(0, 99)), min_size=1))
def test_a_path_is_read_as_it_was_written(parts: list[str | int]) -> None:
    path = "top"
    for part in parts:
        path = join(path, part)
    assert parse_path(path) == ["top", *parts]
