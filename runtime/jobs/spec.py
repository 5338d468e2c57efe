"""A job's attempt as data: what is written to a worker and started there."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from stack.errors import BadInput

Kind = Literal["server", "grpo", "run", "bootstrap"]

JOB_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")
FILE_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
ATTEMPT = re.compile(r"^[0-9A-HJKMNP-TV-Z]{26}$")

FORMAT = 1
"""Of a job's folder on a worker; a worker refuses one that is newer than what it knows."""


def new_attempt() -> str:
    """A fresh attempt id: a ULID, so that ids sort by the time they were made."""
    from ulid import ULID

    return str(ULID())


def checked_attempt(attempt: str) -> str:
    """``attempt``, if it is an attempt's id.

    Raises:
        BadInput: it is none.
    """
    _demand(ATTEMPT, attempt, "attempt", "Give the id that an earlier launch has printed, or none for a new one")
    return attempt


@dataclass(frozen=True)
class JobSpec:
    """One worker's part of an attempt.

    Attributes:
        attempt: the ULID that all workers of the attempt share; kept over retries of the launch.
        run_script: bash; runs in the login user's home with TPU_STACK_ATTEMPT, TPU_STACK_ATTEMPT_DIR (absolute;
            ``files/`` of it holds ``files``) and ``env`` in its environment.
        secrets: reach the process by environment only; the file that carries them is removed before it starts,
            and they are not part of the digest.
        holds_chips: no other such job may run on the worker at the same time.
        log_cap: bytes; beyond it the log keeps its first and its last part.
    """

    kind: Kind
    name: str
    attempt: str
    run_script: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    holds_chips: bool = True
    log_cap: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        _demand(JOB_NAME, self.name, "job name", "Use lower case letters, digits, dots and hyphens, at most 63")
        checked_attempt(self.attempt)
        for name in self.files:
            _demand(FILE_NAME, name, "file", "Use a plain relative path")
        for name, value in (*self.env.items(), *self.secrets.items()):
            _demand(VARIABLE, name, "env", "Use letters, digits and underscores")
            if "\0" in value:
                raise BadInput("holds a NUL", key="env", value=name)
        if not self.run_script.strip():
            raise BadInput("is empty", key="command")

    @property
    def job(self) -> str:
        """The job's name on the worker: ``~/.tpu-stack/jobs/<job>``."""
        return f"{self.kind}-{self.name}"

    def document(self) -> bytes:
        """``spec.json``: all that makes this attempt what it is; values of secrets are not in it."""
        fields = {
            "format": FORMAT,
            "kind": self.kind,
            "name": self.name,
            "attempt": self.attempt,
            "run_script": _sha256(self.run_script.encode()),
            "files": {name: _sha256(data) for name, data in sorted(self.files.items())},
            "env": dict(sorted(self.env.items())),
            "secrets": sorted(self.secrets),
            "holds_chips": self.holds_chips,
            "log_cap": self.log_cap,
        }
        return json.dumps(fields, indent=1, sort_keys=True).encode() + b"\n"

    def digest(self) -> str:
        """SHA-256 of ``spec.json``: what the attempt's id is bound to."""
        return _sha256(self.document())

    def payload(self) -> bytes:
        """What a launch reads: a line with the SHA-256 of the rest, then the attempt's folder as a tar archive."""
        archive = self._archive()
        return f"{_sha256(archive)}\n".encode() + archive

    def _archive(self) -> bytes:
        entries = {
            "spec.json": self.document(),
            "run.sh": self.run_script.encode(),
            "log_cap": f"{self.log_cap}\n".encode(),
            "env": _environment(self.env),
            **{f"files/{name}": data for name, data in self.files.items()},
        }
        if self.secrets:
            entries["secrets"] = _environment(self.secrets)
        if self.holds_chips:
            entries["holds_chips"] = b""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in entries.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                entry.mode = 0o600
                archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


def attempt_folder(job: str, attempt: str) -> str:
    """The attempt's folder, relative to the login user's home."""
    return f".tpu-stack/jobs/{job}/attempts/{attempt}"


def _environment(values: Mapping[str, str]) -> bytes:
    return b"".join(f"{name}={value}\0".encode() for name, value in sorted(values.items()))


def _demand(pattern: re.Pattern[str], value: str, key: str, cure: str) -> None:
    if not pattern.fullmatch(value) or ".." in value:
        raise BadInput("is not allowed here", key=key, value=value, cure=cure)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
