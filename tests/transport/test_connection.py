"""Commands over a real sshd: what arrives, what comes back, what is refused, what is tried again."""

from __future__ import annotations

import logging
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.keys import login_key
from runtime.transport import (
    CommandFailed,
    CommandTimedOut,
    Connection,
    HostKeyMismatch,
    HostKeyUnknown,
    KeyRefused,
    Result,
)
from runtime.transport.channel import command_line
from runtime.transport.host_keys import KnownHosts, fingerprint
from runtime.transport.routes import Dialled, Tunnelled
from stack.errors import MissingPrerequisite, Refused, TransportFailed
from tests.transport.sshd import Sshd, free_port

ARGUMENT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    server = Sshd(tmp_path_factory.mktemp("shared"))
    server.prepare()
    server.start()
    connection = server.connection()
    yield connection
    connection.close()
    server.stop()


def test_a_result_holds_both_streams_and_the_exit_code(shared: Connection) -> None:
    result = shared.run(["sh", "-c", "cat; echo err >&2; exit 7"], stdin=b"in\0\xff")
    assert (result.stdout, result.stderr, result.exit_code) == (b"in\0\xff", b"err\n", 7)
    with pytest.raises(CommandFailed, match=r"left with 7: err") as failure:
        result.check()
    assert failure.value.result is result


@settings(max_examples=12)
@given(st.lists(ARGUMENT, max_size=4))
def test_argv_arrives_byte_for_byte_over_ssh(shared: Connection, arguments: list[str]) -> None:
    result = shared.run(["printf", "%s\\0", "first", *arguments])
    assert result.stdout.split(b"\0")[:-1] == [b"first", *(part.encode() for part in arguments)]


@settings(max_examples=150)
@given(st.lists(ARGUMENT, max_size=4))
def test_argv_survives_the_login_shell(arguments: list[str]) -> None:
    line = command_line(["printf", "%s\\0", "first", *arguments], 5)
    shell = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
    assert shell.stdout.split(b"\0")[:-1] == [b"first", *(part.encode() for part in arguments)]


def test_an_argument_with_a_nul_is_refused_before_anything_is_sent(shared: Connection) -> None:
    with pytest.raises(ValueError, match="NUL"):
        shared.run(["echo", "a\0b"])


def test_much_in_and_much_out_do_not_block_each_other(shared: Connection) -> None:
    data = bytes(range(256)) * 40_000
    result = shared.run(["tee", "/dev/stderr"], stdin=data, limit=1_000_000)
    assert result.ok
    assert result.truncated
    assert result.stdout == data[:1_000_000]
    assert result.stderr == data[:1_000_000]


def test_a_command_is_ended_on_the_worker_at_its_limit(shared: Connection) -> None:
    started = time.monotonic()
    with pytest.raises(CommandTimedOut, match=r"still running after 0\.5 s") as failure:
        shared.run(["sh", "-c", "echo $$; exec sleep 60"], timeout=0.5)
    assert time.monotonic() - started < 15
    assert not Path(f"/proc/{int(failure.value.result.stdout)}").exists()


def test_a_limit_beyond_thirty_seconds_is_a_defect(shared: Connection) -> None:
    with pytest.raises(ValueError, match="is a job"):
        shared.run(["true"], timeout=31)


def test_one_connection_serves_more_threads_than_sshd_takes_sessions(shared: Connection) -> None:
    results: list[Result] = []
    script = "sleep 0.3; echo"
    threads = [
        threading.Thread(target=lambda n=n: results.append(shared.run(["sh", "-c", f"{script} {n}"])))
        for n in range(20)
    ]
    before = shared._client
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(result.stdout) for result in results) == list(range(20))
    assert shared._client is before


def test_the_connection_is_kept_and_made_anew_when_it_is_cut(sshd: Sshd, connection: Connection) -> None:
    connection.run(["true"]).check()
    before = sshd.sessions()
    connection.run(["true"]).check()
    assert sshd.sessions() == before
    sshd.cut()
    assert connection.run(["echo", "again"]).text == "again\n"


def cut_when(sshd: Sshd, path: Path) -> threading.Thread:
    """Cut every connection as soon as the file is there."""

    def wait() -> None:
        end = time.monotonic() + 20
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        sshd.cut()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_command_whose_connection_is_cut_is_run_again(sshd: Sshd, connection: Connection) -> None:
    connection.run(["true"]).check()
    cutting = cut_when(sshd, sshd.home / "runs")
    result = connection.run(["sh", "-c", "echo x >> runs; [ $(wc -l < runs) = 2 ] || sleep 20; cat runs"])
    assert result.stdout == b"x\nx\n"
    cutting.join()


def test_a_command_that_must_not_be_repeated_is_not(sshd: Sshd, connection: Connection) -> None:
    connection.run(["true"]).check()
    cutting = cut_when(sshd, sshd.home / "runs")
    with pytest.raises(TransportFailed, match="the connection was lost"):
        connection.run(["sh", "-c", "echo x >> runs; sleep 20"], idempotent=False)
    assert (sshd.home / "runs").read_text() == "x\n"
    cutting.join()


def test_an_sshd_that_comes_back_within_the_patience_is_no_failure(sshd: Sshd, connection: Connection) -> None:
    connection.run(["true"]).check()
    sshd.stop()
    threading.Timer(1.0, sshd.start).start()
    assert connection.run(["echo", "back"]).text == "back\n"


def test_nobody_listening_is_named_with_the_address(sshd: Sshd) -> None:
    port = free_port()
    connection = sshd.connection(route=Dialled("127.0.0.1", port), patience=0.5)
    with pytest.raises(TransportFailed, match=rf"worker=0: cannot be reached at 127.0.0.1:{port}.*refused"):
        connection.run(["true"])


def test_a_host_that_accepts_and_never_answers_ends_by_the_clock(sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        route = Dialled("127.0.0.1", silent.getsockname()[1])
        connection = sshd.connection(route=route, patience=1.0, dial_seconds=1.0)
        started = time.monotonic()
        with pytest.raises(TransportFailed, match="cannot be reached"):
            connection.run(["true"])
        assert time.monotonic() - started < 15


def test_a_changed_host_key_is_refused_and_both_are_named(sshd: Sshd, connection: Connection) -> None:
    old = sshd.host_key
    connection.run(["true"]).check()
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    with pytest.raises(HostKeyMismatch) as failure:
        connection.run(["true"])
    assert fingerprint(old) in str(failure.value)
    assert fingerprint(sshd.host_key) in str(failure.value)


def test_another_type_of_host_key_than_the_pinned_one_is_refused(sshd: Sshd) -> None:
    rsa = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(sshd.folder / "other")], capture_output=True
    )
    assert rsa.returncode == 0
    key = " ".join((sshd.folder / "other.pub").read_text().split()[:2])
    with pytest.raises(HostKeyMismatch, match="ssh-ed25519"):
        sshd.connection(host_keys=(key,)).run(["true"])


def test_without_a_published_host_key_nothing_is_sent(sshd: Sshd) -> None:
    with pytest.raises(HostKeyUnknown, match="--accept-host-key"):
        sshd.connection(host_keys=()).run(["touch", "was-here"])
    assert not (sshd.home / "was-here").exists()


def test_an_accepted_host_key_is_pinned_from_then_on(sshd: Sshd) -> None:
    first = sshd.connection(host_keys=(), accept_host_key=True)
    first.run(["true"]).check()
    first.close()
    pins = KnownHosts(sshd.folder / "known_hosts")
    assert pins.pin("4711", 0, ()) == (sshd.host_key,)
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    with pytest.raises(HostKeyMismatch):
        sshd.connection(host_keys=pins.pin("4711", 0, ()), accept_host_key=True).run(["true"])
    with pytest.raises(HostKeyMismatch):
        sshd.connection(host_keys=(), accept_host_key=True).run(["true"])


def test_a_key_published_anew_under_the_same_slice_is_refused(tmp_path: Path, sshd: Sshd) -> None:
    pins = KnownHosts(tmp_path / "pins")
    old = sshd.host_key
    assert pins.pin("1", 0, (old,)) == (old,)
    sshd.new_host_key()
    with pytest.raises(HostKeyMismatch, match=r"1\.json"):
        pins.pin("1", 0, (sshd.host_key,))
    assert pins.pin("2", 0, (sshd.host_key,)) == (sshd.host_key,)


def test_a_refused_login_key_is_tried_for_its_time_and_then_named(sshd: Sshd, tmp_path: Path) -> None:
    stranger = login_key(tmp_path / "stranger")
    with pytest.raises(KeyRefused, match="does not take the login key"):
        sshd.connection(key=stranger, key_patience=0.3).run(["true"])


def test_a_login_key_that_the_worker_takes_up_late_is_no_failure(sshd: Sshd, tmp_path: Path) -> None:
    late = login_key(tmp_path / "late")
    threading.Timer(1.0, lambda: (sshd.folder / "authorized").write_text(late.public + "\n")).start()
    assert sshd.connection(key=late, key_patience=10.0).run(["echo", "in"]).text == "in\n"


def test_the_tunnel_is_a_command_whose_streams_are_the_connection(sshd: Sshd) -> None:
    relay = (
        "import socket,sys,threading,os\n"
        f"s=socket.create_connection(('127.0.0.1',{sshd.port}))\n"
        "def up():\n"
        "    while d:=os.read(0,65536): s.sendall(d)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    connection = sshd.connection(route=Tunnelled((sys.executable, "-c", relay)))
    assert connection.run(["echo", "through"]).text == "through\n"
    sshd.cut()
    assert connection.run(["echo", "again"]).text == "again\n"
    connection.put(b"x" * 300_000, "big")
    assert (sshd.home / "big").stat().st_size == 300_000
    connection.close()
    deadline = time.monotonic() + 5
    while (left := _children_with("create_connection")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _children_with(text: str) -> list[str]:
    listed = subprocess.run(["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if text in line]


def test_what_a_failing_tunnel_command_says_is_the_reason(sshd: Sshd) -> None:
    tunnel = Tunnelled(("sh", "-c", "echo 'ERROR: 4033: not authorized' >&2; exit 1"))
    with pytest.raises(TransportFailed, match="4033: not authorized"):
        sshd.connection(route=tunnel, patience=0.5).run(["true"])


def test_a_lost_connection_prints_nothing_by_itself(sshd: Sshd) -> None:
    program = (
        "import sys; from tests.transport.sshd import Sshd; from pathlib import Path\n"
        "from runtime.transport import *; from runtime.transport.routes import Dialled\n"
        f"server = Sshd(Path({str(sshd.folder)!r}), port={sshd.port})\n"
        "c = server.connection(route=Dialled('127.0.0.1', int(sys.argv[1])), patience=0.5)\n"
        "try: c.run(['true'])\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        done = subprocess.run([sys.executable, "-c", program, str(port)], capture_output=True, text=True)
        server.shutdown(socket.SHUT_RDWR)
    assert (done.stdout, done.stderr) == ("TransportFailed\n", "")


def test_a_missing_tunnel_command_is_named_with_its_cure(sshd: Sshd) -> None:
    with pytest.raises(MissingPrerequisite, match="Google Cloud SDK"):
        sshd.connection(route=Tunnelled(("no-such-gcloud", "compute"))).run(["true"])


def test_what_goes_through_standard_input_shows_in_no_log(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connection.run(["cat"], stdin=b"hf_secret").check()
    assert "hf_secret" not in caplog.text


def test_a_file_is_put_whole_with_its_mode_and_its_folders(sshd: Sshd, connection: Connection) -> None:
    connection.put(b"one", "deep/er/file", 0o640)
    connection.put(b"two", "deep/er/file", 0o600)
    path = sshd.home / "deep/er/file"
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_what_the_worker_refuses_to_write_is_said_at_once(sshd: Sshd, connection: Connection) -> None:
    (sshd.home / "plain").write_text("")
    started = time.monotonic()
    with pytest.raises(Refused, match="plain/file"):
        connection.put(b"x", "plain/file")
    assert time.monotonic() - started < 8


def test_ranges_and_tails_of_a_file(sshd: Sshd, connection: Connection) -> None:
    (sshd.home / "log").write_text("".join(f"line {n}\n" for n in range(100)))
    assert connection.tail("log", 2) == b"line 98\nline 99\n"
    assert connection.get_range("log", 5, 8) == b"0\nline 1"
    assert connection.get_range("log", 10_000, 5) == b""
    with pytest.raises(Refused, match="none"):
        connection.get_range("none", 0, 1)
    with pytest.raises(CommandFailed):
        connection.tail("none", 1)


def test_quoting_is_shlex_and_nothing_else() -> None:
    assert command_line(["echo", "$HOME; rm -rf /"], 3) == "exec timeout -k 2 3 " + shlex.join(
        ["echo", "$HOME; rm -rf /"]
    )
