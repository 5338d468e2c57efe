"""OpenSSH's own command line to a worker, for a person's shell: our key, the pinned host keys, nothing else."""

from __future__ import annotations

import shlex

from runtime.cloud.slice import LiveSlice
from runtime.keys import LoginKey
from runtime.transport.host_keys import KnownHosts
from runtime.transport.results import HostKeyUnknown
from runtime.transport.routes import Dialled, Tunnelled, route_to
from stack.errors import BadInput


def ssh_command(
    slice_: LiveSlice, worker: int, *, user: str, route: str, key: LoginKey, pins: KnownHosts
) -> tuple[str, ...]:
    """The argv of ssh to one worker; its pinned host keys are written to a known-hosts file of its own.

    Raises:
        BadInput: the route does not lead there, or no host key is pinned.
        HostKeyMismatch: the worker publishes another key than the one pinned.
    """
    live = slice_.workers[worker]
    keys = pins.pin(slice_.id, worker, live.host_keys)
    if not keys:
        cure = "Run a command with --accept-host-key first, and compare what it shows"
        raise HostKeyUnknown("publishes no host key, and none is pinned", key="worker", value=worker, cure=cure)
    alias = f"tpu.{slice_.id}-{worker}"
    hosts = pins.folder / f"{slice_.id}-{worker}.openssh"
    hosts.write_text("".join(f"{alias} {host_key}\n" for host_key in keys), encoding="utf-8")
    options = {
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": f'"{hosts}"',  # ssh splits the value at blanks
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": alias,
        "ForwardAgent": "no",
        "ServerAliveInterval": "15",
    }
    way = route_to(slice_, live, route)
    host = alias
    if isinstance(way, Dialled):
        host = way.host
        options["Port"] = str(way.port)
    elif isinstance(way, Tunnelled):
        options["ProxyCommand"] = shlex.join(way.argv).replace("%", "%%")
    else:
        raise BadInput("cannot be taken by ssh", key="ssh.route", value=route)
    flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    # -F none: a person's own ssh config may hold options that undo these.
    return ("ssh", "-F", "none", "-i", str(key.path), *flags, f"{user}@{host}")
