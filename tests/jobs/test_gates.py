"""Gates before a launch: what stands in the way is named with its process, on a real host."""

from __future__ import annotations

import base64
import getpass
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime.jobs import Gates, await_gates, check_gates
from runtime.jobs.gates import read_report
from runtime.transport import Connection, Fleet
from stack.errors import NotVerified, TransportFailed
from tests.transport.sshd import Sshd, free_port

SERVER = "import socket,sys,time; s=socket.create_server(('127.0.0.1',int(sys.argv[1]))); time.sleep(300)"


def test_a_held_port_names_worker_pid_user_and_argv(connection: Connection) -> None:
    port = free_port()
    argv = [sys.executable, "-c", SERVER, str(port), "a b'c"]
    process = subprocess.Popen(argv)
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        report = check_gates(Fleet({0: connection}), {0: Gates(ports=(port, free_port()))})[0].get()
    finally:
        process.kill()
        process.wait()
    assert not report.passed
    (blocker,) = report.blockers
    assert (blocker.worker, blocker.gate, blocker.pid, blocker.user) == (
        0,
        f"port {port}",
        process.pid,
        getpass.getuser(),
    )
    assert blocker.argv == tuple(argv)
    assert f"worker=0: port {port}: held by pid {process.pid} of user {getpass.getuser()}" in str(blocker.error())
    assert sorted(report.ports.values()) == [False, True]


def test_a_port_that_is_freed_in_time_passes(connection: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Timer(1.0, server.close).start()
        reports = await_gates(Fleet({0: connection}), {0: Gates(ports=(port,))}, patience=15.0, poll=0.3)
    assert reports[0].get().passed


def test_a_port_held_on_ipv6_only_counts(connection: Connection) -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        report = check_gates(Fleet({0: connection}), {0: Gates(ports=(server.getsockname()[1],))})[0].get()
    assert report.blockers[0].pid == os.getpid()


def test_a_held_lock_file_of_libtpu_names_its_holder(connection: Connection) -> None:
    lockfile = Path("/tmp/libtpu_lockfile")
    made = not lockfile.exists()
    try:
        with lockfile.open("a"):
            report = check_gates(Fleet({0: connection}), {0: Gates(chips=True)})[0].get()
            ignored = check_gates(Fleet({0: connection}), {0: Gates(chips=False)})[0].get()
    finally:
        if made:
            lockfile.unlink()
    assert [(blocker.gate, blocker.pid) for blocker in report.blockers] == [("chip /tmp/libtpu_lockfile", os.getpid())]
    assert ignored.passed


def test_too_little_disk_and_memory_are_said_with_both_numbers(connection: Connection) -> None:
    gates = Gates(disk_bytes=10**18, memory_bytes=10**18)
    report = check_gates(Fleet({0: connection}), {0: gates})[0].get()
    assert [blocker.gate for blocker in report.blockers] == ["disk", "memory"]
    assert all("GiB free, 931322574.6 GiB are needed" in blocker.why for blocker in report.blockers)
    assert report.disk_free > 0
    assert report.memory_free > 0


def test_a_clock_that_is_off_is_said(connection: Connection) -> None:
    gates = {0: Gates(clock_skew=5.0)}
    assert check_gates(Fleet({0: connection}), gates)[0].get().passed
    report = check_gates(Fleet({0: connection}), gates, clock=lambda: time.time() - 3600)[0].get()
    assert [blocker.gate for blocker in report.blockers] == ["clock"]


def test_a_worker_that_cannot_be_reached_is_an_error_and_not_a_pass(worker: Sshd) -> None:
    worker.stop()
    outcome = await_gates(Fleet({0: worker.connection(patience=0.3)}), {0: Gates()}, patience=0.5, poll=0.1)[0]
    with pytest.raises(TransportFailed):
        outcome.get()


def test_output_that_is_none_of_ours_is_an_error_and_not_a_pass(worker: Sshd, connection: Connection) -> None:
    check_gates(Fleet({0: connection}), {0: Gates()})
    script = next((worker.home / ".tpu-stack/bin").glob("*/gates.sh"))
    script.write_text("exit 0\n")
    with pytest.raises(NotVerified, match=r"gates\.sh gave no answer"):
        check_gates(Fleet({0: connection}), {0: Gates()})[0].get()


def test_a_holder_that_cannot_be_seen_is_still_a_blocker() -> None:
    facts = [["port", "30000", "?", "?", "-"], ["disk", "5", "9"], ["memory", "5"], ["clock", "100"]]
    report = read_report(3, Gates(ports=(30000,)), facts, 100.0)
    assert [blocker.why for blocker in report.blockers] == [
        "held by a process of another user that cannot be seen without sudo"
    ]


def test_a_command_line_of_odd_bytes_is_shown_and_not_trusted() -> None:
    argv = base64.b64encode(b"evil\xff\0\x1b[31m\0").decode()
    report = read_report(0, Gates(), [["chip", "/dev/accel0", "7", "x", argv], ["clock", "0"]], 0.0)
    assert report.blockers[0].pid == 7
    assert "\x1b" in report.blockers[0].argv[1]
    assert "\x1b" not in report.blockers[0].why
