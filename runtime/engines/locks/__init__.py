"""The engines' locked environments: one requirements file with hashes each, installed on the workers as it is."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
UV = "uv"


def lock_names() -> tuple[str, ...]:
    """The environments that can be built; uv's own lock is none."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.txt") if path.stem != UV))


def lock_path(name: str) -> Path:
    """The lock of an environment, or of uv itself."""
    return FOLDER / f"{name}.txt"
