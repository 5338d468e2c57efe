"""When the wait for a ladder ends, and with which reason: played on an injected clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.ladder import Rung, Standing, failed, passed, pending
from runtime.readiness import SETTLE, Climbed, await_ready


@dataclass(frozen=True)
class Seen:
    """A worker at one time: how many rungs it has passed, whether it died, and its progress."""

    height: int = 0
    died: bool = False
    progress: int = 0


def rung(name: str, place: int, patience: float) -> Rung[Seen]:
    def judge(seen: Seen) -> Standing:
        if seen.died and seen.height == place:
            return failed("it died")
        return passed("there") if seen.height > place else pending("not there")

    return Rung(name, patience, judge)


LADDER = (rung("process", 0, 10.0), rung("rendezvous", 1, 20.0), rung("http", 2, 40.0))
TOP = len(LADDER)


def play(*looks: Mapping[int, Seen], once: bool = False) -> tuple[Climbed[Seen], float]:
    """Play the looks one a second, the last for ever; the outcome and the seconds it took."""
    now = 0.0
    shown = iter(looks)
    last: Mapping[int, Seen] = {}

    def look() -> Mapping[int, Seen]:
        nonlocal last
        last = next(shown, last)
        return last

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        assert now < 1000, "the wait does not end"

    climbed = await_ready(LADDER, look, lambda seen: seen.progress, clock=lambda: now, wait=wait, poll=1.0, once=once)
    return climbed, now


def test_it_ends_when_all_are_at_the_top() -> None:
    climbed, seconds = play({0: Seen(1), 1: Seen(0)}, {0: Seen(TOP), 1: Seen(2)}, {0: Seen(TOP), 1: Seen(TOP)})
    assert climbed.up
    assert seconds == 2.0
    assert [rung.passed for rung in climbed.rungs[1]] == [True, True, True]
    assert [rung.seconds for rung in climbed.rungs[1]] == [1.0, 1.0, 2.0]


def test_a_dead_process_ends_it_at_once_with_its_reason() -> None:
    climbed, seconds = play({0: Seen(1), 1: Seen(1)}, {0: Seen(1, died=True), 1: Seen(1, died=True)})
    assert climbed.reasons == {0: "rendezvous: it died", 1: "rendezvous: it died"}
    assert seconds == 1.0


def test_after_a_first_failure_the_others_have_a_moment_to_show_theirs() -> None:
    cascade = {0: Seen(1), 1: Seen(1, died=True)}
    climbed, seconds = play(cascade, cascade, cascade, {0: Seen(1, died=True), 1: Seen(1, died=True)})
    assert set(climbed.reasons) == {0, 1}
    climbed, seconds = play(cascade)
    assert set(climbed.reasons) == {1}
    assert seconds == SETTLE


def test_a_worker_that_never_started_is_named_by_rung_and_worker() -> None:
    stuck = {0: Seen(2), 1: Seen(0), 2: Seen(2)}
    climbed, seconds = play(stuck)
    assert climbed.reasons == {1: "process: nothing moved for 10 s: not there"}
    assert seconds == 10.0


def test_progress_on_any_worker_keeps_the_wait_alive() -> None:
    looks = [{0: Seen(1, progress=second), 1: Seen(1)} for second in range(100)]
    climbed, seconds = play(*looks, {0: Seen(TOP), 1: Seen(TOP)})
    assert climbed.up
    assert seconds == 100.0


def test_the_patience_is_that_of_the_lowest_rung() -> None:
    _, seconds = play({0: Seen(2), 1: Seen(2)})
    assert seconds == 40.0
    _, seconds = play({0: Seen(2), 1: Seen(1)})
    assert seconds == 20.0


def test_a_single_look_counts_what_is_pending_as_a_reason() -> None:
    climbed, seconds = play({0: Seen(TOP), 1: Seen(2)}, once=True)
    assert climbed.reasons == {1: "http: not there"}
    assert seconds == 0.0


looks = st.lists(
    st.fixed_dictionaries(
        {index: st.builds(Seen, st.integers(0, TOP), st.booleans(), st.integers(0, 3)) for index in range(3)}
    ),
    min_size=1,
    max_size=30,
)


@given(looks)
def test_it_always_ends_and_is_up_only_if_the_last_look_shows_all_at_the_top(looks: list[dict[int, Seen]]) -> None:
    climbed, _ = play(*looks)
    assert climbed.up == all(seen.height == TOP for seen in climbed.facts.values())
    assert climbed.up == all(rung.passed for rungs in climbed.rungs.values() for rung in rungs)


@pytest.mark.parametrize("height", range(TOP))
def test_rungs_above_the_one_that_stands_are_never_passed(height: int) -> None:
    climbed, _ = play({0: Seen(height)}, once=True)
    assert [rung.passed for rung in climbed.rungs[0]] == [place < height for place in range(TOP)]
