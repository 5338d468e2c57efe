"""A command whose standard input and output are a connection, as a real socket.

paramiko's own ProxyCommand is not used: in 5.1 its ``recv`` spins on a command that has ended, its ``close``
neither reaps it nor closes the pipes, and nobody drains what it prints on standard error.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Sequence


class TunnelStream(socket.socket):
    """One end of a socket pair; the other is the command's. ``close`` ends and reaps the command.

    Raises:
        FileNotFoundError: there is no such command.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the command; closed with it)
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 (the stack's own tunnel command, no shell)
                    list(argv),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._errors,
                    start_new_session=True,
                )
        except OSError:
            ours.close()
            self._errors.close()
            raise
        super().__init__(fileno=ours.detach())
        self._said = ""

    def complaint(self) -> str:
        """The last line the command has printed on standard error: why the tunnel is not there."""
        if not self._errors.closed:
            self._errors.seek(0)
            lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            self._said = lines[-1][:300] if lines else ""
        return self._said

    def close(self) -> None:
        super().close()
        process = self._process
        try:
            process.wait(timeout=0.2)  # it sees the stream's end, or has ended and caused it
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=2)
        self.complaint()
        self._errors.close()
