"""What every step of set-up is given: where things are, and what it may use."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from toolchain.install.problems import StepFailed
from toolchain.install.processes import Processes
from toolchain.install.progress import Progress

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
"""Looked in after PATH: an ordinary user's PATH has no sbin, where sshd and ip are."""

UNWANTED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_TARGET",
    "PIP_USER",
)
"""Variables of the user's shell that would send a step's Python or pip elsewhere."""


LOCK_BEAT_SECONDS = 0.2
"""flock() cannot be waited for and interrupted from a thread, so a held lock is asked for again this often."""


@dataclass(frozen=True)
class Context:
    """The project, the caches, the environment and the programs of one set-up.

    ``caches`` is shared by all clones of this user; everything else is this clone's own.
    """

    root: Path
    caches: Path
    environment: Mapping[str, str]
    is_root: bool
    progress: Progress = field(default_factory=Progress)
    processes: Processes = field(default_factory=Processes)

    @property
    def local(self) -> Path:
        """The clone's own cache folder."""
        return self.root / ".cache"

    def read(self, step: str) -> dict[str, object]:
        """What ``step`` remembered about its last run; empty when there was none."""
        try:
            remembered = json.loads((self.local / "setup" / f"{step}.json").read_text())
        except (OSError, ValueError):
            return {}
        return remembered if isinstance(remembered, dict) else {}

    def remember(self, step: str, facts: Mapping[str, object]) -> None:
        """Keep ``facts`` for the next run of ``step``."""
        write_atomically(self.local / "setup" / f"{step}.json", json.dumps(facts, indent=1) + "\n")

    def which(self, program: str) -> Path | None:
        """The program on PATH or in a system folder."""
        folders = os.pathsep.join([self.environment.get("PATH", ""), *SYSTEM_FOLDERS])
        found = shutil.which(program, path=folders)
        return Path(found) if found else None

    @contextlib.contextmanager
    def locked(self, step: str, path: Path) -> Iterator[None]:
        """Hold a lock file while the body runs; another set-up waits. The kernel lets go of it if this process dies.

        Raises:
            StepFailed: set-up ended while this step waited.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            told = False
            while not _try_lock(handle):
                if not told:
                    self.progress.line(step, "another set-up is at it: waiting for it")
                    told = True
                if self.processes.ending_within(LOCK_BEAT_SECONDS):
                    raise StepFailed(step, "ended, because set-up ended")
            yield

    def clean_environment(self, **extra: str) -> dict[str, str]:
        """The user's environment without what would send Python or pip elsewhere."""
        kept = {name: value for name, value in self.environment.items() if name not in UNWANTED}
        return {**kept, **extra}


def make_context(root: Path, environment: Mapping[str, str] | None = None) -> Context:
    """The context of this process's user for the project at ``root``."""
    variables = dict(os.environ) if environment is None else dict(environment)
    home = Path(variables.get("HOME") or Path.home())
    caches = Path(variables.get("XDG_CACHE_HOME") or home / ".cache") / "tpu-stack"
    return Context(root=root, caches=caches, environment=variables, is_root=os.geteuid() == 0)


def digest(*parts: str | bytes | Path) -> str:
    """A hash over texts and the contents of files, 12 hexadecimal digits long: enough to tell versions apart."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        total.update(f"{len(content)}:".encode() + content)
    return total.hexdigest()[:12]


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text)
    unfinished.chmod(mode)
    unfinished.replace(path)


def beside(path: Path, ending: str) -> Path:
    """A neighbour of ``path``: its name with ``ending`` (``with_suffix`` would cut a version number short)."""
    return path.with_name(path.name + ending)


def runs(path: Path) -> bool:
    """Whether ``path`` is a file that may be executed."""
    return path.is_file() and os.access(path, os.X_OK)


def version_of(text: str) -> tuple[int, ...]:
    """The numbers of the first word that looks like a version, as in ``v3.259.0`` or ``go1.26.8``; empty if none."""
    for word in text.split():
        numbers = word.lstrip("vgo").split("-")[0].split("+")[0].split(".")
        if len(numbers) > 1 and all(number.isdigit() for number in numbers):
            return tuple(int(number) for number in numbers)
    return ()


def dotted(version: Sequence[int]) -> str:
    """A version as people write it."""
    return ".".join(str(number) for number in version)


def _try_lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
