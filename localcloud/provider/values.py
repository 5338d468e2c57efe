"""Property values between the engine's wire form and Python: unknowns, secrets, whole numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
CONFIDENTIAL: Final = "1b47061264138c4ac30d75fd1eb44270"
"""Pulumi marks a secret on the wire as an object with this signature (source: pulumi ``sdk/go/.../resource/sig``)."""

UNKNOWN_ON_WIRE: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWNS_ON_WIRE: Final = frozenset(
    {
        UNKNOWN_ON_WIRE,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""A value that a preview cannot know yet: string, bool, number, array, object (source: pulumi ``plugin/rpc.go``)."""


class _Unknown:
    """The one value that stands for every unknown; equal to itself only, and never empty."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __deepcopy__(self, memo: object) -> _Unknown:
        return self


UNKNOWN: Final = _Unknown()

Properties = dict[str, Any]


def decode(struct: Struct) -> tuple[Properties, frozenset[str]]:
    """The properties in ``struct`` as plain Python, and which of the top-level ones hold a secret."""
    secret: set[str] = set()
    properties: Properties = {}
    for key, value in struct.fields.items():
        found: list[bool] = []
        properties[key] = _decode(value, found)
        if found:
            secret.add(key)
    return properties, frozenset(secret)


def encode(properties: Mapping[str, Any], secret: Collection[str] = ()) -> Struct:
    """``properties`` as the engine reads them, the ``secret`` ones marked. What is None stays out."""
    plain = {key: _plain(value) for key, value in properties.items() if value is not None}
    struct = Struct()
    struct.update(
        {key: {SIGNATURE: CONFIDENTIAL, "value": value} if key in secret else value for key, value in plain.items()}
    )
    return struct


def has_unknown(value: object) -> bool:
    """Whether ``value`` is or holds an unknown."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return value is UNKNOWN


def _decode(value: Any, secrets_found: list[bool]) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIGNATURE in fields and fields[SIGNATURE].string_value == CONFIDENTIAL:
            secrets_found.append(True)
            return _decode(fields["value"], secrets_found)
        return {key: _decode(item, secrets_found) for key, item in fields.items()}
    if kind == "list_value":
        return [_decode(item, secrets_found) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "string_value":
        return UNKNOWN if value.string_value in UNKNOWNS_ON_WIRE else value.string_value
    return value.bool_value if kind == "bool_value" else None


def _plain(value: Any) -> Any:
    if value is UNKNOWN:
        return UNKNOWN_ON_WIRE
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
