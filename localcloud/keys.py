"""The node metadata ``ssh-keys``: lines ``USER:TYPE BASE64 [COMMENT]``, as Google's guest agent reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime

LOGIN = re.compile(r"^[a-z_][a-z0-9_.-]{0,31}$")
KEY = re.compile(r"^(ssh-(rsa|dss|ed25519)|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]+( .*)?$")


def ssh_keys(metadata: Mapping[str, str], now: datetime) -> tuple[tuple[str, str], ...]:
    """Pairs of login name and key, sorted; what is no key, or has expired by ``now``, is left out.

    An expiring key carries ``google-ssh {"expireOn": "2026-01-01T00:00:00+0000", ...}`` as its comment (source:
    Google's guest agent; gcloud writes it with --ssh-key-expire-after).
    """
    found = set()
    for line in metadata.get("ssh-keys", "").splitlines():
        user, _, key = line.strip().partition(":")
        key = key.strip()
        if LOGIN.match(user) and KEY.match(key) and not _expired(key, now):
            found.add((user, key))
    return tuple(sorted(found))


def _expired(key: str, now: datetime) -> bool:
    _, marked, note = key.partition("google-ssh ")
    if not marked:
        return False
    try:
        until = datetime.strptime(str(json.loads(note)["expireOn"]), "%Y-%m-%dT%H:%M:%S%z")
    except (ValueError, KeyError, TypeError):
        return True
    return until <= now
