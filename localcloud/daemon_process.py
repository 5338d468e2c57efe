"""The daemon as a process: started, found by what it wrote of itself, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any

from localcloud import processes
from localcloud.processes import SYSTEM_PATH
from stack.errors import CloudFailed

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0
STOP_SECONDS = 15.0


def spawn(state: Path, chosen: dict[str, str | None]) -> dict[str, Any]:
    """Start a daemon over ``state``; returns what it says of itself once it serves.

    Raises:
        CloudFailed: it ended or was silent; with its last line.
    """
    _make_token(state)
    (state / "daemon.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "localcloud.daemon", "--state", str(state)]
    for key, path in chosen.items():
        if path is not None:
            command += [f"--{key.replace('_', '-')}", path]
    # Not a Popen: the daemon outlives the caller, and is nobody's child to wait for.
    pid = os.posix_spawn(
        sys.executable,
        command,
        # Nothing of the caller's environment: it may hold secrets.
        {"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), "HOME": "/root"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(state / "daemon.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        running = read(state)
        if running is not None and running["pid"] == pid:
            return running
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            break
        time.sleep(0.01)
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    lines = (state / "daemon.log").read_text(errors="replace").strip().splitlines()
    raise CloudFailed(
        f"the daemon did not start: {lines[-1] if lines else 'it wrote nothing'}",
        key="localcloud",
        value=state,
        cure=f"See {state / 'daemon.log'}",
    )


def _make_token(state: Path) -> None:
    token = state / "token"
    if not token.exists():
        descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"localcloud-{secrets.token_urlsafe(24)}\n")


def end(running: dict[str, Any]) -> None:
    """End the daemon, if it is still the one that wrote ``running``; returns when it is gone."""
    try:
        handle = os.pidfd_open(running["pid"])
    except ProcessLookupError:
        return
    try:
        if processes.start_time(running["pid"]) != running["started"]:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if processes.wait_for_end(handle, STOP_SECONDS):
                break
    finally:
        os.close(handle)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(running["pid"], os.WNOHANG)


def running_daemon(state: Path) -> dict[str, Any] | None:
    """The daemon's own words about itself, if it lives and answers."""
    running = read(state)
    if running is None or processes.start_time(running["pid"]) != running["started"]:
        return None
    host = str(running["url"]).removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return running if answer.get("cloud") == running["cloud"] else None


def read(state: Path) -> dict[str, Any] | None:
    """What the last daemon of ``state`` wrote of itself, dead or alive."""
    try:
        document = json.loads((state / "daemon.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None
