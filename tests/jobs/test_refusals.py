"""What cannot be launched is refused with its reason, and nothing is overwritten."""

from __future__ import annotations

import shutil

import pytest

from runtime.jobs import (
    Ack,
    Answer,
    JobSpec,
    launch_on,
    new_attempt,
)
from runtime.jobs.states import parse_ack, parse_status
from runtime.transport import Connection
from stack.errors import BadInput, Refused
from tests.jobs.support import spec
from tests.transport.sshd import Sshd


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


def test_what_a_login_shell_prints_is_no_answer() -> None:
    noise = "Welcome to Ubuntu\nLAUNCHED pid=7\nhave a nice day\n"
    assert parse_ack(2, noise) == Ack(2, Answer.LAUNCHED, "pid=7")
    assert parse_ack(2, "Welcome\n") is None
    with pytest.raises(ValueError, match="not a mapping"):
        parse_status(0, "[]")
