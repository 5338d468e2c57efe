"""The package schema of what the stand-in serves, from the table of fields; `pulumi import` asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localcloud.provider import VERSION
from localcloud.provider.fields import INPUTS, READ_ONLY, Field, Kind
from localcloud.provider.lists import SOURCES

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
SIMPLE: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: TEXT,
    Kind.WHOLE: {"type": "integer"},
    Kind.FLAG: {"type": "boolean"},
    Kind.MAP: {"type": "object", "additionalProperties": TEXT},
    Kind.TEXTS: TEXTS,
}
ANY = {"$ref": "pulumi.json#/Any"}


def schema() -> dict[str, Any]:
    """The schema document."""
    types: dict[str, Any] = {}
    inputs = {field.name: _type_of(field, types) for field in INPUTS}
    lists = {
        token: {
            "inputs": {"properties": {"project": TEXT, "zone": TEXT}},
            "outputs": {"properties": {"id": TEXT, "project": TEXT, "zone": TEXT, source.output: TEXTS}},
        }
        for token, source in SOURCES.items()
    }
    resource = {
        "inputProperties": inputs,
        "properties": {**inputs, **dict.fromkeys(READ_ONLY, ANY)},
        "requiredInputs": ["runtimeVersion"],
    }
    return {
        "name": "gcp",
        "version": VERSION,
        "types": types,
        "resources": {"gcp:tpu/v2Vm:V2Vm": resource},
        "functions": lists,
        "language": {"python": {"compatibility": "tfbridge20"}},
        "meta": {"moduleFormat": "(.*)(?:/[^/]*)"},
    }


def _type_of(field: Field, types: dict[str, Any]) -> dict[str, Any]:
    if field.kind in SIMPLE:
        return SIMPLE[field.kind]
    name = f"V2Vm{field.name[0].upper()}{field.name[1:].removesuffix('s' if field.kind is Kind.BLOCKS else '')}"
    token = f"gcp:tpu/{name}:{name}"
    types[token] = {"type": "object", "properties": _properties(field.fields, types)}
    reference = {"$ref": f"#/types/{token}"}
    return {"type": "array", "items": reference} if field.kind is Kind.BLOCKS else reference


def _properties(fields: Iterable[Field], types: dict[str, Any]) -> dict[str, Any]:
    return {field.name: _type_of(field, types) for field in fields}
