"""The daemon: ``python -m localcloud.daemon --state DIR``. Started by ``control.start``, ended by SIGTERM.

Workers do not depend on it: it finds them again by their marks when it is started over the same state.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from localcloud import processes, registry
from localcloud.api import create_app
from localcloud.life import Life
from localcloud.network import Subnet
from localcloud.nodes import Nodes
from localcloud.operations import Operations
from localcloud.serving import Presence, Server, uvicorn_config
from localcloud.store import Store
from localcloud.workers import HostWorkers
from stack.errors import CloudFailed

log = logging.getLogger("localcloud")

LOOK_SECONDS = 1.0
PORTS_TRIED = 20
"""A port must be free on loopback and on the bridge: the first free one of the one may be taken on the other."""


def now() -> datetime:
    """The time, as everything in the cloud sees it."""
    return datetime.now(UTC)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM. Returns 1 when another daemon serves this state, or no subnet is free."""
    options = _options(arguments)
    state: Path = options.state.resolve()
    os.chdir("/")  # Hold no folder of the caller's.
    os.umask(0o022)  # The caller's may hide a worker's files from its users.
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with (state / "daemon.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.error("another daemon serves %s", state)
            return 1
        try:
            asyncio.run(_serve(state, options))
        except (CloudFailed, OSError) as error:
            log.error("%s", error)
            return 1
    return 0


async def _serve(state: Path, options: argparse.Namespace) -> None:
    store = Store(state / registry.DATABASE)
    cloud_id = store.meta("cloud_id") or f"cloud-{secrets.token_hex(6)}"
    store.set_meta("cloud_id", cloud_id)
    last = store.meta("index")
    subnet = registry.claim(state, cloud_id, preferred=int(last) if last else None)
    store.set_meta("index", str(subnet.index))
    token = (state / "token").read_text().strip()

    presence = Presence(token)
    workers = HostWorkers(subnet, presence, python_prefix=options.python_prefix, wheelhouse=options.wheelhouse)
    operations = Operations(store, now)
    presence.life = life = Life(
        store, workers, operations, cloud_id=cloud_id, folder=state / "nodes", subnet=subnet, now=now
    )
    # A worker's accounts have numbers that are others' on this machine: they shall not read its files.
    (state / "nodes").mkdir(mode=0o700, exist_ok=True)
    _sweep(state / "nodes", {node.uid for node in store.nodes()}, cloud_id)
    sockets = _listen(subnet, store.meta("port"))
    port = sockets[0].getsockname()[1]
    store.set_meta("port", str(port))

    def started() -> None:
        life.recover()
        _announce(state, cloud_id, subnet, port, options)

    app = create_app(store, Nodes(store, operations, life), token=token, cloud_id=cloud_id)
    presence.server = server = Server(uvicorn_config(app), started)
    watch = asyncio.create_task(_end_without(state / registry.DATABASE, server))
    try:
        await server.serve(sockets)
    finally:
        watch.cancel()
        store.close()
    if not (state / registry.DATABASE).exists():
        log.warning("%s is gone, so is this cloud", state)
        registry.release(cloud_id)


async def _end_without(database: Path, server: Server) -> None:
    """End the server when somebody has deleted the state folder: nobody can ask for its nodes any more."""
    while database.exists():
        await asyncio.sleep(LOOK_SECONDS)
    server.should_exit = True


def _listen(subnet: Subnet, last_port: str | None) -> list[socket.socket]:
    """Sockets on loopback and on the bridge, on the port of the last time if it is free."""
    for port in [int(last_port)] if last_port else []:
        with contextlib.suppress(OSError):
            return _bind(subnet, port)
    for _ in range(PORTS_TRIED):
        with contextlib.suppress(OSError):
            return _bind(subnet, 0)
    return _bind(subnet, 0)


def _bind(subnet: Subnet, port: int) -> list[socket.socket]:
    loopback = socket.create_server(("127.0.0.1", port))
    try:
        return [loopback, socket.create_server((subnet.gateway, loopback.getsockname()[1]))]
    except OSError:
        loopback.close()
        raise


def _sweep(folder: Path, known: set[str], cloud_id: str) -> None:
    """Take away workers and folders of nodes that the store does not know: their delete was cut short."""
    for process in processes.marked(cloud_id):
        uid = process.mark.split("/")[1]
        if uid not in known:
            processes.kill_marked(f"{cloud_id}/{uid}")
    for entry in folder.iterdir():
        if entry.name not in known:
            shutil.rmtree(entry)


def _announce(state: Path, cloud_id: str, subnet: Subnet, port: int, options: argparse.Namespace) -> None:
    pid = os.getpid()
    document = {
        "pid": pid,
        "started": processes.start_time(pid),
        "url": f"http://127.0.0.1:{port}",
        "cloud": cloud_id,
        "index": subnet.index,
        "subnet": subnet.cidr,
        "wheelhouse": _text(options.wheelhouse),
        "python_prefix": _text(options.python_prefix),
    }
    fresh = state / "daemon.json.new"
    fresh.write_text(json.dumps(document, indent=1))
    fresh.replace(state / "daemon.json")
    log.info("%s serves on %s, workers in %s", cloud_id, document["url"], subnet.cidr)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="localcloud.daemon", description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--wheelhouse", type=Path)
    parser.add_argument("--python-prefix", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
