"""Connection: one worker, one SSH connection kept for the run, made anew whenever it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.keys import LoginKey
from runtime.transport.host_keys import KnownHosts
from runtime.transport.results import KeyRefused, Result
from runtime.transport.retry import Backoff
from runtime.transport.routes import Route
from stack.errors import TransportFailed

if TYPE_CHECKING:
    import paramiko

OUTPUT_LIMIT = 4 * 1024 * 1024

CHANNELS = 8
"""At once over one connection; OpenSSH's own limit is MaxSessions 10, and beyond it a channel is refused."""


@dataclass(frozen=True)
class ConnectionSettings:
    """Whom to reach, how, and who is trusted.

    Attributes:
        node: the API's number of the slice; host keys are pinned under it.
        host_keys: to trust, each ``TYPE BASE64``.
        patience: seconds over which lost connections are tried again, for each call.
        key_patience: seconds over which a refused key is; a fresh TPU VM refuses it for one to two minutes
            (field notes).
        dial_seconds: for one try: TCP, banner and authentication each.
    """

    worker: int
    node: str
    user: str
    key: LoginKey
    route: Route
    host_keys: tuple[str, ...]
    known_hosts: KnownHosts
    accept_host_key: bool = False
    patience: float = 60.0
    key_patience: float = 150.0
    dial_seconds: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)


class Connection:
    """SSH to one worker. Safe to use from several threads; ``close`` ends it for all.

    Every transport failure is retried with backoff until ``patience`` is over, so whatever runs here must bear
    being run twice; what must not says ``idempotent=False``.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self.worker = settings.worker
        self._client: paramiko.SSHClient | None = None
        self._dialling = threading.Lock()
        self._changing = threading.Lock()
        self._channels = threading.BoundedSemaphore(CHANNELS)
        self._hosts = settings.host_keys

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        limit: int = OUTPUT_LIMIT,
        idempotent: bool = True,
        patience: float | None = None,
    ) -> Result:
        """Run a command in the login user's home and return its result, whatever its exit code.

        ``argv`` reaches the process byte for byte; secrets belong in ``stdin``, never in it.

        Args:
            timeout: seconds after which the worker itself ends the command; at most 30.
            limit: bytes kept of each stream.

        Raises:
            TransportFailed: no connection stayed up long enough (KeyRefused, CommandTimedOut are of it).
            HostKeyMismatch, HostKeyUnknown: the worker's identity is not sure.
            ValueError: a longer timeout, or an argv that no process can get.
        """
        from runtime.transport.channel import MOST_SECONDS, command_line, run_once

        if not 0 < timeout <= MOST_SECONDS:
            raise ValueError(f"a remote command lasts at most {MOST_SECONDS:g} s; longer work is a job")
        command_line(argv, timeout)

        def once(client: paramiko.SSHClient) -> Result:
            return run_once(_transport(client), self.worker, argv, stdin=stdin, timeout=timeout, limit=limit)

        return self.attempt(once, idempotent=idempotent, patience=patience)

    def attempt[T](
        self,
        function: Callable[[paramiko.SSHClient], T],
        *,
        idempotent: bool = True,
        patience: float | None = None,
    ) -> T:
        """Call ``function`` with an open client, again on a new one whenever the connection is lost."""
        from runtime.transport.session import LOST, reason, transport_failed

        failure: TransportFailed | None = None
        for left in self.settings.backoff.attempts(self.settings.patience if patience is None else patience):
            client = None
            try:
                with self._channels:
                    client = self._open(left)
                    return function(client)
            except LOST as error:
                self._drop(client)
                failure = transport_failed(self.worker, f"the connection was lost: {reason(error)}")
                failure.__cause__ = error
                if not idempotent:
                    break
            except KeyRefused:
                raise
            except TransportFailed as error:
                if client is not None:  # of the command, not of the way to it
                    raise
                failure = error
        assert failure is not None  # noqa: S101 (attempts() yields at least once)
        raise failure

    def put(self, data: bytes | Path, remote: str, mode: int = 0o600) -> None:
        """Write a file on the worker, whole or not at all: beside it first, then renamed over it.

        ``remote`` is relative to the login user's home, or absolute; its folder is made.

        Raises:
            Refused: the worker cannot write it.
        """
        from runtime.transport.files import put

        put(self, data, remote, mode)

    def get_range(self, remote: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes of a remote file from ``offset``; empty at its end.

        Raises:
            Refused: there is no such file, or it may not be read.
        """
        from runtime.transport.files import get_range

        return get_range(self, remote, offset, length)

    def tail(self, remote: str, lines: int) -> bytes:
        """The last lines of a remote file, at most 1 MiB.

        Raises:
            CommandFailed: there is no such file.
        """
        result = self.run(["tail", "-n", str(int(lines)), "--", remote], timeout=15)
        return result.check().stdout[-1024 * 1024 :]

    def close(self) -> None:
        """End the connection; a later call opens a new one."""
        self._drop(self._client)

    def _open(self, seconds: float) -> paramiko.SSHClient:
        """The kept client, or a new one. A refused key is tried again here, under its own clock."""
        from runtime.transport.session import connect

        settings = self.settings
        with self._dialling:
            kept = self._client
            if kept is not None and _is_alive(kept):
                return kept
            refused: KeyRefused | None = None
            timeout = max(1.0, min(settings.dial_seconds, seconds))
            for _ in settings.backoff.attempts(settings.key_patience):
                try:
                    client = connect(
                        worker=self.worker,
                        node=settings.node,
                        user=settings.user,
                        key=settings.key,
                        route=settings.route,
                        host_keys=self._hosts,
                        pins=settings.known_hosts,
                        accept=settings.accept_host_key,
                        timeout=timeout,
                    )
                except KeyRefused as error:
                    refused = error
                else:
                    with self._changing:
                        self._client = client
                    return client
            assert refused is not None  # noqa: S101 (attempts() yields at least once)
            raise refused

    def _drop(self, client: paramiko.SSHClient | None) -> None:
        """Close this client, and forget it if no other thread has made a new one meanwhile."""
        if client is None:
            return
        with self._changing:
            if self._client is client:
                self._client = None
        client.close()


def _transport(client: paramiko.SSHClient) -> paramiko.Transport:
    transport = client.get_transport()
    if transport is None:
        raise EOFError("the connection is closed")
    return transport


def _is_alive(client: paramiko.SSHClient) -> bool:
    transport = client.get_transport()
    return transport is not None and transport.is_active()
