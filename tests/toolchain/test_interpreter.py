"""Finding a Python 3.12 that really runs, among names that promise one and fail."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from tests.toolchain.conftest import MakeProgram
from toolchain.install import interpreter
from toolchain.install.context import Context
from toolchain.install.problems import Missing

REAL = Path(sys.base_prefix) / "bin/python3.12"
FAILING_SHIM = 'echo "pyenv: python3.12: command not found" >&2; exit 127'


def with_environment(context: Context, **variables: str) -> Context:
    return dataclasses.replace(context, environment={**context.environment, **variables})


def test_a_shim_that_fails_is_passed_over_for_the_version_behind_it(
    machine: Context, program: MakeProgram, tmp_path: Path
) -> None:
    shims = tmp_path / "elsewhere/.pyenv/shims"
    shim = program("python3.12", FAILING_SHIM, shims)
    program("python3", FAILING_SHIM, shims)
    behind = tmp_path / "elsewhere/.pyenv/versions/3.12.9/bin/python3.12"
    behind.parent.mkdir(parents=True)
    behind.symlink_to(REAL)
    machine = with_environment(machine, PATH=f"{shims}:{machine.environment['PATH']}")

    candidates = list(interpreter.candidates(machine))
    assert candidates.index(behind) < candidates.index(shim)
    assert interpreter.ask(shim, machine) is None
    assert interpreter.find(machine).version[:2] == (3, 12)


def test_the_newest_of_several_pyenv_versions_comes_first(machine: Context, tmp_path: Path) -> None:
    versions = tmp_path / "home/.pyenv/versions"
    for name in ("3.12.9", "3.12.10", "3.12.1"):
        (versions / name / "bin").mkdir(parents=True)
        (versions / name / "bin/python3.12").symlink_to(REAL)
    found = [path.parts[-3] for path in interpreter.candidates(machine) if versions in path.parents]
    assert found == ["3.12.10", "3.12.9", "3.12.1"]


def test_the_answer_is_the_interpreter_itself_never_a_virtual_environment(machine: Context) -> None:
    answer = interpreter.ask(Path(sys.executable), machine)
    assert answer is not None
    assert answer.prefix == Path(sys.base_prefix)
    assert answer.executable == REAL


def test_another_version_under_the_name_python3_is_not_taken(machine: Context, program: MakeProgram) -> None:
    old = program("python3", """echo '[[3, 11, 7], "/usr", "/usr/bin/python3"]'""")
    assert old in list(interpreter.candidates(machine))
    assert interpreter.find(machine).version[:2] == (3, 12)


def test_a_python_without_sqlite_or_ssl_counts_as_one_that_does_not_run(machine: Context, program: MakeProgram) -> None:
    crippled = program("python3.12", "echo \"ModuleNotFoundError: No module named '_sqlite3'\" >&2; exit 1")
    assert interpreter.ask(crippled, machine) is None


def test_none_that_runs_is_one_line_with_the_cure(machine: Context, program: MakeProgram) -> None:
    shim = program("python3.12", FAILING_SHIM)
    machine = with_environment(machine, TPU_STACK_PYTHON=str(shim))
    with pytest.raises(Missing) as raised:
        interpreter.find(machine)
    line = str(raised.value)
    assert line.startswith("Python 3.12: 1 found under that name, none of which runs")
    assert "pyenv install 3.12" in line
    assert "\n" not in line
