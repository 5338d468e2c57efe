"""Start, stop and find a cloud by its state folder.

start(state, wheelhouse=..., python_prefix=...) -> CloudInfo
status(state) -> CloudInfo | None
stop(state)
environment(info) -> dict[str, str]
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud import daemon_process, registry
from localcloud.prerequisites import check_machine, check_root, sudo_line
from stack.errors import CloudFailed, MissingPrerequisite


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
    running = daemon_process.running_daemon(state)
    if running is not None and _same(running, chosen):
        return _info(state, running)
    check_machine()
    state.mkdir(parents=True, exist_ok=True)
    with _locked(state):
        running = daemon_process.running_daemon(state)
        if running is not None and not _same(running, chosen):
            daemon_process.end(running)  # Its workers stay; the next ones see the new folders.
            running = None
        if running is None:
            running = daemon_process.spawn(state, chosen)
        return _info(state, running)


def status(state: Path) -> CloudInfo | None:
    """The cloud of ``state``, if its daemon runs and answers."""
    state = state.resolve()
    running = daemon_process.running_daemon(state)
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
    if not database.exists() and daemon_process.read(state) is None:
        return
    check_root()
    with _locked(state):
        running = daemon_process.read(state)
        if running is not None:
            daemon_process.end(running)
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
        raise MissingPrerequisite("belongs to root", key="state", value=info.state, cure=sudo_line()) from None
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


def _same(running: dict[str, Any], chosen: dict[str, str | None]) -> bool:
    return all(running.get(key) == value for key, value in chosen.items())


def _info(state: Path, running: dict[str, Any]) -> CloudInfo:
    return CloudInfo(running["url"], running["pid"], state, running["subnet"], running["index"])


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    with (state / "control.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
