"""The rules between the rooms, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = {"stack", "infra", "runtime", "localcloud", "commands", "toolchain", "policy", "tasks"}
MAY_IMPORT = {
    "stack": set(),
    "runtime": {"stack"},
    "infra": {"stack", "runtime"},
    "localcloud": {"stack", "runtime", "toolchain"},
    "toolchain": {"stack"},
    "commands": {"stack", "runtime", "infra", "localcloud", "toolchain"},
}
SOCKET_MODULES = {"socket", "http", "urllib", "requests", "httpx", "paramiko", "grpc", "google", "asyncio"}


def imported(path: Path) -> set[str]:
    """Every module that the file imports, at any depth of the code, in full."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_the_rooms_it_may(room: str) -> None:
    assert files(room), f"no file in {room}"
    for path in files(room):
        rooms = {name.split(".")[0] for name in imported(path)} & HOUSE - {room}
        assert rooms <= MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {sorted(rooms - MAY_IMPORT[room])}"


def test_runtime_never_imports_pulumi() -> None:
    for path in files("runtime"):
        assert not {name for name in imported(path) if name.split(".")[0].startswith("pulumi")}, path


def test_infra_takes_only_pure_modules_of_runtime_and_opens_no_socket() -> None:
    for path in files("infra"):
        names = imported(path)
        assert not {name.split(".")[0] for name in names} & SOCKET_MODULES, path
        used = {name for name in names if name.startswith("runtime")}
        assert all(name.split(".")[:2] in (["runtime"], ["runtime", "facts"]) for name in used), (path, used)


def test_planning_and_listing_load_nothing_slow() -> None:
    code = (
        "import sys, runtime.planner, commands.plan\n"
        "slow = {'paramiko', 'pulumi', 'google.cloud', 'numpy', 'requests', 'starlette', 'grpc'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"
