"""Find a Python 3.12 that really runs.

A name on PATH proves nothing: pyenv puts a ``python3.12`` shim there that fails unless that version was chosen, and a
Python built without SQLite or SSL cannot run the embedded cloud. So every candidate is run and asked what it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.install.context import Context, runs
from toolchain.install.problems import Missing, StepFailed

OVERRIDE = "TPU_STACK_PYTHON"
CURE = (
    f"Install it (apt-get install python3.12, pyenv install 3.12 or uv python install 3.12) or name one in {OVERRIDE}"
)

PROBE = """
import sys, json, ssl, sqlite3, zlib, ctypes
print(json.dumps([list(sys.version_info[:3]), sys.base_prefix, sys.executable]))
"""
PROBE_SECONDS = 20


@dataclass(frozen=True)
class Interpreter:
    """A Python that answered: its version, its own folder and the program (never a shim, never a virtual one)."""

    version: tuple[int, ...]
    prefix: Path
    executable: Path


def find(context: Context) -> Interpreter:
    """The first Python 3.12 that runs.

    Raises:
        Missing: there is none, and uv (if there is one) cannot bring it either.
    """
    failed = 0
    for candidate in candidates(context):
        answer = ask(candidate, context)
        if answer is None:
            failed += candidate.name == "python3.12"
        elif answer.version[:2] == (3, 12):
            return answer
    brought = _from_uv(context)
    if brought is not None:
        return brought
    tried = f"{failed} found under that name, none of which runs with ssl and sqlite3" if failed else "not found"
    raise Missing("Python 3.12", tried, CURE)


def candidates(context: Context) -> Iterator[Path]:
    """Where a Python 3.12 may be, likeliest first, each file once."""
    if context.environment.get(OVERRIDE):
        yield Path(context.environment[OVERRIDE])
        return
    seen: set[Path] = set()
    for path in _places(context):
        if path not in seen and runs(path):
            seen.add(path)
            yield path


def ask(candidate: Path, context: Context) -> Interpreter | None:
    """What the candidate says it is; None if it does not run, or lacks a module that we need."""
    try:
        answer = subprocess.run(  # noqa: S603  (running a candidate is the very test)
            [str(candidate), "-I", "-c", PROBE],
            env=context.clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
        )
        version, prefix, executable = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    own = Path(prefix) / "bin" / "python{}.{}".format(*version)
    return Interpreter(tuple(version), Path(prefix), own if runs(own) else Path(executable))


def _places(context: Context) -> Iterator[Path]:
    home = Path(context.environment.get("HOME", "/"))
    folders = [Path(folder) for folder in context.environment.get("PATH", "").split(os.pathsep) if folder]
    # pyenv's shims are slow and often fail, so the versions behind them come first. Its folder is told by PATH rather
    # than by HOME, which may be another one (sudo, CI).
    pyenv_roots = [Path(context.environment.get("PYENV_ROOT", "/nonexistent")), home / ".pyenv"]
    pyenv_roots += [folder.parent for folder in folders if folder.name in ("shims", "bin")]
    shims = {root / "shims" for root in pyenv_roots}
    for name in ("python3.12", "python3", "python"):
        yield from (folder / name for folder in folders if folder not in shims)
    for root in pyenv_roots:
        yield from _newest_first(root / "versions", "3.12*/bin/python3.12")
    yield from _newest_first(home / ".local/share/uv/python", "cpython-3.12*/bin/python3.12")
    yield Path(sys.executable)
    yield from (Path(folder) / "python3.12" for folder in ("/usr/local/bin", "/usr/bin"))
    yield from sorted(Path("/opt").glob("*/bin/python3.12"))
    yield from (shim / "python3.12" for shim in sorted(shims))


def _newest_first(folder: Path, pattern: str) -> list[Path]:
    def patch(path: Path) -> int:
        digits = path.relative_to(folder).parts[0].partition("3.12.")[2].split("-")[0]
        return int(digits) if digits.isdigit() else -1

    return sorted(folder.glob(pattern), key=patch, reverse=True)


def _from_uv(context: Context) -> Interpreter | None:
    """A Python that uv knows or downloads: the last resort, since not every machine may download it."""
    uv = context.which("uv")
    if uv is None or context.environment.get(OVERRIDE):
        return None
    environment = context.clean_environment()
    try:
        context.progress.line("python", "none found: asking uv for one")
        context.processes.run("python", [uv, "python", "install", "3.12"], env=environment)
        found = context.processes.run("python", [uv, "python", "find", "--no-project", "3.12"], env=environment)
    except StepFailed:
        return None
    return ask(Path(found.strip().splitlines()[-1]), context)
