"""The lease on worker 0: one holder, told to others, renewed while it works, free after its holder's death."""

from __future__ import annotations

import threading
import time

import pytest

from runtime.jobs import Lease, lease_holder, new_attempt
from runtime.transport import Connection
from runtime.transport.scripts import run_script
from stack.errors import SliceBusy
from tests.transport.sshd import Sshd


def test_a_second_caller_is_told_who_holds_the_slice_and_what_for(connection: Connection) -> None:
    attempt = new_attempt()
    with Lease(connection, attempt, holder="ada@laptop:1"):
        held = lease_holder(connection)
        assert held is not None
        assert (held.name, held.attempt) == ("ada@laptop:1", attempt)
        with pytest.raises(SliceBusy, match=rf"ada@laptop:1 is working on this slice \(attempt {attempt}\)"):
            Lease(connection, new_attempt(), holder="bob@desk:2").__enter__()
        still = lease_holder(connection)
        assert still is not None
        assert still.name == "ada@laptop:1"
    assert lease_holder(connection) is None


def test_of_many_callers_at_once_one_gets_it(worker: Sshd) -> None:
    taken: list[str] = []
    refused: list[str] = []

    def call(name: str) -> None:
        connection = worker.connection()
        try:
            Lease(connection, new_attempt(), holder=name)._take()
            taken.append(name)
        except SliceBusy:
            refused.append(name)
        connection.close()

    threads = [threading.Thread(target=call, args=(f"caller-{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 4)


def test_it_is_renewed_while_the_work_goes_on(connection: Connection) -> None:
    with Lease(connection, new_attempt(), seconds=2) as lease:
        time.sleep(3.5)
        lease.check()
        with pytest.raises(SliceBusy):
            Lease(connection, new_attempt())._take()


def test_a_dead_caller_s_lease_runs_out_and_is_taken_over(connection: Connection) -> None:
    dead = Lease(connection, new_attempt(), holder="dead", seconds=1)
    dead._take()
    with Lease(connection, new_attempt(), holder="next", wait=10.0, seconds=30) as lease:
        held = lease_holder(connection)
        assert held is not None
        assert held.name == "next"
        # The dead caller turns out to be alive: it is told at its next renewal, and its release frees nothing.
        dead._seconds = 0.3  # type: ignore[assignment]
        renewing = threading.Thread(target=dead._renew, daemon=True)
        renewing.start()
        renewing.join(10)
        with pytest.raises(SliceBusy, match="our lease ran out and next has it now"):
            dead.check()
        dead.__exit__(None, None, None)
        lease.check()
        assert lease_holder(connection) is not None


def test_a_renewal_after_an_outage_keeps_what_nobody_took(connection: Connection) -> None:
    lease = Lease(connection, new_attempt(), seconds=1)
    lease._take()
    time.sleep(1.5)
    result = run_script(connection, "lease.sh", ["renew", lease._token, "60"])
    assert result.text == "RENEWED\n"
    assert lease_holder(connection) is not None


def test_after_a_reboot_the_holder_has_one_more_length_and_no_more(worker: Sshd, connection: Connection) -> None:
    lease = Lease(connection, new_attempt(), holder="ada", seconds=60)
    lease._take()
    file = worker.home / ".tpu-stack/lease"
    token, holder, attempt, _, _, _ = file.read_text().split()
    long_after = f"{token} {holder} {attempt} another-boot 999999999 1\n"
    file.write_text(long_after)
    assert lease_holder(connection) is None
    just_after = f"{token} {holder} {attempt} another-boot 5 999999999\n"
    file.write_text(just_after)
    assert lease_holder(connection) is not None


def test_a_damaged_lease_is_nobody_s(worker: Sshd, connection: Connection) -> None:
    run_script(connection, "lease.sh", ["show"])
    (worker.home / ".tpu-stack/lease").write_text("\0\0garbage\n")
    assert lease_holder(connection) is None
    with Lease(connection, new_attempt()):
        pass
