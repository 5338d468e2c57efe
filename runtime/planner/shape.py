"""SliceShape from an accelerator type: exists before anything is created."""

from __future__ import annotations

from runtime.facts import accelerator_type as known_type
from runtime.planner.types import SliceShape
from stack.errors import BadInput

TYPE_KEY = "tpu-stack:acceleratorType"

USABLE_SHARE = 0.97
"""Of the HBM, for families of which no source was read: XLA keeps 2.3 % on v6e and 1.6 % on v5e for itself."""


def slice_shape(accelerator_type: str, *, workers: int | None = None, key: str = TYPE_KEY) -> SliceShape:
    """The size and layout of a slice.

    Args:
        workers: as the API has listed them (or as the user says), where the table may be wrong.

    Raises:
        BadInput: unknown or refused type, or a number of workers that its chips cannot be shared by.
    """
    row = known_type(accelerator_type, key=key)
    count = row.workers if workers is None else workers
    if count < 1 or row.chips % count:
        fitting = [str(number) for number in range(1, row.chips + 1) if row.chips % number == 0]
        why = f"the {row.chips} chips of {row.name} cannot be shared by so many workers"
        raise BadInput(why, key="--workers", value=count, cure=f"Use one of {', '.join(fitting)}")
    return SliceShape(
        accelerator_type=row.name,
        family=row.family.name,
        topology=row.topology,
        chips=row.chips,
        workers=count,
        chips_per_worker=row.chips // count,
        hbm_gib_per_chip=row.family.hbm_gib_per_chip,
        usable_hbm_gib_per_chip=row.family.usable_hbm_gib_per_chip or row.family.hbm_gib_per_chip * USABLE_SHARE,
        devices_per_chip=row.family.jax_devices_per_chip,
        assumption=row.assumption if workers is None else "",
    )
