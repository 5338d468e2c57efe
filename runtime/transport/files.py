"""Files onto a worker and off it: whole or not at all, and only what is not there yet."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import posixpath
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.transport.channel import MOST_SECONDS
from stack.errors import BadInput, Refused

if TYPE_CHECKING:
    import paramiko

    from runtime.transport.connection import Connection

PIECE = 256 * 1024
DIGESTS = ".tpu-stack-digests"
"""In a synced folder on the worker: what was sent, so that the next sync need not hash gigabytes there."""


def put(connection: Connection, data: bytes | Path, remote: str, mode: int = 0o600) -> None:
    """Write ``remote`` beside itself and rename it into place; see ``Connection.put``."""
    beside = f"{remote}.{uuid.uuid4().hex[:12]}.part"

    def send(client: paramiko.SSHClient) -> None:
        with _sftp(connection, client, remote) as sftp:
            _make_folders(sftp, posixpath.dirname(remote))
            with sftp.open(beside, "wb") as file:
                file.set_pipelined(True)
                file.chmod(mode)
                _copy(data, file)
            sftp.posix_rename(beside, remote)

    connection.attempt(send)


def get_range(connection: Connection, remote: str, offset: int, length: int) -> bytes:
    """At most ``length`` bytes from ``offset``; see ``Connection.get_range``."""

    def fetch(client: paramiko.SSHClient) -> bytes:
        with _sftp(connection, client, remote) as sftp, sftp.open(remote, "rb") as file:
            file.seek(offset)
            return file.read(length)

    return connection.attempt(fetch)


@contextlib.contextmanager
def _sftp(connection: Connection, client: paramiko.SSHClient, remote: str) -> Iterator[paramiko.SFTPClient]:
    """An SFTP session; what the worker itself refuses is told apart from a lost connection, which is retried.

    Raises:
        Refused: the worker says no: no such file, no permission, no space.
    """
    with client.open_sftp() as sftp:
        channel = sftp.get_channel()
        if channel is not None:
            channel.settimeout(MOST_SECONDS)  # of silence, not of the whole transfer
        try:
            yield sftp
        except OSError as error:
            transport = client.get_transport()
            lost = isinstance(error, ConnectionError | TimeoutError) or transport is None or not transport.is_active()
            if lost:
                raise
            why = f"{remote}: {error.strerror or error or 'the worker refuses'}"
            raise Refused(
                why, key="worker", value=connection.worker, cure="Look at its disk and permissions"
            ) from error


@dataclass(frozen=True)
class Synced:
    """What a sync did, in files and bytes."""

    sent_files: int
    sent_bytes: int
    kept_files: int


def sync_folder(
    connection: Connection, folder: Path, remote: str, *, progress: Callable[[int, int], None] | None = None
) -> Synced:
    """Bring every file of ``folder`` to ``remote``; files that are there with the same content stay.

    A file counts as the same if what was last sent there has its SHA-256 and the file's size has not changed
    since. Files on the worker that the folder does not have are left alone.

    Args:
        progress: called with bytes done and bytes in all.

    Raises:
        BadInput: the folder is none, or holds a name that a line cannot carry.
        TransportFailed: the worker could not be reached.
    """
    wanted = local_digests(folder)
    total = sum((folder / name).stat().st_size for name in wanted)
    there = _remote_digests(connection, remote)
    done = sent_files = sent_bytes = 0
    for name, digest in wanted.items():
        size = (folder / name).stat().st_size
        if there.get(name) != (digest, size):
            put(connection, folder / name, posixpath.join(remote, name), 0o644)
            there[name] = (digest, size)
            record = "".join(f"{known} {length} {file}\n" for file, (known, length) in sorted(there.items()))
            put(connection, record.encode(), posixpath.join(remote, DIGESTS), 0o644)
            sent_files += 1
            sent_bytes += size
        done += size
        if progress is not None:
            progress(done, total)
    return Synced(sent_files, sent_bytes, len(wanted) - sent_files)


def local_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under ``folder`` by its path in it, links followed, in order.

    Raises:
        BadInput: there is no such folder, or a name in it holds a line's end.
    """
    if not folder.is_dir():
        raise BadInput("is no folder", key="folder", value=folder)
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or name == DIGESTS:
            continue
        if "\n" in name:
            raise BadInput("has a line's end in its name", key="file", value=repr(name), cure="Rename it")
        status = path.stat()
        with _HASHING:
            found[name] = _digest(path, status.st_size, status.st_mtime_ns)
    return found


_HASHING = threading.Lock()
"""One thread a worker syncs the same folder: the first one hashes, the others find it done."""


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file; size and time of change are part of the key, so a changed file is hashed anew."""
    del size, changed
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remote_digests(connection: Connection, remote: str) -> dict[str, tuple[str, int]]:
    """What was sent to ``remote`` before and is still there in its full size."""

    def read(client: paramiko.SSHClient) -> dict[str, tuple[str, int]]:
        found = {}
        with _sftp(connection, client, remote) as sftp:
            try:
                with sftp.open(posixpath.join(remote, DIGESTS), "rb") as file:
                    record = file.read().decode("utf-8", "surrogateescape")
            except FileNotFoundError:
                return {}
            for line in record.splitlines():
                digest, size, name = line.split(" ", 2)
                with contextlib.suppress(FileNotFoundError):
                    if sftp.stat(posixpath.join(remote, name)).st_size == int(size):
                        found[name] = (digest, int(size))
        return found

    return connection.attempt(read)


def _copy(data: bytes | Path, file: paramiko.SFTPFile) -> None:
    if isinstance(data, bytes):
        for start in range(0, len(data), PIECE):
            file.write(data[start : start + PIECE])
        return
    with data.open("rb") as source:
        while piece := source.read(PIECE):
            file.write(piece)


def _make_folders(sftp: paramiko.SFTPClient, folder: str) -> None:
    if not folder or folder == "/":
        return
    try:
        sftp.stat(folder)
    except FileNotFoundError:
        _make_folders(sftp, posixpath.dirname(folder))
        try:
            sftp.mkdir(folder, 0o700)
        except OSError:
            sftp.stat(folder)  # another thread made it; else this says why not
