"""A small project, and a machine of its own for set-up: a PATH, a home and caches that hold nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolchain import paths
from toolchain.install import context as contexts
from toolchain.install.context import Context

ROOT = Path(__file__).resolve().parent.parent.parent

MakeProgram = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What set-up reads of a project, with locks small enough to install in a test."""
    root = tmp_path / "project"
    (root / "runtime/engines/locks").mkdir(parents=True)
    (root / "requirements").mkdir()
    (root / "toolchain").mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(ROOT / "toolchain" / name, root / "toolchain" / name)
    shutil.copy(ROOT / "requirements/bootstrap.txt", root / "requirements/bootstrap.txt")
    lock = (ROOT / "runtime/engines/locks/sglang-jax-0.0.2-cpu.txt").read_text()
    few = "".join(block_of(lock, name) for name in ("sniffio", "zipp"))
    (root / "runtime/engines/locks/engine-1-cpu.txt").write_text(few)
    (root / "requirements/dev.txt").write_text(few)
    return root


def block_of(lock: str, name: str) -> str:
    """The lines of one package in a lock."""
    lines = lock.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{name}=="))
    last = first + 1
    while last < len(lines) and lines[last].startswith(" "):
        last += 1
    return "".join(lines[first:last])


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """The only folder on the machine's PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


@pytest.fixture
def program(bin_folder: Path) -> MakeProgram:
    """Make a program of shell lines, by default in the folder on PATH."""

    def make(name: str, script: str, folder: Path = bin_folder) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def machine(tmp_path: Path, project: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """A context on a machine where nothing is installed but what the test puts into ``bin_folder``.

    Wheels come from the wheelhouse that `make setup` filled, so no test asks an index.
    """
    monkeypatch.setattr(contexts, "SYSTEM_FOLDERS", ())
    # What set-up's own programs are written in is there on every machine.
    for tool in ("sh", "sleep", "cat", "mkdir", "cp", "chmod", "rm", "touch", "env", "dirname", "echo", "test"):
        found = shutil.which(tool, path="/usr/bin:/bin")
        if found:
            (bin_folder / tool).symlink_to(found)
    toolchain = paths.load(ROOT)
    caches = tmp_path / "home/.cache/tpu-stack"
    caches.mkdir(parents=True)
    (caches / "tools").symlink_to(toolchain.uv.parent.parent.parent)
    environment = {
        "PATH": str(bin_folder),
        "HOME": str(tmp_path / "home"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(toolchain.wheelhouse),
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(toolchain.wheelhouse),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
    context = Context(root=project, caches=caches, environment=environment, is_root=False)
    yield context
    context.processes.end_all()
