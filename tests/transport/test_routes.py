"""The way to a worker by the stack's route, and the pauses between tries, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.cloud import LiveSlice, LiveWorker
from runtime.keys import login_key
from runtime.transport import open_fleet
from runtime.transport.host_keys import KnownHosts
from runtime.transport.retry import Backoff
from runtime.transport.routes import Dialled, Tunnelled, route_to
from stack.errors import BadInput

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5KYk4jMwi9uqKyF4tC1yhOpJXnu4hYKCrGmLJ3yYFS"


def live(worker: LiveWorker) -> LiveSlice:
    return LiveSlice(
        "n", "projects/p/locations/z/nodes/n", "7", "READY", "HEALTHY", None, "r", "v6e-4", (worker,), {}, "p", "z"
    )


FULL = LiveWorker(0, "10.0.0.2", "34.1.2.3", "t1v-n-1-w-0.z.c.p.internal", (KEY,))
BARE = LiveWorker(0, "10.0.0.2")


def test_each_route_has_its_address() -> None:
    assert route_to(live(FULL), FULL, "internal") == Dialled("10.0.0.2")
    assert route_to(live(FULL), FULL, "direct") == Dialled("34.1.2.3")
    tunnel = route_to(live(FULL), FULL, "iap")
    assert isinstance(tunnel, Tunnelled)
    assert " ".join(tunnel.argv) == (
        "gcloud compute start-iap-tunnel t1v-n-1-w-0 22 --listen-on-stdin --project=p --zone=z --verbosity=warning"
    )


@pytest.mark.parametrize(
    ("route", "why"), [("direct", "has no external address"), ("iap", "does not publish its instance name")]
)
def test_a_route_that_leads_nowhere_names_another(route: str, why: str) -> None:
    with pytest.raises(BadInput, match=rf"ssh\.route={route}: worker 0 {why}.*internal"):
        route_to(live(BARE), BARE, route)


def test_a_fleet_reaches_every_worker_and_pins_what_they_publish(tmp_path: Path) -> None:
    pins = KnownHosts(tmp_path / "known_hosts")
    fleet = open_fleet(live(FULL), user="tpu", route="internal", key=login_key(tmp_path / "id"), known_hosts=pins)
    assert fleet.workers == (0,)
    assert fleet[0].settings.host_keys == (KEY,)
    assert pins.pin("7", 0, ()) == (KEY,)
    fleet.close()


def test_damaged_pins_are_named_and_not_overwritten(tmp_path: Path) -> None:
    pins = KnownHosts(tmp_path)
    (tmp_path / "7.json").write_text("{")
    with pytest.raises(BadInput, match=r"7\.json: is damaged"):
        pins.pin("7", 0, (KEY,))
    assert (tmp_path / "7.json").read_text() == "{"
    with pytest.raises(BadInput):
        pins.pin("../x", 0, (KEY,))


@given(st.floats(0.0, 120.0), st.floats(0.0, 10.0), st.floats(0.0, 1.0))
def test_tries_end_at_the_deadline_and_there_is_always_one(seconds: float, each: float, jitter: float) -> None:
    now = 0.0

    def sleep(pause: float) -> None:
        nonlocal now
        assert 0 <= pause <= 4.0
        now += pause

    backoff = Backoff(clock=lambda: now, sleep=sleep, jitter=lambda: jitter)
    tries = 0
    for left in backoff.attempts(seconds):
        assert tries == 0 or 0 < left <= seconds
        tries += 1
        now += each
        assert tries < 2000
    assert tries >= 1
    assert now <= seconds + each + 1e-6
