"""The metadata server of each worker: 169.254.169.254 and metadata.google.internal, seen from inside it alone.

The listening socket is opened inside the worker's network namespace and served by the daemon, so no process
of ours stands in the worker's list and the machine's own 169.254.169.254 (a GCE VM has one) is not touched.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

ADDRESS = ("169.254.169.254", 80)
FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
POLL_SECONDS = 0.2
LONGEST_WAIT = 300.0
IP_FREEBIND = 15

Tree = dict[str, Any]


def listen_in(pid: int) -> socket.socket:
    """A socket that listens at the metadata address in the network namespace of ``pid``.

    Bound before the address exists there, so that nothing in the worker can be too early for it.
    """
    opened: list[socket.socket | OSError] = []

    def inside() -> None:
        # A thread of its own: it takes the namespace with it when it ends, the socket stays in it.
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:  # noqa: PTH123 - a file of the kernel
                os.setns(namespace.fileno(), os.CLONE_NEWNET)
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
            listening.bind(ADDRESS)
            listening.listen(128)
            listening.setblocking(False)
            opened.append(listening)
        except OSError as error:
            opened.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if isinstance(opened[0], OSError):
        raise opened[0]
    return opened[0]


def create_metadata_app(tree: Callable[[], Tree | None]) -> Starlette:
    """The metadata server of one worker; ``tree`` says what is true now, None when the worker is gone."""

    async def root(_: Request) -> Response:
        return PlainTextResponse("computeMetadata/\n", headers=FLAVOR)

    async def query(request: Request) -> Response:
        if request.headers.get("metadata-flavor", "").lower() != "google":
            return PlainTextResponse("Missing Metadata-Flavor:Google header.\n", 403, FLAVOR)
        if "x-forwarded-for" in request.headers:
            return PlainTextResponse("X-Forwarded-For is refused.\n", 403, FLAVOR)
        value = _find(tree(), request.path_params["path"])
        if request.query_params.get("wait_for_change", "").lower() == "true":
            value = await _changed(request, lambda: _find(tree(), request.path_params["path"]))
        return _answer(request, value)

    return Starlette(routes=[Route("/", root), Route("/computeMetadata/v1/{path:path}", query)])


async def _changed(request: Request, value: Callable[[], Any]) -> Any:
    """The value once it differs from what the caller has seen, or at its timeout."""
    seen = request.query_params.get("last_etag") or _etag(value())
    try:
        seconds = min(float(request.query_params.get("timeout_sec", LONGEST_WAIT)), LONGEST_WAIT)
    except ValueError:
        seconds = LONGEST_WAIT
    until = asyncio.get_running_loop().time() + seconds
    while _etag(value()) == seen and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(POLL_SECONDS)
        if await request.is_disconnected():
            break
    return value()


def _answer(request: Request, value: Any) -> Response:
    headers = {**FLAVOR, "ETag": _etag(value)}
    if value is None:
        return PlainTextResponse("Not Found\n", 404, FLAVOR)
    recursive = request.query_params.get("recursive", "").lower() == "true"
    wants = request.query_params.get("alt", "json" if recursive else "text")
    if isinstance(value, dict | list):
        if "access_token" in value:
            return Response(json.dumps(value), headers=headers, media_type="application/json")
        if recursive:
            return Response(json.dumps(_camel(value)), headers=headers, media_type="application/json")
        names = value if isinstance(value, dict) else {str(index): item for index, item in enumerate(value)}
        lines = [f"{key}/" if isinstance(item, dict | list) else key for key, item in sorted(names.items())]
        return Response("\n".join(lines) + "\n", headers=headers, media_type="application/text")
    if wants == "json":
        return Response(json.dumps(value), headers=headers, media_type="application/json")
    return Response(str(value), headers=headers, media_type="application/text")


def _find(tree: Any, path: str) -> Any:
    value = tree
    for part in [part for part in path.split("/") if part]:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _etag(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _camel(value: Any, *, keep: bool = False) -> Any:
    """Keys as the recursive JSON has them: camelCase, but those that users chose."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        (key if keep else _camel_key(key)): _camel(item, keep=key in ("attributes", "service-accounts"))
        for key, item in value.items()
        if key != "token"  # Asked for by name, never by the way.
    }


def _camel_key(key: str) -> str:
    head, *rest = key.split("-")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)
