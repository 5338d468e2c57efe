"""How a connection's bytes reach a worker: a TCP connection, or the pipe of a tunnel's command."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from dataclasses import dataclass
from typing import Protocol

from runtime.cloud.slice import LiveSlice, LiveWorker
from runtime.transport.tunnel import TunnelStream
from stack.errors import BadInput, MissingPrerequisite


class Route(Protocol):
    """Opens the byte stream that SSH runs over."""

    def open(self, timeout: float) -> socket.socket:
        """A fresh stream to the worker's sshd; raises OSError."""


@dataclass(frozen=True)
class Dialled:
    """Plain TCP to an address: the routes ``direct`` and ``internal``."""

    host: str
    port: int = 22

    def open(self, timeout: float) -> socket.socket:
        stream = socket.create_connection((self.host, self.port), timeout=timeout)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Tunnelled:
    """A command whose standard input and output are the stream: gcloud's IAP tunnel.

    Tested with a stand-in command. Not seen on Google: gcloud's own behaviour here is taken from its help
    and its code (``start-iap-tunnel INSTANCE PORT --listen-on-stdin``), not from a run.
    """

    argv: tuple[str, ...]

    def open(self, timeout: float) -> socket.socket:
        del timeout  # the tunnel says nothing until sshd's banner comes, which has a clock of its own
        try:
            return TunnelStream(self.argv)
        except FileNotFoundError:
            cure = "Install the Google Cloud SDK, or set ssh.route to direct or internal"
            raise MissingPrerequisite("is not installed", key="command", value=self.argv[0], cure=cure) from None

    def __str__(self) -> str:
        return self.argv[0]


def route_to(slice_: LiveSlice, worker: LiveWorker, route: str, *, gcloud: str = "gcloud") -> Route:
    """The way to a worker by the stack's ``ssh.route``.

    Raises:
        BadInput: the slice has no such way: no external address, or no instance name for the tunnel.
    """
    if route == "internal":
        return Dialled(worker.internal_ip)
    if route == "direct":
        if not worker.external_ip:
            cure = "Set network.externalIps: true and run invoke up, or take ssh.route internal or iap"
            raise BadInput(f"worker {worker.index} has no external address", key="ssh.route", value=route, cure=cure)
        return Dialled(worker.external_ip)
    if not worker.hostname:
        why = f"worker {worker.index} does not publish its instance name (guest attribute `hostname`)"
        cure = "Allow guest attributes (compute.disableGuestAttributesAccess), or take ssh.route direct or internal"
        raise BadInput(why, key="ssh.route", value=route, cure=cure)
    return Tunnelled(
        (
            *(gcloud, "compute", "start-iap-tunnel", worker.hostname.split(".")[0], "22", "--listen-on-stdin"),
            *(f"--project={slice_.project}", f"--zone={slice_.zone}", "--verbosity=warning"),
        )
    )


def complaint(stream: socket.socket) -> str:
    """What a tunnel's command said about why it failed; empty for plain TCP."""
    return stream.complaint() if isinstance(stream, TunnelStream) else ""


def close_quietly(stream: socket.socket) -> None:
    """Close a stream whose connection failed; what it has to say about that is of no use."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        stream.close()
