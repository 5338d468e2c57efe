"""What set-up cannot bring by itself: one line each with its cure, all at once, exit code 2, nothing touched."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.toolchain.conftest import MakeProgram
from toolchain.install import golang
from toolchain.install.context import Context
from toolchain.install.debian import PACKAGES
from toolchain.install.problems import Missing
from toolchain.install.steps import set_up


@pytest.fixture(autouse=True)
def no_go_in_the_usual_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golang, "USUAL_PLACE", tmp_path / "nowhere/go")


@pytest.fixture
def packages(program: MakeProgram) -> None:
    """Every program of the Debian packages."""
    for name in PACKAGES:
        program(name, "exit 0")


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.usefixtures("packages")
def test_no_go_and_no_pulumi(machine: Context, capsys: pytest.CaptureFixture[str]) -> None:
    assert set_up(machine) == 2
    (line,) = lines_of(capsys)
    assert line.startswith("Pulumi: neither it nor Go, which would build it, is installed.")
    assert "https://www.pulumi.com/docs/install" in line
    assert not (machine.root / ".venv").exists()
    assert not (machine.caches / "wheelhouse").exists()


@pytest.mark.usefixtures("packages")
def test_a_go_that_is_too_old_and_may_not_fetch_another(
    machine: Context, program: MakeProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    go = program("go", 'case $1 in version) echo "go version go1.22.3 linux/amd64";; env) echo local;; esac')
    assert set_up(machine) == 2
    (line,) = lines_of(capsys)
    assert line.startswith(f"Go 1.22.3 at {go}: older than 1.25.11")


def test_a_go_that_fetches_a_newer_one_itself_will_do(machine: Context, program: MakeProgram) -> None:
    go = program("go", 'case $1 in version) echo "go version go1.22.3 linux/amd64";; env) echo auto;; esac')
    assert golang.find_go(machine, golang.read_module(machine.root / "toolchain")) == go


def test_a_go_that_does_not_run_is_named(machine: Context, program: MakeProgram) -> None:
    go = program("go", "exit 1")
    found = golang.find_go(machine, golang.read_module(machine.root / "toolchain"))
    assert isinstance(found, Missing)
    assert str(go) in str(found)


def test_all_that_is_missing_is_told_at_once(
    machine: Context, program: MakeProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    program("apt-get", "exit 1")
    program("git", "exit 0")
    assert set_up(machine) == 2
    packages, pulumi = lines_of(capsys)
    command = "Run: sudo apt-get install -y openssh-server openssh-client iproute2 sudo curl procps tini util-linux"
    assert packages.endswith(command)
    assert pulumi.startswith("Pulumi: ")


def test_without_apt_the_packages_are_named_all_the_same(machine: Context, capsys: pytest.CaptureFixture[str]) -> None:
    assert set_up(dataclasses.replace(machine, is_root=True)) == 2
    assert lines_of(capsys)[0].startswith("git, openssh-server, openssh-client, iproute2,")


@pytest.mark.usefixtures("packages")
def test_no_python_is_told_together_with_the_rest(
    machine: Context, program: MakeProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = program("python3.12", "exit 127")
    machine = dataclasses.replace(machine, environment={**machine.environment, "TPU_STACK_PYTHON": str(broken)})
    assert set_up(machine) == 2
    python, pulumi = lines_of(capsys)
    assert python.startswith("Python 3.12: ")
    assert pulumi.startswith("Pulumi: ")
