"""paramiko's ProxyCommand, ended for good.

paramiko 5.1 signals the command on close, but neither reaps it nor closes its pipes: each reconnect would leave
a zombie and three descriptors. Imported only where a tunnel is opened, as paramiko takes 0.2 s.
"""

from __future__ import annotations

import contextlib
import subprocess

import paramiko


class TunnelStream(paramiko.ProxyCommand):
    """A tunnel's command as a socket; ``close`` leaves nothing behind."""

    def close(self) -> None:
        process = self.process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=2)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
