"""The observing script itself, over recorded logs and real sockets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.engines.observation import Observation, parse_observation

SCRIPT = Path(__file__).resolve().parents[2] / "runtime" / "scripts" / "observe_sglang.sh"
FIXTURES = Path(__file__).parent / "fixtures"


def observe(folder: Path, port: int = 1, *rendezvous: str) -> Observation:
    done = subprocess.run(
        ["bash", str(SCRIPT), str(folder), str(port), *rendezvous],
        capture_output=True,
        text=True,
        timeout=30,
        env={"HOME": str(folder.parent), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return parse_observation(done.stdout)


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    folder = tmp_path / "attempt with a blank"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("case", ["up", "heads-not-divisible", "rank-missing", "port-in-use"])
def test_marks_and_errors_are_found_in_recorded_logs(attempt: Path, case: str) -> None:
    recorded = parse_observation((FIXTURES / case / "observation-0.json").read_text())
    shutil.copy(FIXTURES / case / "worker-0.log", attempt / "log")
    found = observe(attempt)
    assert found.marks.keys() == recorded.marks.keys()
    assert len(found.errors) == len(recorded.errors)


def test_nothing_launched_is_an_observation_too(attempt: Path) -> None:
    found = observe(attempt / "missing")
    assert not found.started
    assert found.processes == ()
    assert found.exit_code is None
    assert found.health == 0
    assert found.disk_free_mib is not None


def test_a_log_of_any_bytes_makes_valid_json(attempt: Path) -> None:
    log = b'\x00\xff\xfe "quoted" \\ back\ttab \x1b[31mred\x1b[0m \xf0\x9f\x98\x80\r\n'
    (attempt / "log").write_bytes(log * 3 + b'ValueError: "x" \\ \x07\n[Errno 98] \xe9')
    (attempt / "exit_code").write_text("not a number\n")
    found = observe(attempt)
    assert found.exit_code is None
    assert any(line.startswith('ValueError: "x" \\') for line in found.errors)
    assert "port_in_use" in found.marks


def test_an_interpreter_that_is_gone_is_seen(attempt: Path) -> None:
    (attempt / "files").mkdir()
    (attempt / "files" / "argv").write_bytes(b"/nowhere/bin/python\0-m\0x\0")
    assert not observe(attempt).python_runs
    (attempt / "files" / "argv").write_bytes(sys.executable.encode() + b"\0-m\0x\0")
    found = observe(attempt)
    assert found.python_runs
    assert found.python == sys.executable


@pytest.fixture
def stranger() -> Iterator[tuple[int, int]]:
    """A program on a port that answers 200 to everything: pid and port."""
    program = (
        "import http.server, sys\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers()\n"
        "    def log_message(self, *_): pass\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield process.pid, port
        process.terminate()


def test_who_listens_is_named_and_a_stranger_s_200_is_not_ours(attempt: Path, stranger: tuple[int, int]) -> None:
    pid, port = stranger
    found = observe(attempt, port)
    assert found.health == 200
    assert [(item.port, item.ours) for item in found.listeners] == [(port, False)]
    holder = found.listeners[0].holder
    assert holder is not None
    assert holder.pid == pid
    assert "http.server" in holder.argv or sys.executable in holder.argv


def test_the_rendezvous_ports_are_looked_at_when_given(attempt: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        # P, P+5 and P+6 are bound on worker 0; here P+6 is the one that is taken.
        found = observe(attempt, 1, str(port - 6))
    assert [item.port for item in found.strangers()] == [port]


def test_a_server_that_never_answers_does_not_hold_up_the_look(attempt: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        found = observe(attempt, silent.getsockname()[1])
        took = time.monotonic() - start
    assert found.health == 0
    assert took < 15, "a look takes seconds; the margin is for a busy machine"
