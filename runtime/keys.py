"""The tool's own login key: one ed25519 pair for each user of the tool, never the user's other keys."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stack.errors import BadInput

if TYPE_CHECKING:
    import paramiko

KEY_VARIABLE = "TPU_STACK_SSH_KEY"


@dataclass(frozen=True)
class LoginKey:
    """A key pair on disk. ``public`` is one line: type, base64, nothing else."""

    path: Path
    public: str

    def private(self) -> paramiko.PKey:
        """The private key, read now; it is nowhere kept in a field that a log could show."""
        import paramiko

        return paramiko.Ed25519Key.from_private_key_file(str(self.path))


def config_folder() -> Path:
    """Where the key and the pinned host keys live."""
    base = os.environ.get("XDG_CONFIG_HOME") or ""
    return (Path(base) if base else Path.home() / ".config") / "tpu-stack"


def login_key(path: Path | None = None) -> LoginKey:
    """The user's key pair, made on first use, mode 0600.

    Args:
        path: default TPU_STACK_SSH_KEY, else ``id_ed25519`` in ``config_folder()``.

    Raises:
        BadInput: the file is no ed25519 key, is open to others, or belongs to another user.
    """
    where = path or Path(os.environ.get(KEY_VARIABLE) or config_folder() / "id_ed25519")
    if not where.exists():
        _make(where)
    _refuse_open(where)
    return LoginKey(where, _public_of(where))


def _make(where: Path) -> None:
    """Write a new pair so that two callers at once end with the same one: the link fails for the second."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    where.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    fresh = where.with_name(f".{where.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        try:
            os.link(fresh, where)
        except FileExistsError:
            return
    finally:
        fresh.unlink(missing_ok=True)


def _refuse_open(where: Path) -> None:
    status = where.stat()
    if status.st_uid != os.geteuid():
        why = f"belongs to user id {status.st_uid}, not to you"
        raise BadInput(why, key="login key", value=where, cure=f"Set {KEY_VARIABLE} to a key of your own")
    if status.st_mode & 0o077:
        why = f"is open to others (mode {status.st_mode & 0o777:04o})"
        raise BadInput(why, key="login key", value=where, cure=f"chmod 600 {where}")


def _public_of(where: Path) -> str:
    import paramiko

    try:
        key = paramiko.Ed25519Key.from_private_key_file(str(where))
    except (paramiko.SSHException, ValueError, OSError) as error:
        cure = f"Remove it for a new one, or set {KEY_VARIABLE} to an ed25519 key without a passphrase"
        raise BadInput(f"is no ed25519 private key ({error})", key="login key", value=where, cure=cure) from error
    return f"{key.get_name()} {key.get_base64()}"
