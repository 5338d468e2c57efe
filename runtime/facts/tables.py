"""The tables under ``data/``: facts about TPUs, each row with its source.

Read once, on first use, so that a command that needs no table pays nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"


@cache
def rows(table: str) -> tuple[Mapping[str, str], ...]:
    """Every row of ``data/<table>.csv``, as written there."""
    with (DATA / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
