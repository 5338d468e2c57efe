"""TPU families and accelerator types: what a name such as ``v6e-16`` means.

The tables tell what to expect before anything exists. Where public sources disagree (the workers of a
v6e-8, for one) the number of endpoints that the API lists after the create decides, and the caller
plans again with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from runtime.facts.tables import rows
from stack.errors import BadInput


@dataclass(frozen=True)
class Family:
    """One generation of TPU.

    Attributes:
        name: ``v6e``.
        prefix: of its accelerator types (``v5litepod`` for v5e).
        counts: what N in ``prefix-N`` counts: ``chips`` or ``TensorCores``.
        api_type: the Cloud TPU API's enumeration value.
        jax_devices_per_chip: JAX devices that one chip shows.
        usable_hbm_gib_per_chip: what XLA leaves for programs; None where no source was read.
        bf16_tflops_per_chip: None where no source was read.
        refusal: why the Cloud TPU API does not offer it; empty where it does.
    """

    name: str
    prefix: str
    counts: str
    api_type: str
    tensorcores_per_chip: int
    jax_devices_per_chip: int
    hbm_gib_per_chip: int
    usable_hbm_gib_per_chip: float | None
    bf16_tflops_per_chip: int | None
    refusal: str
    source: str


@dataclass(frozen=True)
class AcceleratorType:
    """One row of the table: a slice's size and layout, as expected before it exists.

    Attributes:
        assumption: where sources disagree: what is taken for granted, and what will decide; else empty.
    """

    name: str
    family: Family
    chips: int
    workers: int
    chips_per_worker: int
    topology: str
    assumption: str
    confidence: str
    source: str


@cache
def families() -> Mapping[str, Family]:
    """Every known family by name, refused ones included."""
    return {row["family"]: _family(row) for row in rows("families")}


@cache
def accelerator_types() -> Mapping[str, AcceleratorType]:
    """Every known accelerator type by name, refused ones included."""
    return {row["accelerator_type"]: _accelerator_type(row) for row in rows("accelerator_types")}


def family(name: str) -> Family:
    """The family called ``name``.

    Raises:
        BadInput: there is no such family.
    """
    if name in families():
        return families()[name]
    raise BadInput("is no TPU family", key="family", value=name, cure=f"Known: {', '.join(families())}")


def accelerator_type(name: str, *, key: str = "tpu-stack:acceleratorType") -> AcceleratorType:
    """The accelerator type called ``name``.

    Raises:
        BadInput: unknown (with the nearest known names), or of a family that the Cloud TPU API does not offer.
    """
    known = accelerator_types()
    prefix = name.rpartition("-")[0]
    its_family = next((item for item in families().values() if prefix in (item.prefix, item.name)), None)
    if its_family is not None and its_family.refusal:
        raise BadInput(its_family.refusal, key=key, value=name, cure="Use v6e, v5p or v5e")
    if name in known:
        return known[name]
    raise BadInput("is no known accelerator type", key=key, value=name, cure=_nearest(name, its_family))


def _nearest(name: str, its_family: Family | None) -> str:
    offered = [item for item in accelerator_types().values() if not item.family.refusal]
    if its_family is not None:
        sizes = [item.name for item in offered if item.family is its_family]
        return f"{its_family.name} comes as {', '.join(sizes)} (N counts {its_family.counts})"
    near = difflib.get_close_matches(name, [item.name for item in offered], n=3, cutoff=0.4)
    prefixes = ", ".join(f"{item.prefix}-N" for item in families().values() if not item.refusal)
    return f"Did you mean {' or '.join(near)}? Known: {prefixes}" if near else f"Known: {prefixes}"


def _family(row: Mapping[str, str]) -> Family:
    tflops, usable = row["bf16_tflops_per_chip"], row["usable_hbm_gib_per_chip"]
    return Family(
        name=row["family"],
        prefix=row["prefix"],
        counts=row["counts"],
        api_type=row["api_type"],
        tensorcores_per_chip=int(row["tensorcores_per_chip"]),
        jax_devices_per_chip=int(row["jax_devices_per_chip"]),
        hbm_gib_per_chip=int(row["hbm_gib_per_chip"]),
        usable_hbm_gib_per_chip=float(usable) if usable else None,
        bf16_tflops_per_chip=int(tflops) if tflops else None,
        refusal=row["refusal"],
        source=row["source"],
    )


def _accelerator_type(row: Mapping[str, str]) -> AcceleratorType:
    return AcceleratorType(
        name=row["accelerator_type"],
        family=families()[row["family"]],
        chips=int(row["chips"]),
        workers=int(row["workers"]),
        chips_per_worker=int(row["chips_per_worker"]),
        topology=row["topology"],
        assumption=row["assumption"],
        confidence=row["confidence"],
        source=row["source"],
    )
