"""Set-up as a whole: quick when there is nothing to do, and ended at once, and cleanly, when a step fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.toolchain.conftest import ROOT
from toolchain.install.context import Context
from toolchain.install.problems import Missing, StepFailed
from toolchain.install.steps import Step, run_side_by_side


class Ready:
    """A step that is asked to run at once."""

    def __init__(self, name: str) -> None:
        self.name = name

    def done(self) -> bool:
        return False

    def prerequisites(self) -> list[Missing]:
        return []

    def run(self) -> str:
        return "done"


class Slow(Ready):
    """A step that takes long enough for another to overtake it."""

    def run(self) -> str:
        time.sleep(0.1)
        return "done"


class Sleeps(Ready):
    """A step whose program would run for a minute."""

    def __init__(self, name: str, context: Context, pid_file: Path) -> None:
        super().__init__(name)
        self._context = context
        self._pid_file = pid_file

    def run(self) -> str:
        self._context.processes.run(self.name, ["sh", "-c", f"echo $$ > {self._pid_file}; sleep 60 & wait"])
        return "slept"


class Fails(Ready):
    """A step that fails as soon as the other one's program runs."""

    def __init__(self, name: str, after: Path, error: Exception) -> None:
        super().__init__(name)
        self._after = after
        self._error = error

    def run(self) -> str:
        while not (self._after.exists() and self._after.read_text()):
            time.sleep(0.01)
        raise self._error


@pytest.mark.parametrize("error", [StepFailed("second", "broke"), OSError(28, "No space left on device")])
def test_a_failing_step_ends_the_programs_of_the_others_and_is_the_one_told(
    machine: Context, tmp_path: Path, error: Exception
) -> None:
    pid_file = tmp_path / "pid"
    third = Ready("third")
    second = Fails("second", pid_file, error)
    steps: list[tuple[Step, tuple[Step, ...]]] = [
        (Sleeps("first", machine, pid_file), ()),
        (second, ()),
        (third, (second,)),
    ]
    begin = time.monotonic()
    with pytest.raises(StepFailed, match=r"second: .*(broke|No space left)"):
        run_side_by_side(machine, steps)
    assert time.monotonic() - begin < 20
    wait_until_gone(int(pid_file.read_text()))


def wait_until_gone(group: int) -> None:
    """Return once nothing of the process group runs; what waits to be reaped by pid 1 does not run."""
    deadline = time.monotonic() + 10
    while any(stat[0] not in "ZX" and int(stat[2]) == group for stat in process_table()):
        assert time.monotonic() < deadline, f"process group {group} still runs"
        time.sleep(0.02)


def process_table() -> list[list[str]]:
    """State, parent and group of every process."""
    table = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            table.append(path.read_text().rpartition(")")[2].split())
    return table


def test_a_step_runs_after_those_it_needs(machine: Context, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = Slow("first"), Slow("second"), Ready("third")
    run_side_by_side(machine, [(first, ()), (second, (first,)), (third, (second,))])
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["first", "second", "third"]


def test_a_program_that_does_not_exist_is_a_failed_step(machine: Context) -> None:
    with pytest.raises(StepFailed, match="/no/such/program does not start: No such file or directory"):
        machine.processes.run("step", ["/no/such/program"])


def test_only_the_end_of_a_long_output_is_told(machine: Context) -> None:
    with pytest.raises(StepFailed) as raised:
        machine.processes.run("step", ["sh", "-c", "for n in 1 2 3 4 5 6 7; do echo $n$n$n$n; done; exit 3"])
    assert "exited with 3" in str(raised.value)
    assert raised.value.output.endswith("7777")


def test_a_second_set_up_has_nothing_to_do_and_takes_no_time() -> None:
    begin = time.monotonic()
    done = subprocess.run(["make", "-s", "setup"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout
    assert time.monotonic() - begin < 3


def test_set_up_refuses_arguments_it_does_not_know() -> None:
    bootstrap = ["python3", "toolchain/bootstrap.py", "--fast"]
    done = subprocess.run(bootstrap, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments: --fast" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("target", ["demo", "test"])
def test_an_ordinary_user_is_told_before_a_long_set_up(target: str) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        folder.chmod(0o755)
        shutil.copy(ROOT / "Makefile", folder / "Makefile")
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        make = [*as_nobody, "make", "-s", "-C", str(folder), target]
        done = subprocess.run(make, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (f"root: needed for the embedded cloud's workers. Run: sudo -E make {target}")


def test_ci_runs_what_a_person_runs() -> None:
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert lines[-1] == "exec make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)
