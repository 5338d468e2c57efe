"""Workers for the tests of the job protocol: real sshd each, with a home each, over one process table."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.transport import Connection, Fleet
from tests.transport.sshd import SSHD, Sshd


def end_marked(folder: Path) -> None:
    """End what a test left running: every process whose environment names an attempt under ``folder``."""
    mark = f"TPU_STACK_ATTEMPT_DIR={folder}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Sshd]]:
    """Three sshd for all tests of jobs: starting them costs more than most of the tests."""
    if SSHD is None:
        pytest.skip("openssh-server is not installed (make setup installs it)")
    folder = tmp_path_factory.mktemp("workers")
    started = [Sshd(folder / f"w{index}", index) for index in range(3)]
    for server in started:
        server.prepare()
        server.start()
    yield started
    for server in started:
        server.stop()


@pytest.fixture
def workers(servers: list[Sshd]) -> Iterator[list[Sshd]]:
    """Three running workers, their homes empty but for our scripts."""
    for server in servers:
        server.write_login()
        server.start()
    yield servers
    for server in servers:
        end_marked(server.folder)
        for path in server.home.glob("*"):
            _remove(path)
        state = server.home / ".tpu-stack"
        for path in state.glob("*") if state.is_dir() else [state]:
            if path.name != "bin":
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@pytest.fixture
def fleet(workers: list[Sshd]) -> Iterator[Fleet]:
    with Fleet({server.worker: server.connection() for server in workers}) as opened:
        yield opened


@pytest.fixture
def worker(workers: list[Sshd]) -> Sshd:
    return workers[0]


@pytest.fixture
def connection(fleet: Fleet) -> Connection:
    return fleet[0]
