"""One attempt on many workers."""

from __future__ import annotations

import time

import pytest

from runtime.jobs import (
    Ack,
    Answer,
    State,
    launch,
    launch_gang,
    log_tail,
    new_attempt,
    status,
    status_on,
    stop,
)
from runtime.transport import Connection, Fleet
from stack.errors import BadInput, TransportFailed
from tests.jobs.support import spec
from tests.transport.sshd import Sshd


def test_a_gang_is_one_attempt_on_every_worker(fleet: Fleet) -> None:
    attempt = new_attempt()
    specs = {worker: spec(f"echo rank {worker}; exec sleep 60", attempt) for worker in fleet.workers}
    gang = launch_gang(fleet, specs)
    assert gang.check().ok
    assert gang.acks == {worker: Ack(worker, Answer.LAUNCHED, gang.acks[worker].detail) for worker in fleet.workers}
    states = status(fleet, "run-t")
    assert [states[worker].get().state for worker in fleet.workers] == [State.RUNNING] * 3
    assert [log_tail(fleet[worker], "run-t") for worker in fleet.workers] == ["rank 0\n", "rank 1\n", "rank 2\n"]
    stopped = stop(fleet, "run-t")
    assert all(outcome.get().was_running for outcome in stopped.values())


def test_a_gang_that_lacks_a_worker_is_stopped_on_the_others(fleet: Fleet, workers: list[Sshd]) -> None:
    workers[1].stop()
    quick = Fleet({**fleet.connections, 1: workers[1].connection(patience=0.5)})
    attempt = new_attempt()
    gang = launch_gang(quick, {worker: spec("exec sleep 60", attempt) for worker in fleet.workers})
    assert not gang.ok
    assert sorted(gang.acks) == [0, 2]
    with pytest.raises(TransportFailed, match="worker=1"):
        gang.check()
    assert status_on(fleet[0], "run-t").state is State.STOPPED
    assert status_on(fleet[2], "run-t").state is State.STOPPED


def test_one_silent_worker_does_not_hold_up_the_others(fleet: Fleet, workers: list[Sshd]) -> None:
    import socket

    from runtime.transport.routes import Dialled

    with socket.create_server(("127.0.0.1", 0)) as silent:
        route = Dialled("127.0.0.1", silent.getsockname()[1])
        mixed = Fleet({**fleet.connections, 1: workers[1].connection(route=route, patience=30.0)})
        started = time.monotonic()
        outcomes = mixed.each(lambda connection: connection.run(["echo", "ok"]).text, deadline=3.0)
        assert time.monotonic() - started < 15
    assert outcomes[0].get() == outcomes[2].get() == "ok\n"
    with pytest.raises(TransportFailed, match="no answer within 3 s"):
        outcomes[1].get()


def test_a_defect_in_a_worker_s_part_is_raised_and_not_swallowed(fleet: Fleet) -> None:
    def broken(connection: Connection) -> int:
        return 1 // connection.worker

    with pytest.raises(ZeroDivisionError):
        fleet.each(broken)


def test_gangs_of_two_attempts_are_refused_before_anything_is_sent(fleet: Fleet, worker: Sshd) -> None:
    with pytest.raises(BadInput, match="differs between workers"):
        launch(fleet, {0: spec("true"), 1: spec("true")})
    with pytest.raises(BadInput, match="has no worker"):
        launch(fleet, {})
    assert not (worker.home / ".tpu-stack/jobs").exists()
