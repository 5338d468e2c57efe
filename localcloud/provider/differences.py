"""What changes between the state of a V2Vm and its plan, in the words of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.provider.checking import DEFAULTS
from localcloud.provider.fields import INPUTS, LABEL_FIELDS, UPDATABLE, Field, Kind
from localcloud.provider.paths import join
from localcloud.provider.values import UNKNOWN, Properties


@dataclass(frozen=True)
class Change:
    """One changed property.

    Attributes:
        path: in Pulumi's notation.
        kind: ``add``, ``delete`` or ``update``.
        replaces: it takes a new node.
    """

    path: str
    kind: str
    replaces: bool


def changes(old: Mapping[str, Any], planned: Mapping[str, Any]) -> list[Change]:
    """Every difference that matters, in the order of the table.

    False, zero, empty and absent are one and the same to the API, and so they are here.
    """
    return [
        change
        for field in (*INPUTS, *LABEL_FIELDS)
        for change in _compare(field, field.name, old.get(field.name), planned.get(field.name))
    ]


def update_mask(old: Properties, planned: Properties) -> list[str]:
    """The API's names of what an update changes, in the official provider's order."""
    changed = {change.path.partition(".")[0].partition("[")[0] for change in changes(old, planned)}
    return [field.wire for field in UPDATABLE if field.name in changed]


def delete_before_replace(old: Properties, planned: Properties, inputs: Properties) -> bool:
    """Whether a replacement has to wait for the old node to go: both would have the same, given name."""
    return "name" not in inputs.get(DEFAULTS, ()) and old.get("name") == planned.get("name")


def _compare(field: Field, path: str, old: Any, new: Any) -> Iterator[Change]:
    if field.unremovable and isinstance(old, list) and isinstance(new, list):
        old, new = ([item for item in items if item not in field.unremovable] for items in (old, new))
    if old == new or (not old and not new):
        return
    if new is UNKNOWN or field.kind in (Kind.TEXT, Kind.WHOLE, Kind.FLAG):
        yield Change(path, _kind(old, new), field.replaces)
    elif field.kind is Kind.MAP:
        yield from _compare_maps(field, path, old, new)
    elif not old or not new:
        yield Change(path, "delete" if old else "add", field.replaces)
    elif field.kind is Kind.BLOCK:
        for inner in field.fields:
            yield from _compare(inner, join(path, inner.name), old.get(inner.name), new.get(inner.name))
    else:
        yield from _compare_lists(field, path, old, new)


def _compare_maps(field: Field, path: str, old: Any, new: Any) -> Iterator[Change]:
    if not old:
        # A map that was not there is added whole; one that goes, goes key by key (as recorded).
        yield Change(path, "add", field.replaces)
        return
    new = new or {}
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            kind = "update" if key in old and key in new else "add" if key in new else "delete"
            yield Change(join(path, key), kind, field.replaces)


def _compare_lists(field: Field, path: str, old: list[Any], new: list[Any]) -> Iterator[Change]:
    for index in range(max(len(old), len(new))):
        where = join(path, index)
        if index >= len(old):
            yield Change(where, "add", field.replaces)
        elif index >= len(new):
            yield Change(where, "delete", field.replaces)
        elif field.kind is Kind.BLOCKS and new[index] is not UNKNOWN:
            for inner in field.fields:
                yield from _compare(
                    inner, join(where, inner.name), old[index].get(inner.name), new[index].get(inner.name)
                )
        elif old[index] != new[index]:
            yield Change(where, "update", field.replaces)


def _kind(old: Any, new: Any) -> str:
    if old is None:
        return "add"
    return "delete" if new is None else "update"
