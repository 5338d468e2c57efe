"""Launches under random faults: never a double start, never an acknowledgement without a start.

The oracle is outside the protocol: each start appends to a file that the protocol never reads.
"""

from __future__ import annotations

import random
import threading
import time

import pytest

from runtime.jobs import Ack, Answer, State, launch_on, status_on
from stack.errors import TpuStackError
from tests.jobs.support import await_true, spec
from tests.transport.sshd import Sshd


def _storm(worker: Sshd, seed: int) -> None:
    """Two callers launch one attempt while connections are cut and the server goes away at random moments."""
    dice = random.Random(seed)
    job = spec('echo "$TPU_STACK_ATTEMPT" >> "$HOME/oracle"; exec sleep 300', name=f"storm{seed}")
    acks: list[Ack] = []
    errors: list[TpuStackError] = []
    over = threading.Event()

    def call(patience: float) -> None:
        connection = worker.connection(patience=patience)
        try:
            acks.append(launch_on(connection, job))
        except TpuStackError as error:
            errors.append(error)
        finally:
            connection.close()

    def break_things() -> None:
        while not over.is_set():
            time.sleep(dice.uniform(0.02, 0.6))
            if over.is_set():
                return
            if dice.random() < 0.7:
                worker.cut()
            else:
                worker.stop()
                time.sleep(dice.uniform(0.05, 0.4))
                worker.start()

    breaking = threading.Thread(target=break_things)
    callers = [threading.Thread(target=call, args=(dice.uniform(1.0, 4.0),)) for _ in range(2)]
    breaking.start()
    for caller in callers:
        caller.start()
        time.sleep(dice.uniform(0.0, 0.3))
    for caller in callers:
        caller.join()
    over.set()
    breaking.join()
    worker.start()

    # The storm is over: whoever calls now, with the same attempt, gets the one truth.
    connection = worker.connection()
    last = launch_on(connection, job)
    oracle = worker.home / "oracle"
    await_true(oracle.exists)
    assert oracle.read_text().split() == [job.attempt], (seed, acks, errors)
    assert last.accepted
    assert not acks or last.answer is Answer.ALREADY_RUNNING
    assert all(ack.accepted for ack in acks), (seed, acks)
    assert sum(ack.answer is Answer.LAUNCHED for ack in [*acks, last]) <= 1
    found = status_on(connection, job.job)
    assert (found.state, found.members) == (State.RUNNING, 1)
    connection.close()


@pytest.mark.parametrize("seed", range(4))
def test_one_start_whatever_is_cut_and_whoever_calls(worker: Sshd, seed: int) -> None:
    _storm(worker, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 160))
def test_one_start_over_many_storms(worker: Sshd, seed: int) -> None:
    _storm(worker, seed)
