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


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Sshd]]:
    """Three running workers."""
    if SSHD is None:
        pytest.skip("openssh-server is not installed (make setup installs it)")
    servers = [Sshd(tmp_path / f"w{index}", index) for index in range(3)]
    for server in servers:
        server.prepare()
        server.start()
    yield servers
    for server in servers:
        server.stop()
    end_marked(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


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
