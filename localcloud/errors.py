"""Errors of the API, in the JSON form of Google's APIs (google.rpc.Status inside ``error``)."""

from __future__ import annotations

from collections.abc import Sequence

HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
}
"""HTTP status of each google.rpc.Code that we answer with (source: google/rpc/code.proto)."""

CODES = {
    "CANCELLED": 1,
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "INTERNAL": 13,
    "UNAUTHENTICATED": 16,
}
"""The number of each code, as it stands in an operation's error (source: google/rpc/code.proto)."""


class ApiError(Exception):
    """A refused request. ``details`` are google.rpc messages as JSON, each with its ``@type``."""

    def __init__(self, status: str, message: str, details: Sequence[dict[str, object]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = list(details)

    @property
    def http_status(self) -> int:
        return HTTP[self.status]

    def as_dict(self) -> dict[str, object]:
        """The body of the answer."""
        error: dict[str, object] = {"code": self.http_status, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}


def invalid(message: str) -> ApiError:
    """A value that the request should not have; mend it and ask again."""
    return ApiError("INVALID_ARGUMENT", message)


def bad_field(field: str, description: str) -> ApiError:
    """A field that does not parse, in the form that Google's JSON front end gives it."""
    violation = {"field": field, "description": description} if field else {"description": description}
    detail: dict[str, object] = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    return ApiError("INVALID_ARGUMENT", description, [detail])


def not_found(name: str) -> ApiError:
    """No such resource."""
    return ApiError("NOT_FOUND", f"Resource '{name}' was not found")


def unauthenticated(reason: str) -> ApiError:
    """No token, or not this cloud's."""
    missing = reason == "CREDENTIALS_MISSING"
    start = "Request is missing required" if missing else "Request had invalid"
    message = (
        f"{start} authentication credential{'' if missing else 's'}. Expected OAuth 2 access token, login cookie or "
        "other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    detail: dict[str, object] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "tpu.googleapis.com"},
    }
    return ApiError("UNAUTHENTICATED", message, [detail])


def unimplemented(what: str) -> ApiError:
    """A method that this cloud does not have; better said than pretended.

    404, as Google's front end answers for a method it does not know: a 501 is retried for half a minute by gcloud.
    """
    return ApiError("NOT_FOUND", f"Method not found: localcloud does not implement {what}")
