"""How an attempt is watched and ended: real processes, killed supervisors, reused pids, floods of output."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.jobs import (
    Answer,
    State,
    launch_on,
    log_tail,
    new_attempt,
    status_on,
    stop,
)
from runtime.transport import Connection, Fleet
from runtime.transport.scripts import run_script
from stack.errors import Refused
from tests.jobs.support import alive, await_state, await_true, folder, spec
from tests.transport.sshd import Sshd


def test_stop_ends_grandchildren_also_those_that_left_the_group(worker: Sshd, connection: Connection) -> None:
    script = """
    (setsid sleep 301 & echo "session $!" >> "$HOME/pids"; wait) &
    bash -c 'set -m; sleep 302 & echo "group $!" >> "$HOME/pids"; trap "" TERM; wait; while :; do sleep 1; done' &
    echo "main $$" >> "$HOME/pids"
    wait"""
    job = spec(script)
    launch_on(connection, job)
    await_true(lambda: (worker.home / "pids").exists() and (worker.home / "pids").read_text().count("\n") == 3)
    pids = [int(line.split()[1]) for line in (worker.home / "pids").read_text().splitlines()]
    assert all(alive(pid) for pid in pids)
    outcome = stop(Fleet({0: connection}), job.job, grace=1.0)[0].get()
    assert outcome.was_running
    assert outcome.killed
    assert not any(alive(pid) for pid in pids)
    assert status_on(connection, job.job).state is State.STOPPED
    assert not (folder(worker, job) / "done").exists()
    again = stop(Fleet({0: connection}), job.job)[0].get()
    assert not again.was_running


def test_what_a_job_leaves_running_at_its_end_is_ended(worker: Sshd, connection: Connection) -> None:
    job = spec('sleep 300 & echo $! > "$HOME/pid"; exit 0')
    launch_on(connection, job)
    await_true((folder(worker, job) / "done").exists)
    assert not alive(int((worker.home / "pid").read_text()))
    assert "left running" in log_tail(connection, job.job)


@contextlib.contextmanager
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A session that is none of ours: a leader, and a child in a group of its own."""
    leader = ["bash", "-c", "set -m; sleep 300 & wait"]
    process = subprocess.Popen(leader, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    await_true(lambda: children.read_text().split())
    child = int(children.read_text().split()[0])
    try:
        yield process
        assert alive(child)
    finally:
        for pid in (child, process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def test_a_pid_that_was_given_to_another_process_is_left_alone(worker: Sshd, connection: Connection) -> None:
    job = spec("exec sleep 60")
    launch_on(connection, job)
    before = status_on(connection, job.job)
    record = folder(worker, job) / "pid"
    fields = record.read_text().split()
    os.kill(int(fields[0]), signal.SIGKILL)  # the supervisor
    os.kill(before.pid or 0, signal.SIGKILL)
    with stranger() as process:
        # The numbers that were ours are the stranger's now; the start times are not.
        record.write_text(f"{process.pid} {fields[1]} {process.pid} {fields[3]} {fields[4]}\n")
        found = status_on(connection, job.job)
        assert (found.state, found.members, found.why) == (State.LOST, 0, "its supervisor was killed")
        assert not stop(Fleet({0: connection}), job.job, grace=0.0)[0].get().was_running
        assert process.poll() is None


def test_a_record_of_another_boot_ends_nothing_and_says_so(worker: Sshd, connection: Connection) -> None:
    job = spec("true")
    launch_on(connection, job)
    await_true((folder(worker, job) / "done").exists)
    for name in ("exit_code", "done"):
        (folder(worker, job) / name).unlink()
    with stranger() as process:
        start = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        (folder(worker, job) / "pid").write_text(f"{process.pid} {start} {process.pid} {start} another-boot\n")
        found = status_on(connection, job.job)
        assert (found.state, found.why) == (State.LOST, "the worker was rebooted")
        assert not stop(Fleet({0: connection}), job.job, grace=0.0)[0].get().was_running
        assert process.poll() is None
    ack = launch_on(connection, job)
    assert (ack.answer, ack.detail) == (
        Answer.REFUSED,
        f"attempt {job.attempt} was lost (the worker was rebooted): start a new one",
    )


def test_a_killed_supervisor_loses_neither_the_job_nor_its_end(worker: Sshd, connection: Connection) -> None:
    job = spec("sleep 301 & exec sleep 300")
    launch_on(connection, job)
    supervisor = int((folder(worker, job) / "pid").read_text().split()[0])
    os.kill(supervisor, signal.SIGKILL)
    await_true(lambda: not alive(supervisor))
    found = status_on(connection, job.job)
    assert (found.state, found.supervised, found.members) == (State.RUNNING, False, 2)
    os.kill(found.pid or 0, signal.SIGKILL)
    await_true(lambda: status_on(connection, job.job).state is State.LOST)
    # Its child is still there, known by its mark: it holds what the job held.
    assert launch_on(connection, spec("true", name="other")).answer is Answer.REFUSED
    assert stop(Fleet({0: connection}), job.job, grace=2.0)[0].get().was_running
    assert status_on(connection, job.job).members == 0


def test_the_log_is_capped_with_its_head_and_its_tail_kept(worker: Sshd, connection: Connection) -> None:
    from runtime.jobs import read_log, whole_log

    script = "echo first; for i in {1..20000}; do echo line $i; ((i % 2000)) || sleep 0.3; done; echo last"
    job = spec(script, log_cap=40_000)
    launch_on(connection, job)
    followed, offset = b"", 0
    while status_on(connection, job.job).state is State.RUNNING:
        piece = read_log(connection, job.job, offset=offset)
        assert piece.next_offset >= offset
        followed, offset = followed + piece.data, piece.next_offset
        time.sleep(0.2)
    await_true((folder(worker, job) / "done").exists)
    followed += read_log(connection, job.job, offset=offset).data
    log = (folder(worker, job) / "log").read_bytes()
    assert len(log) <= 40_000
    assert log.startswith(b"first\nline 1\n")
    assert log.endswith(b"line 20000\nlast\n")
    assert b"bytes were cut out" in log
    assert followed.startswith(b"first\n")
    assert followed.endswith(b"last\n")
    assert b"".join(whole_log(connection, job.job)) == log
    # What is written in the moment of a cut is lost, and more of it on a busy machine; offsets never run ahead.
    written = len("first\nlast\n") + sum(len(f"line {i}\n") for i in range(1, 20001))
    assert 100_000 < status_on(connection, job.job).log_bytes <= written


def test_damaged_records_are_states_and_not_tracebacks(worker: Sshd, connection: Connection) -> None:
    job = spec("true")
    launch_on(connection, job)
    await_true((folder(worker, job) / "done").exists)
    (folder(worker, job) / "exit_code").write_text("nonsense\n")
    assert status_on(connection, job.job).why == "its exit_code file is damaged"
    (folder(worker, job) / "exit_code").unlink()
    (folder(worker, job) / "pid").write_text("1; rm -rf /\n")
    assert status_on(connection, job.job).why == "its pid file is damaged"
    assert status_on(connection, "run-unknown").state is State.ABSENT
    with pytest.raises(Refused, match="has no log of run-unknown"):
        log_tail(connection, "run-unknown")


def test_old_attempts_are_cleared_away_and_the_newest_kept(worker: Sshd, connection: Connection) -> None:
    first = spec("true")
    launch_on(connection, first)
    await_true(lambda: not status_on(connection, first.job).supervised)
    for _ in range(12):
        shutil.copytree(folder(worker, first), folder(worker, first).parent / new_attempt())
    last = spec("true")
    assert launch_on(connection, last).answer is Answer.LAUNCHED
    kept = sorted(path.name for path in folder(worker, first).parent.iterdir())
    assert len(kept) == 10
    assert kept[-1] == last.attempt
    assert first.attempt not in kept


@pytest.mark.cloud
def test_a_job_that_fills_the_disk_still_has_its_exit_code(worker: Sshd, connection: Connection) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a small disk")
    state = worker.home / ".tpu-stack"
    run_script(connection, "job.sh", ["list"])
    (state / "jobs").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(state / "jobs")], check=True)
    try:
        job = spec('cat /dev/zero > "$TPU_STACK_ATTEMPT_DIR/fill"; echo "no room"; exit 7')
        assert launch_on(connection, job).answer is Answer.LAUNCHED
        found = await_state(connection, job, State.FAILED, State.LOST)
        assert (found.state, found.exit_code) == (State.FAILED, 7)
        late = launch_on(connection, spec("true"))
        assert (late.answer, "cannot be written" in late.detail) == (Answer.REFUSED, True)
    finally:
        await_true(lambda: not status_on(connection, job.job).supervised)
        subprocess.run(["umount", "-l", str(state / "jobs")], check=True)
