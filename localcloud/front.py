"""What every request goes through: the token, the version, Google's form for errors, a line in the log."""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localcloud.errors import ApiError, bad_field, unauthenticated, unimplemented

log = logging.getLogger(__name__)

VERSIONS = ("v2", "v2alpha1")
"""gcloud asks for locations by v1 too (`gcloud compute tpus locations list`, 528)."""

Handler = Callable[[Request], Awaitable[Response]]


def guard(handler: Handler, token: str) -> Handler:
    """``handler`` behind the token and the version; every answer is a line in the log."""

    async def guarded(request: Request) -> Response:
        began = time.monotonic()
        _authenticate(request, token)
        version = request.path_params.get("version", "v2")
        if version not in VERSIONS and not (version == "v1" and handler.__name__.startswith("location")):
            raise unimplemented(f"version {version} of the API")
        response = await handler(request)
        elapsed = (time.monotonic() - began) * 1000
        level = logging.DEBUG if request.method == "GET" else logging.INFO
        log.log(level, "%s %s -> %d in %.0f ms", request.method, request.url.path, response.status_code, elapsed)
        return response

    return guarded


def _authenticate(request: Request, token: str) -> None:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not given:
        raise unauthenticated("CREDENTIALS_MISSING")
    if not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")


async def refused(request: Request, error: Exception) -> Response:
    """The answer to a refused request."""
    assert isinstance(error, ApiError)  # noqa: S101 - the table of handlers says so
    log.info("%s %s -> %d %s", request.method, request.url.path, error.http_status, error.message)
    headers = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'} if error.http_status == 401 else {}
    return JSONResponse(error.as_dict(), error.http_status, headers)


async def http_error(request: Request, _: Exception) -> Response:
    """The answer to a path or method that nobody serves."""
    return await refused(request, unimplemented(f"{request.method} {request.url.path}"))


async def failed(request: Request, error: Exception) -> Response:
    """The answer to a defect of ours."""
    log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
    return await refused(request, ApiError("INTERNAL", "Internal error encountered."))


async def body(request: Request) -> object:
    """The request's JSON; an empty object where it has none.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    raw = await request.body()
    if not raw:
        return {}
    try:
        return json.loads(raw)
    except ValueError as error:
        raise bad_field("", f"Invalid JSON payload received. {error}") from None
