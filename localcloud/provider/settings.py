"""The stand-in's configuration: the official plugin's keys and variables, and loopback endpoints only."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from localcloud.provider import VERSION

GOOGLE = "https://tpu.googleapis.com/v2alpha1/"

ENDPOINT = ("GOOGLE_TPU_V2_CUSTOM_ENDPOINT",)
TOKEN = ("GOOGLE_OAUTH_ACCESS_TOKEN",)
PROJECT = ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
ZONE = ("GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE")
"""The official plugin's variables, in its order (source: pulumi-gcp's installation page)."""

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class SettingsError(Exception):
    """The configuration cannot be used; the message names the key and the cure."""


@dataclass(frozen=True)
class Settings:
    """What a configured provider works with.

    Attributes:
        endpoint: ends in ``/`` and holds the API's version.
        poll_seconds: between two looks at an operation; None to look often first, then less so.
        request_seconds: the longest one request may take.
    """

    endpoint: str
    token: str
    project: str | None
    zone: str | None
    labels: Mapping[str, str] = field(default_factory=dict)
    attribution: bool = True
    poll_seconds: float | None = None
    request_seconds: float = 120.0


def read_settings(config: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings from the provider's configuration and, where that is silent, the environment.

    Raises:
        SettingsError: the endpoint is not loopback, or there is no token.
    """

    def value(key: str, names: tuple[str, ...] = ()) -> str | None:
        given = config.get(key) or next((environment[name] for name in names if environment.get(name)), None)
        return str(given) if given else None

    endpoint = value("tpuV2CustomEndpoint", ENDPOINT) or GOOGLE
    refuse_unless_loopback(endpoint)
    token = value("accessToken", TOKEN)
    if token is None:
        raise SettingsError(
            'gcp:accessToken: there is none. The embedded cloud gives one: eval "$(invoke cloud.env)", or set '
            "GOOGLE_OAUTH_ACCESS_TOKEN"
        )
    poll = value("pollInterval")
    return Settings(
        endpoint=endpoint if endpoint.endswith("/") else f"{endpoint}/",
        token=token,
        project=value("project", PROJECT),
        zone=value("zone", ZONE),
        labels=_labels(config.get("defaultLabels")),
        attribution=config.get("addPulumiAttributionLabel") not in (False, "false"),
        poll_seconds=None if poll is None else seconds(poll, "gcp:pollInterval"),
        request_seconds=seconds(value("requestTimeout") or "120s", "gcp:requestTimeout"),
    )


def refuse_unless_loopback(endpoint: str) -> None:
    """Refuse every endpoint but this machine's own.

    A stand-in that could reach Google would one day create something there that costs money, with
    nobody's tests behind it.

    Raises:
        SettingsError: ``endpoint`` is not ``http`` to a loopback address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise SettingsError(
        f"gcp:tpuV2CustomEndpoint={endpoint}: the gcp stand-in serves the embedded cloud on loopback only. "
        f'Local stack: eval "$(invoke cloud.env)". Google Cloud: the official plugin, '
        f"pulumi plugin install resource gcp {VERSION}"
    )


def seconds(text: str, key: str) -> float:
    """Go's notation for a duration (``500ms``, ``1m30s``) in seconds.

    Raises:
        SettingsError: ``text`` is none.
    """
    found = DURATION.findall(text)
    if not found or "".join(number + unit for number, unit in found) != text:
        raise SettingsError(f"{key}={text}: not a duration such as 500ms, 10s or 1m30s")
    return sum(float(number) * SECONDS[unit] for number, unit in found)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _labels(value: Any) -> Mapping[str, str]:
    """``defaultLabels``; the engine hands nested configuration over as JSON."""
    labels = json.loads(value) if isinstance(value, str) and value else value
    return {str(key): str(item) for key, item in labels.items()} if isinstance(labels, dict) else {}
