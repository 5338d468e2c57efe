"""A worker for tests: OpenSSH's own sshd on a loopback port, with a home and host keys of its own.

It runs as the test's user and shares the machine's processes; what a TPU VM's namespaces add is tested on the
embedded cloud.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.keys import LoginKey, login_key
from runtime.transport import Connection, ConnectionSettings
from runtime.transport.host_keys import KnownHosts
from runtime.transport.retry import Backoff
from runtime.transport.routes import Dialled

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
QUICK = Backoff(first=0.02, most=0.2)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Sshd:
    """One sshd and its folder; ``home`` is what its commands see as HOME and working directory."""

    folder: Path
    worker: int = 0
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def key(self) -> LoginKey:
        return login_key(self.folder / "login")

    @property
    def host_key(self) -> str:
        """The public host key: type and base64."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def prepare(self) -> None:
        """Write keys and configuration."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.new_host_key()
        (self.folder / "authorized").write_text(self.key.public + "\n")
        self.write_login()
        server = next(path for path in map(Path, SFTP_SERVERS) if path.exists())
        (self.folder / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nStrictModes no\nUsePAM no\nLogLevel ERROR\n"
            f"PasswordAuthentication no\nPermitRootLogin yes\n"
            # Before our wrapper runs, the login shell reads the .bashrc of the HOME it is given.
            f"SetEnv HOME={self.home}\n"
            f"Subsystem sftp {server}\nForceCommand {self.login}\n"
        )

    @property
    def login(self) -> Path:
        return self.folder / "login.sh"

    def write_login(self) -> None:
        """What sshd does for a user of its own: HOME, working directory, and the login shell given the command."""
        lines = [
            "#!/bin/bash",
            f"export HOME={self.home} PATH={sys.base_prefix}/bin:/usr/bin:/bin",
            'cd "$HOME" || exit 1',
            'exec /bin/bash -c "$SSH_ORIGINAL_COMMAND"',
        ]
        self.login.write_text("\n".join(lines) + "\n")
        self.login.chmod(0o755)

    def new_host_key(self) -> None:
        """Another host key: what a stranger at this address would show."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        (self.folder / "host").write_bytes(private)
        (self.folder / "host").chmod(0o600)
        (self.folder / "host.pub").write_bytes(public + b"\n")

    def start(self) -> None:
        """Start listening, if it does not yet; returns when the port answers."""
        if self._process is not None:
            return
        assert SSHD is not None
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where OpenSSH separates its privileges; boot makes it elsewhere
        with (self.folder / "sshd.log").open("ab") as log:
            command = [SSHD, "-D", "-e", "-f", str(self.folder / "config")]
            self._process = subprocess.Popen(command, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        """Stop listening and cut every connection; what was started over them goes on."""
        if self._process is None:
            return
        self.cut()
        self._process.kill()
        self._process.wait()
        self._process = None

    def sessions(self) -> list[int]:
        """The sshd processes that serve a connection now."""
        if self._process is None:
            return []
        found, queue = [], [self._process.pid]
        while queue:
            children = Path(f"/proc/{(pid := queue.pop())}/task/{pid}/children")
            try:
                below = [int(child) for child in children.read_text().split()]
            except OSError:
                continue
            mine = [child for child in below if _name(child).startswith("sshd")]
            found += mine
            queue += mine
        return found

    def cut(self) -> None:
        """Cut every connection; the server goes on."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(pid, signal.SIGKILL)

    def settings(self, **changes: object) -> ConnectionSettings:
        values: dict[str, object] = {
            "worker": self.worker,
            "node": "4711",
            "user": getpass.getuser(),
            "key": self.key,
            "route": Dialled("127.0.0.1", self.port),
            "host_keys": (self.host_key,),
            "known_hosts": KnownHosts(self.folder / "known_hosts"),
            "patience": 10.0,
            "key_patience": 0.2,
            "backoff": QUICK,
        }
        return ConnectionSettings(**{**values, **changes})  # type: ignore[arg-type]

    def connection(self, **changes: object) -> Connection:
        return Connection(self.settings(**changes))


SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""
