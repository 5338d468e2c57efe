"""A node of the Cloud TPU API to and from the state of a V2Vm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from localcloud.provider.checking import DEFAULTS
from localcloud.provider.fields import INPUT, INPUTS, SENT, UPDATABLE, Field, Kind
from localcloud.provider.values import UNKNOWN, Properties

Node = Mapping[str, Any]


def create_body(planned: Properties) -> dict[str, Any]:
    """The body of a create: what is set, and the flags that the official provider always sends."""
    return _body(SENT, planned)


def update_body(planned: Properties) -> dict[str, Any]:
    """The body of an update: everything that can be updated and is set. The mask decides what counts."""
    return _body(UPDATABLE, planned)


def state_of(node: Node, planned: Mapping[str, Any], *, project: str, zone: str) -> Properties:
    """The state of a V2Vm whose node is ``node``.

    Labels are split by what was planned: those of the program, those of its provider, and all of them.
    """
    state: Properties = {field.name: _read(field, node.get(field.wire)) for field in SENT if field.kind is not Kind.MAP}
    all_labels = dict(node.get("labels") or {})
    state.update(
        name=str(node["name"]).rpartition("/")[2],
        project=project,
        zone=zone,
        labels=_those_of(planned.get("labels"), all_labels),
        pulumiLabels=_those_of(planned.get("pulumiLabels"), all_labels),
        effectiveLabels=all_labels,
        metadata=dict(node.get("metadata") or {}) or None,
        deletionPolicy=planned.get("deletionPolicy", INPUT["deletionPolicy"].default),
        state=node.get("state", ""),
        health=node.get("health", ""),
        healthDescription=node.get("healthDescription", ""),
        apiVersion=node.get("apiVersion", ""),
        queuedResource=node.get("queuedResource", ""),
        multisliceNode=bool(node.get("multisliceNode", False)),
        networkEndpoints=[_endpoint(endpoint) for endpoint in node.get("networkEndpoints") or []],
        symptoms=[dict(symptom) for symptom in node.get("symptoms") or []],
    )
    if not state["labels"]:
        del state["labels"]
    return {key: value for key, value in state.items() if value is not None}


def inputs_of(state: Properties, old_inputs: Properties) -> Properties:
    """The inputs that would have made ``state``.

    Of what the program gave, the present value; where nothing is known of a program (an import), every
    input that is set.
    """
    if not old_inputs:
        return {**_set_inputs(INPUTS, state), DEFAULTS: []}
    refreshed: Properties = {DEFAULTS: old_inputs.get(DEFAULTS, [])}
    for name, old in old_inputs.items():
        if name != DEFAULTS and (value := _refreshed(INPUT.get(name), old, state.get(name))) not in (None, "", {}, []):
            refreshed[name] = value
    return refreshed


def _refreshed(field: Field | None, old: Any, new: Any) -> Any:
    if field is not None and field.kind is Kind.BLOCK and isinstance(old, dict) and isinstance(new, dict):
        return {inner.name: new[inner.name] for inner in field.fields if inner.name in old and inner.name in new}
    return new


def _set_inputs(fields: Iterable[Field], state: Properties) -> Properties:
    found = {}
    for field in fields:
        value = state.get(field.name)
        if field.kind is Kind.BLOCK and isinstance(value, dict):
            value = _set_inputs(field.fields, value)
        if value:
            found[field.name] = value
    if found.get("acceleratorType"):
        found.pop("acceleratorConfig", None)
    return found


def _body(fields: Iterable[Field], planned: Mapping[str, Any]) -> dict[str, Any]:
    body = {}
    for field in fields:
        if (planned_value := planned.get(field.name)) is UNKNOWN:
            continue  # computed: only the API will say
        value = _sent(field, planned_value)
        if value or (field.always_sent and value is False):
            body[field.wire] = value
    return body


def _sent(field: Field, value: Any) -> Any:
    if field.kind is Kind.FLAG:
        return bool(value)
    if field.kind is Kind.BLOCK:
        return None if value is None else _body(field.fields, value)
    if field.kind is Kind.BLOCKS:
        return [_body(field.fields, item) for item in value or []]
    return value


def _read(field: Field, value: Any) -> Any:
    if field.kind is Kind.TEXT:
        return "" if value is None else str(value)
    if field.kind is Kind.WHOLE:
        return int(value or 0)
    if field.kind is Kind.FLAG:
        return bool(value)
    if field.kind is Kind.BLOCK:
        # An empty object is how the API says "all of it false"; the official provider reads nothing from it.
        return {inner.name: _read(inner, value.get(inner.wire)) for inner in field.fields} if value else None
    if field.kind is Kind.BLOCKS:
        found = [
            {inner.name: _read(inner, item.get(inner.wire)) for inner in field.fields} for item in value or [] if item
        ]
        return found or None
    return list(value) if value else None


def _endpoint(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    access = endpoint.get("accessConfig") or {}
    return {
        "ipAddress": endpoint.get("ipAddress", ""),
        "port": int(endpoint.get("port", 0)),
        "accessConfigs": [{"externalIp": access.get("externalIp", "")}] if access else [],
    }


def _those_of(planned: Any, labels: Mapping[str, str]) -> dict[str, str]:
    names = planned if isinstance(planned, dict) else {}
    return {key: labels[key] for key in labels if key in names}
