"""Google's client library, opened: endpoint, credentials, and what is asked again."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from stack.errors import BadInput

if TYPE_CHECKING:
    from google.cloud import tpu_v2

GOOGLE = "https://tpu.googleapis.com"
ENDPOINT_VARIABLE = "GOOGLE_TPU_V2_CUSTOM_ENDPOINT"
TOKEN_VARIABLE = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 (the name of a variable)


def base_of(endpoint: str | None) -> str:
    """Scheme and host of the endpoint, else of the environment's, else Google's; a version's path is cut off.

    Raises:
        BadInput: it is no http address.
    """
    endpoint = endpoint or os.environ.get(ENDPOINT_VARIABLE) or GOOGLE
    match = re.match(r"^(https?://[^/]+)", endpoint)
    if not match:
        raise BadInput("is no http address", key=ENDPOINT_VARIABLE, value=endpoint, cure="Write http://HOST:PORT/v2/")
    return match.group(1)


def default_credentials() -> Any:
    """A bearer token from the environment, else the application default credentials."""
    token = os.environ.get(TOKEN_VARIABLE)
    if token:
        from google.oauth2.credentials import Credentials

        return Credentials(token=token)  # type: ignore[no-untyped-call]
    import google.auth

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return credentials


def open_client(endpoint: str, credentials: Any) -> tpu_v2.TpuClient:
    """A client over REST; nothing is asked yet."""
    from google.cloud import tpu_v2
    from google.cloud.tpu_v2.services.tpu.transports.rest import TpuRestTransport

    return tpu_v2.TpuClient(transport=TpuRestTransport(host=endpoint, credentials=credentials))


def patient_retry() -> Any:
    """Read again what failed by itself; an address that nobody listens on fails at once."""
    from google.api_core import exceptions, retry
    from requests import exceptions as http

    transient = retry.if_exception_type(
        exceptions.TooManyRequests, exceptions.ServerError, http.ReadTimeout, http.ChunkedEncodingError
    )
    return retry.Retry(predicate=transient, initial=0.3, maximum=4, multiplier=2, timeout=30)
