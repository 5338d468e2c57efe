"""The wheelhouse: every wheel that the embedded cloud's workers install, since they have no way out to the network.

One flat folder for all clones of this user; what belongs in it is told by the engine locks for CPU and by uv's own. A
file counts only when its hash stands in a lock. Hashing 235 MB at each set-up would be slow, so the hashes are
remembered with each file's size and time of change, and taken again only where those differ.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from toolchain.install.context import Context, beside, digest, write_atomically
from toolchain.install.environment import QUIET, Tools
from toolchain.install.problems import Missing, StepFailed

LOCKS = Path("runtime") / "engines" / "locks"
LOCAL_PATTERNS = ("*-cpu.txt", "uv.txt")
"""The locks whose wheels workers of the embedded cloud need: the engines' CPU variants, and uv, which installs them."""


@dataclass(frozen=True)
class Pin:
    """One locked package: its line as pip reads it, and the hashes that its file may have."""

    requirement: str
    hashes: frozenset[str]


def read_pins(lock: Path) -> list[Pin]:
    """The pins of a lock with hashes.

    Raises:
        StepFailed: a package in it has no hash.
    """
    pins = []
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*$", "", lock.read_text()))
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *hashes = re.split(r"\s+--hash=sha256:", line)
        if not hashes:
            raise StepFailed("wheelhouse", f"{lock.name}: {requirement} has no hash. Lock it again: toolchain/lock.py")
        pins.append(Pin(requirement.strip(), frozenset(each.strip() for each in hashes)))
    return pins


class Wheelhouse:
    """Fill the wheelhouse with what the locks name, and notice what is missing or damaged."""

    name = "wheelhouse"

    def __init__(self, context: Context, tools: Tools) -> None:
        self._context = context
        self._tools = tools
        self.folder = context.caches / "wheelhouse"
        self._locks = sorted(lock for pattern in LOCAL_PATTERNS for lock in (context.root / LOCKS).glob(pattern))
        self._key = digest(*self._locks)
        self._memory = context.caches / "wheelhouse.json"

    def done(self) -> bool:
        """Whether every file that these locks needed is still there, untouched since it was hashed."""
        names = self._context.read(self.name).get(self._key)
        if not isinstance(names, list) or not self.folder.is_dir():
            return False
        known = self._known()
        return all(known.get(name, {}).get("stat") == _stat(self.folder / name) for name in names)

    def prerequisites(self) -> list[Missing]:
        return []

    def run(self) -> str:
        with self._context.locked(self.name, beside(self.folder, ".lock")):
            self.folder.mkdir(parents=True, exist_ok=True)
            pins = [pin for lock in self._locks for pin in read_pins(lock)]
            missing = self._missing(pins, self._hashes())
            if missing:
                self._context.progress.running(self.name, f"fetching {len(missing)} of {len(pins)} wheels")
                self._fetch(missing)
            hashes = self._hashes()
            still_missing = self._missing(pins, hashes)
            if still_missing:
                lacking = ", ".join(pin.requirement for pin in still_missing)
                raise StepFailed(self.name, f"no wheel with a locked hash for {lacking}")
        wanted = {each for pin in pins for each in pin.hashes}
        names = sorted(name for name, sha256 in hashes.items() if sha256 in wanted)
        self._context.remember(self.name, {self._key: names})
        return f"{len(names)} wheels in {self.folder}, {len(missing)} of them new"

    @staticmethod
    def _missing(pins: Iterable[Pin], hashes: dict[str, str]) -> list[Pin]:
        present = frozenset(hashes.values())
        return [pin for pin in pins if not pin.hashes & present]

    def _fetch(self, pins: list[Pin]) -> None:
        """Let pip fetch and check the wheels beside the wheelhouse, then move each one in whole."""
        with tempfile.TemporaryDirectory(dir=self._context.caches) as scratch:
            lock = Path(scratch) / "missing.txt"
            lines = (
                " ".join([pin.requirement, *(f"--hash=sha256:{each}" for each in sorted(pin.hashes))]) for pin in pins
            )
            lock.write_text("\n".join(lines) + "\n")
            wheels = Path(scratch) / "wheels"
            arguments: list[str | Path] = [
                "--no-deps",
                "--require-hashes",
                "--only-binary=:all:",
                "-r",
                lock,
                "-d",
                wheels,
            ]
            self._context.processes.run(
                self.name,
                [*self._tools.pip(), "download", "--progress-bar=off", *arguments],
                env=self._context.clean_environment(**QUIET),
                on_line=self._tell,
            )
            for wheel in wheels.glob("*.whl"):
                wheel.replace(self.folder / wheel.name)

    def _tell(self, line: str) -> None:
        if line.startswith("Collecting "):
            self._context.progress.running(self.name, line.split(" (from")[0])

    def _known(self) -> dict[str, dict[str, object]]:
        try:
            known = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _hashes(self) -> dict[str, str]:
        """The hash of every wheel in the folder, taken anew where a file's size or time of change is another."""
        known = self._known()
        fresh: dict[str, dict[str, object]] = {}
        for wheel in sorted(self.folder.glob("*.whl")):
            stat = _stat(wheel)
            remembered = known.get(wheel.name, {})
            same = stat is not None and remembered.get("stat") == stat
            fresh[wheel.name] = {"stat": stat, "sha256": remembered["sha256"] if same else _sha256(wheel)}
        write_atomically(self._memory, json.dumps(fresh, indent=1) + "\n")
        return {name: str(facts["sha256"]) for name, facts in fresh.items()}


def _stat(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as content:
        for block in iter(lambda: content.read(1 << 20), b""):
            total.update(block)
    return total.hexdigest()
