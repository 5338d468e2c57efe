"""Workers over real sshd for the tests of transport and jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.transport import Connection
from tests.transport.sshd import SSHD, Sshd


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A running sshd; its connections are cut at the end."""
    if SSHD is None:
        pytest.skip("openssh-server is not installed (make setup installs it)")
    server = Sshd(tmp_path / "w0")
    server.prepare()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def connection(sshd: Sshd) -> Iterator[Connection]:
    opened = sshd.connection()
    yield opened
    opened.close()
