"""One line out of a failed operation of the engine: what went wrong, and the user's next move."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localcloud.provider import VERSION
from stack import errors
from stack.errors import BadInput, BadInputs, CloudFailed, MissingPrerequisite, TpuStackError

LOCK_HOLDER = re.compile(r"created by (?P<user>[^@\s]+)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<since>\S+)")

ERROR_LINE = re.compile(r"\berror: (.+)")


@dataclass(frozen=True)
class Failure:
    """An error that the engine showed; ``urn`` is empty where it concerns no resource."""

    message: str
    urn: str = ""


@dataclass(frozen=True)
class Known:
    """A failure that we can say more of: what its text holds, its class, and its cure."""

    pattern: re.Pattern[str]
    kind: type[TpuStackError]
    cure: str


def _known(pattern: str, kind: type[TpuStackError], cure: str) -> Known:
    return Known(re.compile(pattern, re.IGNORECASE | re.DOTALL), kind, cure)


KNOWN = (
    _known(r"gcp stand-in serves the embedded cloud", BadInput, ""),
    _known(
        r"no more capacity|Reservation not found|RESOURCE_EXHAUSTED",
        CloudFailed,
        "Try another zone (gcp:zone), tpu-stack:spot, or again later",
    ),
    _known(
        r"Error 409",
        CloudFailed,
        "A node of that name exists outside this stack: delete it, or give this stack's another with tpu-stack:name",
    ),
    _known(
        r"connection refused",
        CloudFailed,
        "For a local stack: invoke cloud.start",
    ),
    _known(
        r"could not find default credentials|invalid_grant|reauth",
        MissingPrerequisite,
        "Run: gcloud auth application-default login",
    ),
    _known(
        r"(no resource plugin|failed to (download|install) plugin|could not (download|install)).*gcp",
        MissingPrerequisite,
        f"Run: pulumi plugin install resource gcp {VERSION}",
    ),
    _known(
        r"PULUMI_ACCESS_TOKEN must be set|not logged in|pulumi login",
        MissingPrerequisite,
        "Run: pulumi login (or pulumi login gs://BUCKET)",
    ),
    _known(
        r"passphrase must be set|incorrect passphrase",
        MissingPrerequisite,
        "Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE",
    ),
)
"""In the order of their weight: the first that fits counts."""


def error_of(
    stack: str, operation: str, text: str, failures: Sequence[Failure], program_errors: Path, *, local: bool = False
) -> TpuStackError:
    """The error to raise for an operation that failed.

    Args:
        text: everything that the engine said.
        failures: the errors among its events.
        program_errors: where the program wrote its own, if it did.
        local: the stack lives in the embedded cloud, so commands by hand need its environment first.
    """
    ours = _from_program(program_errors)
    if ours:
        return _sharpened(ours, stack)
    if "currently locked by" in text:
        return _locked(stack, text, local=local)
    line = _line(text, failures)
    known = _known_of(line) or _known_of(text)
    kind: Callable[..., TpuStackError] = known.kind if known else CloudFailed
    cure = known.cure.format(stack=stack) if known else "The engine's whole output stands above"
    return kind(line, key=operation, value=stack, cure=cure)


def _known_of(text: str) -> Known | None:
    return next((item for item in KNOWN if item.pattern.search(text)), None)


def _sharpened(error: TpuStackError, stack: str) -> TpuStackError:
    """The program's own error, with our cure where the program only passed on what the cloud said."""
    known = _known_of(error.why) if isinstance(error, CloudFailed) else None
    if known is None:
        return error
    return known.kind(error.why, key=error.key, value=error.value, cure=known.cure.format(stack=stack))


def _locked(stack: str, text: str, *, local: bool) -> CloudFailed:
    """Another run holds the stack's lock, or a killed one has left it."""
    holder = LOCK_HOLDER.search(text)
    who = "another run"
    if holder:
        who = f"{holder['user']}@{holder['host']}, pid {holder['pid']}, since {holder['since']}"
        if holder["host"] == socket.gethostname() and not Path("/proc", holder["pid"]).exists():
            who += " (that process is gone)"
    environment = 'eval "$(invoke cloud.env)" && ' if local else ""
    cure = f"Wait for that run to end; if it was killed: {environment}pulumi cancel --yes -s {stack}"
    return CloudFailed(f"the stack is locked by {who}", key="--stack", value=stack, cure=cure)


def _from_program(path: Path) -> TpuStackError | None:
    """What infra/program.py wrote, as the errors that they were."""
    if not path.is_file():
        return None
    found = [_read(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    bad = tuple(item for item in found if isinstance(item, BadInput))
    return BadInputs(bad) if len(bad) > 1 else next(iter(found), None)


def _read(item: dict[str, str]) -> TpuStackError:
    kind = getattr(errors, item["class"])
    error: TpuStackError = kind(item["why"], key=item["key"], value=item["value"], cure=item["cure"])
    return error


def _line(text: str, failures: Sequence[Failure]) -> str:
    """The engine's own line: that of a resource before that of the program, that of the program before any."""
    shown = [item for item in failures if item.message not in ("update failed", "preview failed")]
    chosen = next((item for item in shown if "$" in item.urn or "gcp:" in item.urn), None) or next(iter(shown), None)
    if chosen is None:
        lines = ERROR_LINE.findall(text)
        return lines[-1].strip() if lines else " ".join(text.split())[-300:]
    return " ".join(chosen.message.split())
