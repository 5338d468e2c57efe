"""Zones and prices: where a family is offered and what it costs. Offered is not the same as available now."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.facts.accelerators import accelerator_types
from runtime.facts.runtimes import runtime_preferences
from runtime.facts.tables import rows


@dataclass(frozen=True)
class Price:
    """US dollars a chip and hour; None where no price was read. The sources carry no date."""

    on_demand: float | None
    spot: float | None
    note: str
    source: str


def zones_with(family: str) -> tuple[str, ...]:
    """The zones where a public source has seen ``family``, sorted."""
    return tuple(sorted({row["zone"] for row in rows("zones") if row["family"] == family}))


def zones() -> tuple[str, ...]:
    """Every zone in the table, sorted."""
    return tuple(sorted({row["zone"] for row in rows("zones")}))


def accelerator_types_in(zone: str) -> tuple[str, ...]:
    """The accelerator types that ``zone`` lists, by the tables; empty for an unknown zone."""
    found: dict[str, None] = {}
    for row in rows("zones"):
        if row["zone"] != zone:
            continue
        limited = row["accelerator_types"].split()
        for item in accelerator_types().values():
            if item.family.name == row["family"] and (not limited or item.name in limited):
                found[item.name] = None
    return tuple(found)


def runtime_versions_in(zone: str) -> tuple[str, ...]:
    """The runtime versions that ``zone`` lists, by the tables: those of its families; empty for an unknown zone."""
    families = [row["family"] for row in rows("zones") if row["zone"] == zone]
    return tuple(dict.fromkeys(version for family in families for version in runtime_preferences(family)))


def price(family: str, zone: str) -> Price | None:
    """The price of one chip for an hour in ``zone``, else in its region; None where no source has one."""
    mine = [row for row in rows("prices_per_chip_hour") if row["family"] == family]
    region = zone.rpartition("-")[0]
    for row in [row for row in mine if row["zone"] == zone] + [row for row in mine if row["region"] == region]:
        return Price(
            on_demand=_dollars(row["on_demand_usd_per_chip_hour"]),
            spot=_dollars(row["spot_usd_per_chip_hour"]),
            note=row["note"],
            source=row["source"],
        )
    return None


def _dollars(text: str) -> float | None:
    return float(text) if text else None
