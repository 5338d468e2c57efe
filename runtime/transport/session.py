"""One authenticated SSH client on a worker whose host key is pinned.

Never uses the agent, the user's own keys or a policy that takes any key. Imported only where a worker is
reached, as paramiko takes 0.2 s.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator

import paramiko

from runtime.keys import LoginKey
from runtime.transport.host_keys import KnownHosts
from runtime.transport.results import HostKeyUnknown, KeyRefused
from runtime.transport.routes import Route, close_quietly, complaint
from stack.errors import TransportFailed

# paramiko logs each lost connection with its traceback; what we have to say about one is in our errors.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

LOST = (paramiko.SSHException, EOFError, OSError)
"""What paramiko throws when a connection is not, or no longer, there."""


class PinnedOnly(paramiko.MissingHostKeyPolicy):
    """Refuses a host key that is not pinned; pins the first one seen where that was asked for."""

    def __init__(self, pins: KnownHosts, node: str, worker: int, pinned: tuple[str, ...], accept: bool) -> None:
        self._pins = pins
        self._node = node
        self._worker = worker
        self._pinned = pinned
        self._accept = accept

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        del client, hostname
        seen = f"{key.get_name()} {key.get_base64()}"
        if self._pinned:
            raise self._pins.mismatch(self._node, self._worker, pinned=self._pinned, seen=seen)
        if not self._accept:
            raise HostKeyUnknown(
                f"publishes no host key, and shows {key.get_name()} {key.fingerprint}",
                key="worker",
                value=self._worker,
                cure="Allow guest attributes, or look at the key and give --accept-host-key",
            )
        self._pins.pin(self._node, self._worker, (seen,))


def connect(
    *,
    worker: int,
    node: str,
    user: str,
    key: LoginKey,
    route: Route,
    host_keys: tuple[str, ...],
    pins: KnownHosts,
    accept: bool,
    timeout: float,
) -> paramiko.SSHClient:
    """An open client; one try.

    Raises:
        HostKeyMismatch, HostKeyUnknown: the worker's identity is not sure.
        KeyRefused: it does not take our key (now).
        TransportFailed: anything between here and its sshd.
    """
    alias = f"tpu.{node}-{worker}"  # what pins are looked up by: addresses of TPU VMs are used again
    client = paramiko.SSHClient()
    for line in host_keys:
        kind, blob = line.split()[:2]
        with contextlib.suppress(paramiko.SSHException, ValueError):  # a key type that paramiko does not know
            entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{alias} {kind} {blob}")
            if entry is not None and entry.key is not None:
                client.get_host_keys().add(alias, kind, entry.key)
    client.set_missing_host_key_policy(PinnedOnly(pins, node, worker, host_keys, accept))
    with _named(worker, route, user, node, pins):
        stream = route.open(timeout)
        try:
            client.connect(
                alias,
                username=user,
                pkey=key.private(),
                sock=stream,
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
                allow_agent=False,
                look_for_keys=False,
            )
        except BaseException as error:
            client.close()
            close_quietly(stream)
            said = complaint(stream)
            if said and isinstance(error, LOST) and not isinstance(error, paramiko.AuthenticationException):
                raise EOFError(said) from error
            raise
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(15)  # a NAT or an IAP tunnel drops what is silent for minutes
    return client


@contextlib.contextmanager
def _named(worker: int, route: Route, user: str, node: str, pins: KnownHosts) -> Iterator[None]:
    try:
        yield
    except paramiko.BadHostKeyException as error:
        pinned = f"{error.expected_key.get_name()} {error.expected_key.get_base64()}"
        seen = f"{error.key.get_name()} {error.key.get_base64()}"
        raise pins.mismatch(node, worker, pinned=(pinned,), seen=seen) from error
    except paramiko.AuthenticationException as error:
        why = f"does not take the login key of {user}"
        cure = "A fresh VM takes one to two minutes; OS Login has another user name (ssh.user)"
        raise KeyRefused(why, key="worker", value=worker, cure=cure) from error
    except LOST as error:
        raise transport_failed(worker, f"cannot be reached at {route}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """One line of why; several exceptions of this layer have no text of their own."""
    if isinstance(error, TimeoutError | socket.timeout):
        return "it does not answer"
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__


def transport_failed(worker: int, why: str) -> TransportFailed:
    return TransportFailed(why, key="worker", value=worker, cure="Try again; look at the route and at the worker")
