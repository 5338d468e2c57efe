"""The tools that build Python environments, and the project's own environment ``.venv``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from toolchain.install.context import Context, beside, digest, runs, write_atomically
from toolchain.install.interpreter import Interpreter
from toolchain.install.problems import Missing, StepFailed

PTH = "tpu_stack.pth"
QUIET = {"PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}


class Tools:
    """uv and pip at their pinned versions, in the cache that all clones share.

    uv builds every environment; pip fetches wheels as files, which uv cannot. They come by whichever pip or uv this
    machine has, and are checked against the hashes in requirements/bootstrap.txt.
    """

    name = "tools"

    def __init__(self, context: Context, interpreter: Interpreter) -> None:
        self._context = context
        self._interpreter = interpreter
        self._lock = context.root / "requirements" / "bootstrap.txt"
        self.folder = context.caches / "tools" / digest(self._lock)
        self.uv = self.folder / "bin" / "uv"

    def done(self) -> bool:
        return runs(self.uv) and (self.folder / "pip" / "__main__.py").is_file()

    def prerequisites(self) -> list[Missing]:
        if self._pip() is None and self._context.which("uv") is None:
            return [Missing("pip", "no Python here has it", "Install it: apt-get install -y python3-pip")]
        return []

    def run(self) -> str:
        with self._context.locked(self.name, beside(self.folder, ".lock")):
            if not self.done():
                self._install()
        return f"uv and pip in {self.folder}"

    def pip(self) -> list[str | Path]:
        """How the pinned pip is started under Python 3.12, so that it picks wheels for it."""
        return [self._interpreter.executable, self.folder / "pip"]

    def _install(self) -> None:
        unfinished = beside(self.folder, ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        pip = self._pip()
        uv = self._context.which("uv")
        with_uv: list[str | Path] = (
            [] if uv is None else [uv, "pip", "install", "--python", self._interpreter.executable]
        )
        installer: list[str | Path] = with_uv if pip is None else [pip, "-m", "pip", "install"]
        environment = self._context.clean_environment(**QUIET)
        what: list[str | Path] = ["--no-deps", "--require-hashes", "--target", unfinished, "-r", self._lock]
        try:
            self._context.processes.run(self.name, [*installer, *what], env=environment)
            shutil.rmtree(self.folder, ignore_errors=True)
            unfinished.rename(self.folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _pip(self) -> Path | None:
        others = [self._context.which("python3"), Path("/usr/bin/python3")]
        for python in [self._interpreter.executable, Path(sys.executable), *(other for other in others if other)]:
            try:
                self._context.processes.run(
                    self.name, [python, "-m", "pip", "--version"], env=self._context.clean_environment()
                )
            except StepFailed:
                continue
            return python
        return None


class Environment:
    """``.venv``: exactly what requirements/dev.txt names, and the project itself on its path."""

    name = "environment"

    def __init__(self, context: Context, interpreter: Interpreter, tools: Tools) -> None:
        self._context = context
        self._interpreter = interpreter
        self._tools = tools
        self._lock = context.root / "requirements" / "dev.txt"
        self._folder = context.root / ".venv"
        self._packages = self._folder / "lib" / "python3.12" / "site-packages"
        # Scripts in a virtual environment name its absolute path, so a clone that was moved needs a new one.
        self._place = f"{context.root} {interpreter.prefix}"
        self._key = digest(self._lock, self._place)

    @property
    def python(self) -> Path:
        return self._folder / "bin" / "python"

    def done(self) -> bool:
        remembered = self._context.read(self.name)
        if remembered.get("key") != self._key or not runs(self.python):
            return False
        pth = self._packages / PTH
        if not pth.is_file() or pth.read_text() != f"{self._context.root}\n":
            return False
        distributions = remembered.get("distributions")
        return isinstance(distributions, list) and set(distributions) <= set(self._distributions())

    def prerequisites(self) -> list[Missing]:
        return []

    def run(self) -> str:
        environment = self._context.clean_environment(UV_PYTHON_DOWNLOADS="never", UV_NO_PROGRESS="1")
        # uv has settings of its own for a mirror; a machine that only set pip's means the same one.
        if "PIP_INDEX_URL" in environment:
            environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
        if not self._usable():
            self._uv(
                "venv",
                "--clear",
                "--no-project",
                "--python",
                self._interpreter.executable,
                self._folder,
                env=environment,
            )
        self._uv("pip", "sync", "--python", self.python, "--require-hashes", self._lock, env=environment)
        write_atomically(self._packages / PTH, f"{self._context.root}\n")
        distributions = self._distributions()
        self._context.remember(self.name, {"key": self._key, "place": self._place, "distributions": distributions})
        return f"{len(distributions)} packages in .venv, Python {'.'.join(map(str, self._interpreter.version))}"

    def _uv(self, *arguments: str | Path, env: dict[str, str]) -> None:
        self._context.processes.run(
            self.name,
            [self._tools.uv, *arguments],
            env=env,
            on_line=lambda line: self._context.progress.running(self.name, line.strip()),
        )

    def _usable(self) -> bool:
        """Whether ``.venv`` runs, here, on the Python that was found."""
        if not runs(self.python) or self._context.read(self.name).get("place", self._place) != self._place:
            return False
        try:
            script = "import sys; print(sys.base_prefix)"
            environment = self._context.clean_environment()
            said = self._context.processes.run(self.name, [self.python, "-I", "-c", script], env=environment)
        except StepFailed:
            return False
        return said.strip() == str(self._interpreter.prefix)

    def _distributions(self) -> list[str]:
        return sorted(entry.name for entry in self._packages.glob("*.dist-info"))
