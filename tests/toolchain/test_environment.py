"""``.venv`` is exactly its lock, notices damage, and is made anew when it cannot run. The real uv installs."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toolchain.conftest import MakeProgram, block_of
from tests.toolchain.test_wheelhouse import THIS
from toolchain.install.context import Context
from toolchain.install.environment import Environment, Tools
from toolchain.install.problems import StepFailed


def environment(machine: Context) -> Environment:
    return Environment(machine, THIS, Tools(machine, THIS))


@pytest.fixture
def made(machine: Context) -> Context:
    assert not environment(machine).done()
    environment(machine).run()
    assert environment(machine).done()
    return machine


def packages(machine: Context) -> Path:
    return machine.root / ".venv/lib/python3.12/site-packages"


def test_it_has_the_locked_packages_and_the_project_on_its_path(made: Context) -> None:
    script = "import sniffio, zipp, sys; print(sys.version_info[:2], sys.path)"
    said = subprocess.run([environment(made).python, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert "(3, 12)" in said.stdout
    assert str(made.root) in said.stdout


def test_a_package_that_was_removed_is_noticed_and_brought_back(made: Context) -> None:
    (info,) = packages(made).glob("zipp-*.dist-info")
    shutil.rmtree(info)
    assert not environment(made).done()
    environment(made).run()
    assert list(packages(made).glob("zipp-*.dist-info"))


def test_a_package_that_left_the_lock_leaves_the_environment(made: Context) -> None:
    lock = made.root / "requirements/dev.txt"
    lock.write_text(block_of(lock.read_text(), "zipp"))
    assert not environment(made).done()
    environment(made).run()
    assert not list(packages(made).glob("sniffio*"))


def test_a_python_that_is_gone_is_noticed_and_the_environment_made_anew(made: Context) -> None:
    environment(made).python.unlink()
    assert not environment(made).done()
    environment(made).run()
    assert environment(made).done()


def test_a_clone_that_was_moved_gets_a_new_environment(made: Context, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    made.root.rename(moved)
    there = dataclasses.replace(made, root=moved)
    assert not environment(there).done()
    environment(there).run()
    assert (packages(there) / "tpu_stack.pth").read_text() == f"{moved}\n"
    assert str(moved) in (moved / ".venv/bin/activate").read_text()


def test_a_file_with_another_hash_is_refused(machine: Context) -> None:
    (machine.root / "requirements/dev.txt").write_text(f"zipp==4.1.2 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(StepFailed) as raised:
        environment(machine).run()
    assert "zipp" in raised.value.output
    assert not environment(machine).done()


def test_the_tools_come_by_the_pip_of_another_python_where_python_3_12_has_none(
    machine: Context, program: MakeProgram
) -> None:
    (machine.caches / "tools").unlink()
    log = machine.root / "pip.log"
    # A 3.12 without pip (as Debian ships it) beside a Python that has one.
    bare = program("python3.12", "exit 1")
    program("python3", f'[ "$2" = pip ] && echo "$*" >> {log}; exit 0')
    tools = Tools(machine, dataclasses.replace(THIS, executable=bare))
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        pytest.skip("the Python of this environment has a pip of its own")
    assert tools.prerequisites() == []
    with pytest.raises(OSError, match="unfinished"):  # that pip installs nothing
        tools.run()
    assert "--require-hashes" in log.read_text()
