"""Where set-up put what the project runs on: the one reader of ``.cache/toolchain.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from stack.errors import MissingPrerequisite

PROJECT = Path(__file__).resolve().parent.parent
RECORD = Path(".cache") / "toolchain.json"
CURE = "Run: make setup"


@dataclass(frozen=True)
class Toolchain:
    """The folders and programs that set-up found or made; all of them existed when this was read.

    Args:
        pulumi: the folder to put first on PATH, with ``pulumi`` and its language host.
        python312: the prefix of a Python 3.12 that runs, for workers of the embedded cloud.
        uv: the program, at its pinned version.
        wheelhouse: a flat folder with every wheel that those workers install.
        language_host: whether ``pulumi`` runs programs by this project's own language host.
    """

    pulumi: Path
    python312: Path
    uv: Path
    wheelhouse: Path
    language_host: bool


def load(root: Path = PROJECT) -> Toolchain:
    """What `make setup` recorded for the project at ``root``.

    Raises:
        MissingPrerequisite: it has not run here, or what it recorded is gone.
    """
    record = root / RECORD
    try:
        facts = json.loads(record.read_text())
        toolchain = Toolchain(
            pulumi=Path(facts["pulumi"]),
            python312=Path(facts["python312"]),
            uv=Path(facts["uv"]),
            wheelhouse=Path(facts["wheelhouse"]),
            language_host=bool(facts["language_host"]),
        )
    except FileNotFoundError:
        raise MissingPrerequisite("this clone is not set up", key="set-up", value=root, cure=CURE) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingPrerequisite(f"not readable ({error})", key="set-up", value=record, cure=CURE) from error
    needed = {
        "pulumi": toolchain.pulumi / "pulumi",
        "python312": toolchain.python312 / "bin",
        "uv": toolchain.uv,
        "wheelhouse": toolchain.wheelhouse,
    }
    for key, path in needed.items():
        if not path.exists():
            raise MissingPrerequisite("was recorded by set-up and is gone", key=key, value=path, cure=CURE)
    return toolchain
