"""Start, stop and find a cloud by its state folder.

start(state, wheelhouse=..., python_prefix=...) -> CloudInfo
status(state) -> CloudInfo | None
stop(state)
environment(info) -> dict[str, str]
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud import processes, registry
from stack.errors import CloudFailed, MissingPrerequisite

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0
STOP_SECONDS = 15.0
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PROGRAMS = {
    "sshd": "openssh-server", "ssh-keygen": "openssh-client", "ip": "iproute2", "tini": "tini", "sudo": "sudo",
    "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux",
}  # fmt: skip
"""Programs that workers are made of, and their Debian packages."""


@dataclass(frozen=True)
class CloudInfo:
    """A running cloud.

    Attributes:
        url: of the API, on loopback.
        pid: the daemon's.
        state: the folder it lives in.
        subnet: of its workers, ``10.231.INDEX.0/24``.
    """

    url: str
    pid: int
    state: Path
    subnet: str
    index: int

    @property
    def token_file(self) -> Path:
        """Holds the one token that this cloud's API takes (mode 0600)."""
        return self.state / "token"


def start(state: Path, *, wheelhouse: Path | None = None, python_prefix: Path | None = None) -> CloudInfo:
    """The cloud of ``state``, running: found, or started over what the folder holds. Safe to race.

    Args:
        wheelhouse: seen by the workers at ``/opt/wheelhouse``.
        python_prefix: of a Python 3.12, seen by the workers at ``/opt/python3.12``.

    Raises:
        MissingPrerequisite: no root, or a program is missing.
        CloudFailed: the daemon did not start; the error holds its last line.
    """
    state = state.resolve()
    options = {"wheelhouse": wheelhouse, "python_prefix": python_prefix}
    chosen = {key: None if path is None else str(path.resolve()) for key, path in options.items()}
    running = _running(state)
    if running is not None and _same(running, chosen):
        return _info(state, running)
    _check_machine()
    state.mkdir(parents=True, exist_ok=True)
    with _locked(state):
        running = _running(state)
        if running is not None and not _same(running, chosen):
            _end_daemon(running)  # Its workers stay; the next ones see the new folders.
            running = None
        if running is None:
            running = _spawn(state, chosen)
        return _info(state, running)


def status(state: Path) -> CloudInfo | None:
    """The cloud of ``state``, if its daemon runs and answers."""
    state = state.resolve()
    running = _running(state)
    return None if running is None else _info(state, running)


def stop(state: Path, *, delete_nodes: bool = True) -> None:
    """End the daemon of ``state`` if it runs and, with ``delete_nodes``, everything it has made on this machine.

    Works as well when the daemon is dead. What stays is the folder with its token, log and other people's files.

    Raises:
        MissingPrerequisite: no root, and there is something to stop.
        CloudFailed: a process does not end, or a file stays.
    """
    state = state.resolve()
    database = state / registry.DATABASE
    if not database.exists() and _read(state) is None:
        return
    _check_root()
    with _locked(state):
        running = _read(state)
        if running is not None:
            _end_daemon(running)
        if delete_nodes and database.exists():
            try:
                _demolish(state)
            except OSError as error:
                raise CloudFailed(f"not all could be taken away: {error}", key="state", value=state) from None
        (state / "daemon.json").unlink(missing_ok=True)


def environment(info: CloudInfo, *, project: str = "local", zone: str = "us-east5-b") -> dict[str, str]:
    """The variables with which gcloud, the gcp provider and client libraries talk to the cloud.

    The CLOUDSDK ones are gcloud's properties as environment (source: gcloud topic configurations); the TPU
    endpoint of the provider has its version in it, gcloud's has none, and both end in a slash.
    """
    config = info.state / "gcloud"
    try:
        token = info.token_file.read_text().strip()
        config.mkdir(mode=0o700, exist_ok=True)
    except PermissionError:
        raise MissingPrerequisite("belongs to root", key="state", value=info.state, cure=_sudo_line()) from None
    return {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": f"{info.url}/",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{info.url}/compute/v1/",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(info.token_file),
        "CLOUDSDK_COMPUTE_ZONE": zone,
        "CLOUDSDK_CONFIG": str(config),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "GOOGLE_OAUTH_ACCESS_TOKEN": token,
        "GOOGLE_TPU_V2_CUSTOM_ENDPOINT": f"{info.url}/v2alpha1/",
    }


def _check_root() -> None:
    if os.geteuid() != 0:
        raise MissingPrerequisite(
            "its workers need root (network namespaces, sshd)", key="localcloud", cure=_sudo_line()
        )


def _sudo_line() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f'Run: sudo -E env "PATH=$PATH" {command}'


def _check_machine() -> None:
    _check_root()
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program, path=SYSTEM_PATH) is None}
    if missing:
        raise MissingPrerequisite(
            "is not installed", key="package", value=" ".join(sorted(missing)), cure="Run: make setup"
        )
    tried = subprocess.run(
        ["/usr/bin/unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode != 0:
        raise MissingPrerequisite(
            f"this machine lets root make no namespaces ({tried.stderr.strip()})",
            key="localcloud",
            cure="Use a VM, or a container started with --privileged",
        )


def _spawn(state: Path, chosen: dict[str, str | None]) -> dict[str, Any]:
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
        running = _read(state)
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


def _end_daemon(running: dict[str, Any]) -> None:
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


def _demolish(state: Path) -> None:
    from localcloud.store import Store

    store = Store(state / registry.DATABASE)
    cloud_id = store.meta("cloud_id")
    if cloud_id is not None:
        registry.release(cloud_id)
    if (state / "nodes").exists():
        shutil.rmtree(state / "nodes")
    store.close()
    for file in state.glob(f"{registry.DATABASE}*"):
        file.unlink()


def _running(state: Path) -> dict[str, Any] | None:
    """The daemon's own words about itself, if it lives and answers."""
    running = _read(state)
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


def _read(state: Path) -> dict[str, Any] | None:
    try:
        document = json.loads((state / "daemon.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _same(running: dict[str, Any], chosen: dict[str, str | None]) -> bool:
    return all(running.get(key) == value for key, value in chosen.items())


def _info(state: Path, running: dict[str, Any]) -> CloudInfo:
    return CloudInfo(running["url"], running["pid"], state, running["subnet"], running["index"])


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    with (state / "control.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
