"""The product's shell scripts on a worker: in a folder named by their content, brought there when they are missing.

A set that is in use is never written over, so a supervisor of an older version goes on with its own.
"""

from __future__ import annotations

import functools
import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from runtime.transport.connection import Connection
from runtime.transport.results import CommandFailed, Result
from stack.errors import Refused

FOLDER = Path(__file__).resolve().parent.parent / "scripts"
HOME = ".tpu-stack"
"""All state of the tool on a worker, under the login user's home."""

NOT_THERE = (126, 127)
"""What bash leaves with when the script is missing, or a part of its path is no folder."""


def run_script(
    connection: Connection,
    name: str,
    arguments: Sequence[str] = (),
    *,
    stdin: bytes = b"",
    timeout: float = 30.0,
    limit: int = 4 * 1024 * 1024,
    patience: float | None = None,
) -> Result:
    """Run ``runtime/scripts/<name>`` on the worker with bash; any exit code is a result.

    Scripts find the set they belong to beside themselves, and keep state under ``~/.tpu-stack``.

    Raises:
        Refused: the home cannot take the scripts: read-only, full or somebody else's.
        TransportFailed: see ``Connection.run``.
    """
    digest, bundle = script_set()
    path = f"{HOME}/bin/{digest}/{name}"

    def run() -> Result:
        argv = ["bash", path, *arguments]
        return connection.run(argv, stdin=stdin, timeout=timeout, limit=limit, patience=patience)

    result = run()
    if result.exit_code in NOT_THERE and path.encode() in result.stderr:
        _install(connection, digest, bundle)
        result = run()
    return result


@functools.cache
def script_set() -> tuple[str, bytes]:
    """The name of this version's set of scripts, and the set as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(FOLDER.iterdir()):
            if path.suffix in (".sh", ".py"):
                data = path.read_bytes()
                entry = tarfile.TarInfo(path.name)
                entry.size = len(data)
                entry.mode = 0o700
                archive.addfile(entry, io.BytesIO(data))
    bundle = buffer.getvalue()
    return hashlib.sha256(bundle).hexdigest()[:16], bundle


def _install(connection: Connection, digest: str, bundle: bytes) -> None:
    """Unpack beside and rename, so that a cut connection leaves no half set; both may be run twice."""
    target = f"{HOME}/bin/{digest}"
    install = 'umask 077; mkdir -p "$1.$$" && tar -xf - -C "$1.$$" && { mv -T "$1.$$" "$1" 2>&- || test -d "$1"; }'
    result = connection.run(
        ["bash", "-c", f'{install}; code=$?; rm -rf "$1.$$"; exit $code', "install", target], stdin=bundle
    )
    try:
        result.check()
    except CommandFailed as error:
        why = f"cannot take our scripts in ~/{HOME}: {result.complaint()}"
        cure = "Look at the login user's home: its disk and its permissions"
        raise Refused(why, key="worker", value=connection.worker, cure=cure) from error
