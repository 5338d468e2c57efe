"""Checks the inputs of a V2Vm and fills in what the program left out."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from localcloud.provider.fields import CONFLICTS, INPUT, INPUTS, Field, Kind
from localcloud.provider.values import UNKNOWN, Properties

DEFAULTS = "__defaults"
"""Where the bridge keeps the names of the inputs that it filled in; never sent, never compared."""

RANDOM_DIGITS = 7
"""Digits behind an automatic name (source: pulumi-terraform-bridge's AutoName)."""

TYPES: dict[Kind, type | tuple[type, ...]] = {
    Kind.TEXT: str,
    Kind.WHOLE: int,
    Kind.FLAG: bool,
    Kind.MAP: dict,
    Kind.TEXTS: list,
    Kind.BLOCK: dict,
    Kind.BLOCKS: list,
}


@dataclass(frozen=True)
class Fault:
    """One wrong input: where, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class AutomaticName:
    """How a resource is named whose program gives no name.

    Attributes:
        logical: the name in the program.
        seed: the engine's random bytes, the same in a preview and the update after it.
        proposed: what the project's ``pulumi:autonaming`` asks for; None for the provider's own way.
        disabled: the project wants names to be given.
    """

    logical: str
    seed: bytes = b""
    proposed: str | None = None
    disabled: bool = False

    def choose(self, old: Properties) -> str | None:
        """The name: the one it has had, else a fresh one; None if names must be given."""
        if "name" in old.get(DEFAULTS, ()) and isinstance(old.get("name"), str):
            return str(old["name"])
        if self.disabled:
            return None
        if self.proposed:
            return self.proposed
        digits = hashlib.sha256(self.seed).hexdigest() if self.seed else secrets.token_hex(RANDOM_DIGITS)
        return f"{self.logical}-{digits[:RANDOM_DIGITS]}"


def check(news: Properties, olds: Properties, naming: AutomaticName) -> tuple[Properties, list[Fault]]:
    """The inputs as the state will hold them, and every fault of them."""
    inputs = {key: value for key, value in news.items() if key != DEFAULTS and value is not None}
    faults = [Fault(key, "Invalid or unknown key") for key in inputs if key not in INPUT]
    defaults = []
    if "name" not in inputs and (name := naming.choose(olds)):
        inputs["name"] = name
        defaults.append("name")
    for field in INPUTS:
        if field.name in inputs:
            inputs[field.name] = _with_defaults(field, inputs[field.name])
            faults.extend(_faults(field, inputs[field.name], field.name))
        elif field.required:
            faults.append(_missing(field.name))
        elif field.default is not None:
            inputs[field.name] = field.default
            defaults.append(field.name)
    for one, other in CONFLICTS:
        if one in inputs and other in inputs:
            faults.append(Fault(one, f'Conflicting configuration arguments. "{one}": conflicts with {other}'))
    inputs[DEFAULTS] = sorted(defaults)
    return inputs, faults


def _with_defaults(field: Field, value: Any) -> Any:
    if field.kind is Kind.BLOCKS and isinstance(value, list):
        return [_filled(field, item) for item in value]
    return _filled(field, value) if field.kind is Kind.BLOCK else value


def _filled(field: Field, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    given = {key: item for key, item in value.items() if key != DEFAULTS and item is not None}
    missing = {inner.name: inner.default for inner in field.fields if inner.default and inner.name not in given}
    return {**given, **missing}


def _faults(field: Field, value: Any, path: str) -> Iterator[Fault]:
    if value is UNKNOWN:
        return
    wrong = not isinstance(value, TYPES[field.kind]) or (field.kind is Kind.WHOLE and isinstance(value, bool))
    if wrong:
        yield Fault(path, f"expected {field.kind.value}, got {value!r}")
    elif field.choices and value not in field.choices:
        yield Fault(path, f"expected {path} to be one of {list(field.choices)}, got {value}")
    elif field.kind in (Kind.MAP, Kind.TEXTS):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if item is not UNKNOWN and not isinstance(item, str):
                yield Fault(f"{path}[{key!r}]", f"expected a string, got {item!r}")
    elif field.kind is Kind.BLOCK:
        yield from _block_faults(field, value, path)
    elif field.kind is Kind.BLOCKS:
        for index, item in enumerate(value):
            if item is UNKNOWN:
                continue
            if isinstance(item, dict):
                yield from _block_faults(field, item, f"{path}[{index}]")
            else:
                yield Fault(f"{path}[{index}]", f"expected an object, got {item!r}")


def _block_faults(field: Field, value: dict[str, Any], path: str) -> Iterator[Fault]:
    known = {inner.name: inner for inner in field.fields}
    for key, item in value.items():
        if key not in known:
            yield Fault(f"{path}.{key}", "Invalid or unknown key")
        else:
            yield from _faults(known[key], item, f"{path}.{key}")
    for inner in field.fields:
        if inner.required and inner.name not in value:
            yield _missing(f"{path}.{inner.name}")


def _missing(path: str) -> Fault:
    return Fault(path, f'Missing required argument. The argument "{path}" is required, but no definition was found')
