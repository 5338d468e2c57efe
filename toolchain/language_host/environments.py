"""The Python environment of a program: its interpreter, and what is installed in it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VERSION_SETTING = re.compile(r"^version(?:_info)?\s*=\s*([\d.]+\d)", re.MULTILINE)

REQUIREMENT_NAME = re.compile(r"^[A-Za-z0-9._-]+")


class EnvironmentMissing(Exception):
    """The virtual environment that the project names is not there; the message says how to make it."""


@dataclass(frozen=True)
class RequiredPlugin:
    """A resource plugin that an installed SDK speaks to; ``server`` is empty for Pulumi's own."""

    name: str
    version: str
    server: str


@dataclass(frozen=True)
class PythonEnvironment:
    """An interpreter, and the virtual environment it belongs to (None: whatever ``python3`` is on PATH)."""

    python: Path
    home: Path | None

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """``base`` as it would be with this environment activated."""
        variables = {**base, "PYTHONUNBUFFERED": "1"}
        if self.home is not None:
            variables["VIRTUAL_ENV"] = str(self.home)
            variables["PATH"] = f"{self.home / 'bin'}{os.pathsep}{base.get('PATH', os.defpath)}"
            variables.pop("PYTHONHOME", None)
        return variables

    def version(self) -> str:
        """The interpreter's version, as its virtual environment has written it down; else our own, a guess."""
        settings = self.home / "pyvenv.cfg" if self.home else None
        found = VERSION_SETTING.search(settings.read_text()) if settings and settings.is_file() else None
        return found.group(1) if found else platform.python_version()

    def site_packages(self) -> list[str]:
        """Where its packages lie. A virtual environment tells by its layout, anything else is asked."""
        if self.home is not None:
            return [str(path) for path in self.home.glob("lib/python3*/site-packages")]
        answer = subprocess.run(  # noqa: S603 - the interpreter that will run the user's program anyway
            [str(self.python), "-c", "import json, sys; print(json.dumps(sys.path))"],
            capture_output=True,
            text=True,
            check=True,
        )
        return [entry for entry in json.loads(answer.stdout) if entry]

    def distributions(self) -> list[importlib.metadata.Distribution]:
        return list(importlib.metadata.distributions(path=self.site_packages()))


def find_environment(root: str, options: Mapping[str, object]) -> PythonEnvironment:
    """The environment of the project at ``root``, from the ``runtime.options`` of its Pulumi.yaml.

    Raises:
        EnvironmentMissing: the ``virtualenv`` option names a folder without a Python in it.
    """
    named = options.get("virtualenv")
    if isinstance(named, str) and named:
        home = Path(root, named)
        if not (home / "bin" / "python").exists():
            raise EnvironmentMissing(
                f"runtime.options.virtualenv={named}: there is no Python in {home}. "
                "Make it with `make setup`, or `pulumi install` in a project of your own"
            )
        return PythonEnvironment(home / "bin" / "python", home)
    command = os.environ.get("PULUMI_PYTHON_CMD")
    found = shutil.which(command or "python3") or shutil.which("python") or sys.executable
    return PythonEnvironment(Path(found), None)


def plugins_of(environment: PythonEnvironment) -> Iterator[RequiredPlugin]:
    """What the installed SDKs ask for, from the ``pulumi-plugin.json`` that each generated SDK carries."""
    for folder in environment.site_packages():
        for path in sorted(Path(folder).glob("*/pulumi-plugin.json")):
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.get("resource"):
                yield RequiredPlugin(document["name"], document.get("version", ""), document.get("server", ""))


def dependencies_of(environment: PythonEnvironment, *, transitive: bool) -> list[tuple[str, str]]:
    """Name and version of every installed distribution; without ``transitive`` only those that no other asks for."""
    found = {_normal(item.name): (item.name, item.version) for item in environment.distributions()}
    if not transitive:
        for item in environment.distributions():
            for requirement in item.requires or []:
                name = REQUIREMENT_NAME.match(requirement)
                if name and "extra ==" not in requirement:
                    found.pop(_normal(name.group()), None)
    return sorted(found.values())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
