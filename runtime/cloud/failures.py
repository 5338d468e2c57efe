"""One table from what the API's client throws to what the caller does next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from stack.errors import BadInput, CloudFailed, TpuStackError

LOG_IN = "Log in: gcloud auth application-default login"


@contextmanager
def named_failures(endpoint: str, project: str) -> Iterator[None]:
    """Turn the exceptions of google-cloud-tpu and its layers into ours.

    Raises:
        BadInput: credentials are missing, stale or not enough, or the request names what is not there.
        CloudFailed: the API could not be reached, was too slow or failed by itself.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from requests import exceptions as http

    try:
        yield
    except (api.Unauthorized, api.Forbidden) as error:
        raise _denied(error, endpoint, project) from error
    except (api.NotFound, api.BadRequest) as error:
        cure = "Check gcp:project and gcp:zone of the stack"
        raise BadInput(_message(error), key="request", value=endpoint, cure=cure) from error
    except auth.DefaultCredentialsError as error:
        raise BadInput("no usable Google credentials", key="credentials", cure=LOG_IN) from error
    except auth.RefreshError as error:  # the answer was 401, and the client could not get itself another token
        raise BadInput("does not take these credentials", key="endpoint", value=endpoint, cure=LOG_IN) from error
    except (http.Timeout, api.RetryError, api.DeadlineExceeded) as error:
        raise CloudFailed("did not answer in time", key="endpoint", value=endpoint, cure="Try again") from error
    except (http.ConnectionError, auth.TransportError) as error:
        raise CloudFailed(
            "cannot be reached",
            key="endpoint",
            value=endpoint,
            cure="Is the embedded cloud running (invoke cloud.start), or this machine offline?",
        ) from error
    except (api.GoogleAPICallError, http.RequestException) as error:
        raise CloudFailed(_message(error), key="endpoint", value=endpoint, cure="Try again") from error


def _denied(error: Exception, endpoint: str, project: str) -> TpuStackError:
    from google.api_core import exceptions as api

    if isinstance(error, api.Unauthorized):
        return BadInput("does not take these credentials", key="endpoint", value=endpoint, cure=LOG_IN)
    cure = f"{LOG_IN}, with an account that may use TPUs of project {project}"
    return BadInput(f"access denied: {_message(error)}", key="gcp:project", value=project, cure=cure)


def _message(error: Exception) -> str:
    text = " ".join(str(getattr(error, "message", "") or error).split())
    return re.sub(r"^[A-Z]+ https?://\S+: ", "", text)[:400].rstrip(".")
