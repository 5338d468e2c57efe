"""Exactly-once launch, supervision and stop, over real sshd and real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.jobs import (
    Ack,
    Answer,
    JobSpec,
    JobStatus,
    State,
    attempt_folder,
    launch,
    launch_gang,
    launch_on,
    log_tail,
    new_attempt,
    status,
    status_on,
    stop,
)
from runtime.jobs.states import parse_ack, parse_status
from runtime.transport import Connection, Fleet
from runtime.transport.scripts import run_script
from stack.errors import BadInput, Refused, TransportFailed
from tests.transport.sshd import Sshd


def spec(script: str, attempt: str | None = None, **changes: object) -> JobSpec:
    values: dict[str, object] = {"kind": "run", "name": "t", "attempt": attempt or new_attempt(), "run_script": script}
    return JobSpec(**{**values, **changes})  # type: ignore[arg-type]


def await_state(connection: Connection, wanted: JobSpec, *states: State, seconds: float = 40.0) -> JobStatus:
    end = time.monotonic() + seconds
    while True:
        found = status_on(connection, wanted.job, wanted.attempt)
        if found.state in states:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def await_true(condition: Callable[[], object], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def folder(server: Sshd, wanted: JobSpec) -> Path:
    return server.home / attempt_folder(wanted.job, wanted.attempt)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_job_that_ends_well_is_complete_and_done(worker: Sshd, connection: Connection) -> None:
    job = spec('echo "hello $TPU_STACK_ATTEMPT"; pwd; cat "$TPU_STACK_ATTEMPT_DIR/files/data"', files={"data": b"42\n"})
    assert launch_on(connection, job).answer is Answer.LAUNCHED
    found = await_state(connection, job, State.COMPLETE)
    assert found.exit_code == 0
    await_true((folder(worker, job) / "done").exists)
    assert log_tail(connection, job.job) == f"hello {job.attempt}\n{worker.home}\n42\n"


def test_a_job_that_exits_three_has_failed_and_is_not_done(worker: Sshd, connection: Connection) -> None:
    job = spec("exit 3")
    launch_on(connection, job)
    found = await_state(connection, job, State.FAILED)
    assert (found.exit_code, found.why) == (3, "exit code 3")
    await_true(lambda: '"failed"' in (folder(worker, job) / "status.json").read_text())
    assert not (folder(worker, job) / "done").exists()


def test_the_same_attempt_again_starts_nothing(worker: Sshd, connection: Connection) -> None:
    job = spec("echo x >> runs; while [ ! -e go ]; do sleep 0.05; done")
    answers = [launch_on(connection, job).answer for _ in range(3)]
    assert answers == [Answer.LAUNCHED, Answer.ALREADY_RUNNING, Answer.ALREADY_RUNNING]
    (worker.home / "go").touch()
    await_state(connection, job, State.COMPLETE)
    ack = launch_on(connection, job)
    assert (ack.answer, ack.detail) == (Answer.ALREADY_COMPLETE, "state=complete exit_code=0")
    assert (worker.home / "runs").read_text() == "x\n"


def test_the_same_attempt_with_another_spec_is_refused(worker: Sshd, connection: Connection) -> None:
    job = spec("sleep 30")
    launch_on(connection, job)
    before = (folder(worker, job) / "run.sh").read_bytes()
    ack = launch_on(connection, spec("sleep 31", job.attempt))
    assert (ack.answer, ack.detail) == (Answer.REFUSED, f"attempt {job.attempt} exists with another spec")
    assert (folder(worker, job) / "run.sh").read_bytes() == before
    assert status_on(connection, job.job).state is State.RUNNING


def test_a_connection_cut_after_the_launch_ends_in_one_process(worker: Sshd) -> None:
    """What ssh reports as 255 although the launch has worked."""
    job = spec("echo x >> runs; exec sleep 60")
    runs = worker.home / "runs"

    def cut() -> None:
        await_true(runs.exists)
        worker.cut()

    connection = worker.connection()
    run_script(connection, "job.sh", ["list"])
    # The answer is held back until the connection is cut: the wrapper waits after the script's own end.
    login = worker.login
    held = 'if [[ $SSH_ORIGINAL_COMMAND == *" launch "* && ! -e cut ]]; then touch cut; '
    held += 'out=$(/bin/bash -c "$SSH_ORIGINAL_COMMAND"); sleep 2; echo "$out"; exit; fi'
    login.write_text(login.read_text().replace("exec /bin/bash -c", f"{held}\nexec /bin/bash -c"))
    threading.Thread(target=cut, daemon=True).start()
    ack = launch_on(connection, job)
    assert ack.answer is Answer.ALREADY_RUNNING
    assert runs.read_text() == "x\n"
    assert status_on(connection, job.job).members == 1
    connection.close()


def test_a_caller_that_dies_half_way_through_the_upload_launches_nothing(worker: Sshd, connection: Connection) -> None:
    job = spec("echo x >> runs")
    run_script(connection, "job.sh", ["list"])
    part = job.payload()[:1500]
    result = run_script(connection, "job.sh", ["launch", job.job, job.attempt, job.digest()], stdin=part)
    assert parse_ack(0, result.text) is not None
    assert result.text.startswith("REFUSED the spec did not arrive")
    assert not (worker.home / "runs").exists()
    assert launch_on(connection, job).answer is Answer.LAUNCHED
    assert [item.name for item in (worker.home / ".tpu-stack/jobs/run-t").iterdir() if "incoming" in item.name] == []


def test_two_callers_at_once_start_one_process(worker: Sshd) -> None:
    job = spec("echo x >> runs; exec sleep 60")
    answers: list[Answer] = []

    def call() -> None:
        connection = worker.connection()
        answers.append(launch_on(connection, job).answer)
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [*[Answer.ALREADY_RUNNING] * 3, Answer.LAUNCHED]
    assert (worker.home / "runs").read_text() == "x\n"


def test_a_job_outlives_its_connection_and_has_no_terminal_or_input(worker: Sshd) -> None:
    job = spec('readlink /proc/self/fd/0; [[ -t 1 ]] || echo "no terminal"; exec sleep 60')
    first = worker.connection()
    launch_on(first, job)
    first.close()
    worker.stop()
    worker.start()
    second = worker.connection()
    found = status_on(second, job.job)
    assert (found.state, found.supervised, found.members) == (State.RUNNING, True, 1)
    assert log_tail(second, job.job) == "/dev/null\nno terminal\n"
    assert found.pid is not None
    assert os.getsid(found.pid) != os.getsid(0)
    second.close()


def test_a_second_job_on_the_chips_is_refused_by_name(connection: Connection) -> None:
    first = spec("sleep 60", kind="server", name="qwen")
    launch_on(connection, first)
    ack = launch_on(connection, spec("sleep 60"))
    assert ack.answer is Answer.REFUSED
    assert ack.detail == f"server-qwen attempt {first.attempt} runs here: stop it first"
    assert launch_on(connection, spec("true", kind="bootstrap", holds_chips=False)).accepted


def test_environment_and_secrets_reach_the_process_and_no_file_or_argv(worker: Sshd, connection: Connection) -> None:
    odd = "a'b\"c $HOME\nnext=line"
    job = spec(
        'printf %s "$ODD"; [[ $TOKEN == hf_*t ]] && echo ok; exec sleep 60',
        env={"ODD": odd},
        secrets={"TOKEN": "hf_secret"},
    )
    assert "hf_secret" not in repr(job)
    assert b"hf_secret" not in job.document()
    launch_on(connection, job)
    await_true(lambda: log_tail(connection, job.job).endswith("ok\n"))
    assert log_tail(connection, job.job) == odd + "ok\n"
    for path in worker.home.rglob("*"):
        assert not path.is_file() or b"hf_secret" not in path.read_bytes(), path
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "hf_secret" not in listed


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
def stranger(**environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "300"], start_new_session=True, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()
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


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../x"},
        {"name": ""},
        {"attempt": "current"},
        {"files": {"../up": b""}},
        {"files": {"/abs": b""}},
        {"env": {"A B": "1"}},
        {"env": {"A": "\0"}},
        {"run_script": "  \n"},
    ],
)
def test_a_spec_that_cannot_be_written_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        spec("true", **changes) if "run_script" not in changes and "attempt" not in changes else JobSpec(
            **{"kind": "run", "name": "t", "attempt": new_attempt(), "run_script": "true", **changes}  # type: ignore[arg-type]
        )


def test_a_home_that_cannot_be_written_is_said(worker: Sshd, connection: Connection) -> None:
    shutil.rmtree(worker.home / ".tpu-stack", ignore_errors=True)
    (worker.home / ".tpu-stack").write_text("a file in the way")
    with pytest.raises(Refused, match=r"cannot take our scripts in ~/\.tpu-stack"):
        launch_on(connection, spec("true"))


def test_a_home_of_a_newer_version_is_refused_and_left_as_it_is(worker: Sshd, connection: Connection) -> None:
    (worker.home / ".tpu-stack").mkdir(exist_ok=True)
    (worker.home / ".tpu-stack/format").write_text("9\n")
    ack = launch_on(connection, spec("true"))
    assert ack.answer is Answer.REFUSED
    assert "format 9" in ack.detail
    assert not (worker.home / ".tpu-stack/jobs/run-t").exists()


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


def test_what_a_login_shell_prints_is_no_answer() -> None:
    noise = "Welcome to Ubuntu\nLAUNCHED pid=7\nhave a nice day\n"
    assert parse_ack(2, noise) == Ack(2, Answer.LAUNCHED, "pid=7")
    assert parse_ack(2, "Welcome\n") is None
    with pytest.raises(ValueError, match="not a mapping"):
        parse_status(0, "[]")


def test_old_attempts_are_cleared_away_and_the_newest_kept(worker: Sshd, connection: Connection) -> None:
    first = spec("true")
    launch_on(connection, first)
    await_true((folder(worker, first) / "done").exists)
    for _ in range(12):
        shutil.copytree(folder(worker, first), folder(worker, first).parent / new_attempt())
    last = spec("true")
    assert launch_on(connection, last).answer is Answer.LAUNCHED
    kept = sorted(path.name for path in folder(worker, first).parent.iterdir())
    assert len(kept) == 10
    assert kept[-1] == last.attempt
    assert first.attempt not in kept
