"""What the daemon serves: the API, and the metadata of every worker that runs, all in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette

from localcloud.life import Life
from localcloud.metadata import create_metadata_app
from localcloud.workers import WorkerSpec

log = logging.getLogger(__name__)


def uvicorn_config(app: Starlette) -> uvicorn.Config:
    """One configuration for every application of the daemon."""
    return uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http="h11", ws="none", timeout_graceful_shutdown=2
    )


class Server(uvicorn.Server):
    """uvicorn with a word when it serves, and with servers of other applications beside its own."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    async def serve_also(self, app: Starlette, listening: socket.socket) -> asyncio.Server:
        config = uvicorn_config(app)
        config.load()
        protocol: Any = config.http_protocol_class
        make = functools.partial(protocol, config=config, server_state=self.server_state, app_state={})
        return await asyncio.get_running_loop().create_server(make, sock=listening)


class Presence:
    """Serves the metadata of the workers that run, and notices those that end by themselves."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._servers: dict[str, asyncio.Server] = {}
        self._handles: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.server: Server
        self.life: Life

    def came(self, spec: WorkerSpec, pid: int, metadata: socket.socket) -> None:
        handle = os.pidfd_open(pid)
        try:
            self._loop.call_soon_threadsafe(self._came, spec.mark, handle, metadata)
        except RuntimeError:  # The daemon is ending; the next one finds the worker by its mark.
            os.close(handle)
            metadata.close()

    def went(self, spec: WorkerSpec) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._forget, spec.mark)

    def _came(self, mark: str, handle: int, metadata: socket.socket) -> None:
        self._forget(mark)
        self._handles[mark] = handle
        self._loop.add_reader(handle, self._ended, mark)
        task = self._loop.create_task(self._serve(mark, metadata))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, mark: str, metadata: socket.socket) -> None:
        _, uid, position = mark.split("/")
        tree = functools.partial(self.life.metadata, uid, int(position), token=self._token)
        server = await self.server.serve_also(create_metadata_app(tree), metadata)
        if mark in self._handles:
            self._servers[mark] = server
        else:
            server.close()

    def _ended(self, mark: str) -> None:
        self._forget(mark)
        log.warning("worker %s ended by itself", mark)
        self.life.worker_ended(mark.split("/")[1])

    def _forget(self, mark: str) -> None:
        handle = self._handles.pop(mark, None)
        if handle is not None:
            self._loop.remove_reader(handle)
            os.close(handle)
        server = self._servers.pop(mark, None)
        if server is not None:
            server.close()  # An open socket would keep the worker's network alive.
