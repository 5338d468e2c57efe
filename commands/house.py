"""``test`` and ``check``: what holds the house itself."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from commands.console import EXIT_DONE, EXIT_FAILED, Console, Outcome
from commands.context import ROOT

SOURCES = ("stack", "infra", "runtime", "localcloud", "commands", "toolchain", "tests", "tasks.py")


SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
"""Two files at a time: they wait for servers as much as they compute. The tests of a file share its clouds."""


def test(console: Console, *, everything: bool) -> Outcome:
    """Run the tests, the long ones only when asked for."""
    marks = () if everything else ("-m", "not long")
    return _run_all(console, [("tests", [sys.executable, "-m", "pytest", "--durations=10", *SIDE_BY_SIDE, *marks])])


def check(console: Console) -> Outcome:
    """Run every check, all of them even when one fails."""
    programs = Path(sys.executable).parent
    scripts = [str(path) for room in SOURCES for path in sorted((ROOT / room).rglob("*.sh"))]
    scripts.append(str(ROOT / ".ci" / "run"))
    checks = [
        ("format", [str(programs / "ruff"), "format", "--check", *SOURCES]),
        ("lint", [str(programs / "ruff"), "check", *SOURCES]),
        ("types", [str(programs / "mypy")]),
        ("shell", [str(programs / "shellcheck"), *scripts]),
    ]
    return _run_all(console, checks)


def _run_all(console: Console, commands: list[tuple[str, list[str]]]) -> Outcome:
    failed: list[str] = []
    for name, argv in commands:
        started = time.monotonic()
        code = subprocess.run(argv, cwd=ROOT, check=False).returncode  # noqa: S603 - our own tools
        console.line(f"{name}: {'ok' if code == 0 else f'FAILED (exit {code})'} in {time.monotonic() - started:.1f} s")
        if code:
            failed.append(name)
    return Outcome({"failed": failed}, exit_code=EXIT_FAILED if failed else EXIT_DONE)
