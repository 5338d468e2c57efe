"""Runtime versions: the TPU VM's image follows the accelerator family, and the zone has the last word."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from runtime.facts.accelerators import family as family_named
from runtime.facts.tables import rows
from stack.errors import BadInput

LISTED_AT_MOST = 12


def runtime_preferences(family: str) -> tuple[str, ...]:
    """The runtime versions that fit ``family``, the preferred one first; the source stands in the table.

    Raises:
        BadInput: no such family.
    """
    family_named(family)
    mine = [row for row in rows("runtime_versions") if row["family"] == family]
    return tuple(row["runtime_version"] for row in sorted(mine, key=lambda row: int(row["preference"])))


def choose_runtime(
    family: str,
    offered: Collection[str] | None = None,
    override: str | None = None,
    *,
    key: str = "tpu-stack:runtimeVersion",
) -> str:
    """The runtime version for ``family``: the override, else the first preference that the zone offers.

    Args:
        offered: what the zone lists; None when it was not asked (then nothing is confirmed).
        override: the user's own choice, which must be offered too.

    Raises:
        BadInput: the zone offers neither; the error lists what it does offer.
    """
    wanted = (override,) if override else runtime_preferences(family)
    for version in wanted:
        if offered is None or version in offered:
            return version
    if not wanted:
        raise BadInput("no runtime version is known for this family", key="family", value=family, cure=f"Set {key}")
    raise BadInput(
        f"the zone does not offer it for {family}",
        key=key,
        value=" or ".join(wanted),
        cure=f"The zone offers: {_shown(offered or (), wanted[0])}",
    )


def _shown(offered: Collection[str], wanted: str) -> str:
    if not offered:
        return "no runtime version at all; check the zone"
    near = difflib.get_close_matches(wanted, sorted(offered), n=LISTED_AT_MOST, cutoff=0.0)
    more = len(offered) - len(near)
    return ", ".join(near) + (f" and {more} more" if more > 0 else "")
