"""Exactly-once launch, over real sshd and real processes."""

from __future__ import annotations

import os
import subprocess
import threading

from runtime.jobs import (
    Answer,
    State,
    launch_on,
    log_tail,
    status_on,
)
from runtime.jobs.states import parse_ack
from runtime.transport import Connection
from runtime.transport.scripts import run_script
from tests.jobs.support import await_state, await_true, folder, spec
from tests.transport.sshd import Sshd


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
