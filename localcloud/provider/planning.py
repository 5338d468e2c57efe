"""Plans a V2Vm: what its state will be, from what it is and what the program asks for.

The rules are those of the official provider: a computed property that the program leaves out keeps its
value, any other goes; the labels of others stay on the node.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localcloud.provider.fields import INPUTS, READ_ONLY, Field, Kind
from localcloud.provider.paths import parse_path
from localcloud.provider.values import UNKNOWN, Properties

ATTRIBUTION = {"goog-pulumi-provisioned": "true"}
"""The label that the official provider puts on what it creates, and never adds later (CREATION_ONLY)."""

DEFAULT_TYPE = "v2-8"
"""What a node is that gives neither accelerator type nor config (source: the API's description)."""


@dataclass(frozen=True)
class Surroundings:
    """What the provider's own configuration adds to every resource."""

    project: str | None
    zone: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    attribution: bool = True


def plan(inputs: Properties, prior: Properties | None, around: Surroundings, ignored: Iterable[str] = ()) -> Properties:
    """The state after an update from ``prior``, or a create where that is None.

    Args:
        ignored: property paths of ``ignoreChanges``; they keep what ``prior`` has.
    """
    old = prior or {}
    planned = copy.deepcopy(old)
    for item in INPUTS:
        planned[item.name] = _planned(item, inputs.get(item.name), old.get(item.name))
    planned["project"] = inputs.get("project") or around.project
    planned["zone"] = inputs.get("zone") or old.get("zone") or around.zone
    for path in ignored:
        _keep(planned, old, parse_path(path))
    _plan_labels(planned, old, around, creating=prior is None)
    if prior is None:
        _plan_create(planned)
    return {key: value for key, value in planned.items() if value is not None}


def _planned(item: Field, given: Any, old: Any) -> Any:
    if given is None:
        return copy.deepcopy(old) if item.computed else None
    if item.kind is Kind.BLOCK and isinstance(given, dict):
        return _planned_block(item, given, old if isinstance(old, dict) else {})
    if item.kind is Kind.BLOCKS and isinstance(given, list):
        olds = old if isinstance(old, list) else []
        return [
            _planned_block(item, block, olds[index] if index < len(olds) else {}) if isinstance(block, dict) else block
            for index, block in enumerate(given)
        ]
    return copy.deepcopy(given)


def _planned_block(item: Field, given: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    return {inner.name: _planned(inner, given.get(inner.name), old.get(inner.name)) for inner in item.fields}


def _plan_labels(planned: Properties, old: Properties, around: Surroundings, *, creating: bool) -> None:
    labels = planned.get("labels")
    if labels is UNKNOWN:
        planned["pulumiLabels"] = planned["effectiveLabels"] = UNKNOWN
        return
    before = old.get("pulumiLabels") or {}
    kept = around.attribution and (creating or all(key in before for key in ATTRIBUTION))
    ours = {**around.labels, **(labels or {}), **(ATTRIBUTION if kept else {})}
    others = {key: value for key, value in (old.get("effectiveLabels") or {}).items() if key not in before}
    planned["pulumiLabels"] = ours
    planned["effectiveLabels"] = {**others, **ours}


def _plan_create(planned: Properties) -> None:
    if not planned.get("acceleratorType") and not planned.get("acceleratorConfig"):
        planned["acceleratorType"] = DEFAULT_TYPE
    for item in INPUTS:
        if item.computed and planned.get(item.name) is None:
            planned[item.name] = UNKNOWN
        elif item.kind is Kind.BLOCK and isinstance(planned.get(item.name), dict):
            block = planned[item.name]
            block.update({inner.name: UNKNOWN for inner in item.fields if inner.computed and block[inner.name] is None})
    for name in READ_ONLY:
        planned.setdefault(name, UNKNOWN)


def _keep(planned: Any, old: Any, path: list[str | int]) -> None:
    """Make ``planned`` at ``path`` what ``old`` has there, absence included."""
    *parents, last = path
    for part in parents:
        inner = planned.get(part) if isinstance(planned, dict) and isinstance(part, str) else None
        if inner is None and isinstance(planned, dict) and isinstance(part, str):
            inner = planned[part] = {}
        planned, old = inner, old.get(part) if isinstance(old, dict) else None
    if not isinstance(planned, dict) or not isinstance(last, str):
        return
    if isinstance(old, dict) and last in old:
        planned[last] = copy.deepcopy(old[last])
    else:
        planned.pop(last, None)
