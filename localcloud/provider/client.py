"""The Cloud TPU API over HTTP: requests as the official provider sends them, retries and operations included."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from localcloud.provider import VERSION
from localcloud.provider.settings import Settings

RETRIED = frozenset({429, 500, 502, 503})
FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0
FIRST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 1.0
"""The official provider looks every 10 s; on loopback looking often costs nothing and waiting does."""

LOST_OPERATION_RETRIES = 5
"""How often an operation may be unknown to the API that just named it, before that counts."""


class ApiError(Exception):
    """The API refused, or could not be reached. The text is the official provider's, which is Google's client's."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Cancelled(Exception):
    """The engine gave up while we waited."""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: its status and its JSON document."""

    status: int
    document: dict[str, Any]


class Client:
    """Calls to one endpoint.

    Args:
        settings: endpoint, token and the like.
        cancelled: set when waiting is to end.
        clock: seconds that only grow.
    """

    def __init__(
        self, settings: Settings, cancelled: threading.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._cancelled = cancelled
        self._clock = clock
        self._address = urlsplit(settings.endpoint)

    def call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, seconds: float = 1200
    ) -> dict[str, Any]:
        """The answer to one call, after as many tries as ``seconds`` allow where trying again helps.

        Raises:
            ApiError: the API refused, or nobody listens.
            Cancelled: the engine gave up.
        """
        deadline, delay = self._clock() + seconds, FIRST_RETRY_SECONDS
        while True:
            try:
                answer = self._send(method, path, query or {}, body)
            except ConnectionResetError as error:
                failure, again = self._unreachable(method, path, error), True
            except OSError as error:
                failure, again = self._unreachable(method, path, error), False
            else:
                if answer.status < 300:
                    return answer.document
                failure, again = _refusal(answer), _is_passing(answer)
            if not again or self._clock() + delay > deadline:
                raise failure
            self._pause(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    def wait(self, operation: dict[str, Any], doing: str, seconds: float) -> dict[str, Any]:
        """The response of ``operation`` once it is done.

        Raises:
            ApiError: it ended in an error, or not within ``seconds``.
            Cancelled: the engine gave up.
        """
        deadline, delay, lost = self._clock() + seconds, self._settings.poll_seconds or FIRST_POLL_SECONDS, 0
        name, first = str(operation.get("name", "")), True
        while not operation.get("done"):
            if self._clock() > deadline:
                raise ApiError(f"Error waiting for {doing}: timeout while waiting for state to become 'done: true'")
            if not first:
                self._pause(delay)
                delay = self._settings.poll_seconds or min(delay * 1.5, LONGEST_POLL_SECONDS)
            first = False
            try:
                operation = self.call("GET", name)
            except ApiError as error:
                lost += 1
                if error.status != 404 or lost > LOST_OPERATION_RETRIES:
                    raise
        if refused := operation.get("error"):
            raise ApiError(
                f"Error waiting for {doing}: Error code {refused.get('code')}, message: {refused.get('message')}"
            )
        response = operation.get("response")
        return response if isinstance(response, dict) else {}

    def _send(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Answer:
        # http.client on purpose: it follows no redirect and knows no proxy, so a call cannot leave loopback.
        connection = http.client.HTTPConnection(
            str(self._address.hostname), self._address.port, timeout=self._settings.request_seconds
        )
        headers = {
            "Authorization": f"Bearer {self._settings.token}",
            "Content-Type": "application/json",
            "User-Agent": f"tpu-stack-gcp-stand-in/{VERSION}",
        }
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, self._target(path, query), body=payload, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, _document(response.read()))
        except http.client.HTTPException as error:
            raise ConnectionResetError(str(error)) from error
        finally:
            connection.close()

    def _target(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._address.path}{path}?{urlencode({'alt': 'json', **query})}"

    def _unreachable(self, method: str, path: str, error: OSError) -> ApiError:
        url = f"{self._settings.endpoint}{path}"
        return ApiError(f'{method.capitalize()} "{url}": {error.strerror or error}')

    def _pause(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise Cancelled("cancelled")


def _document(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload or b"{}")
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"error": {"message": payload.decode(errors="replace").strip()}}


def _refusal(answer: Answer) -> ApiError:
    error = answer.document.get("error")
    message = error.get("message", "") if isinstance(error, dict) else str(error or "")
    return ApiError(f"googleapi: Error {answer.status}: {message}", status=answer.status)


def _is_passing(answer: Answer) -> bool:
    """Whether the same call may succeed a little later."""
    if answer.status in RETRIED:
        return True
    text = json.dumps(answer.document)
    if answer.status == 409:
        return "operationInProgress" in text
    return answer.status == 403 and "per minute" in text.lower()
