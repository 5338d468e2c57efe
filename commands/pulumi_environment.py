"""What makes Pulumi work on the embedded cloud: a home, a backend and a gcp plugin of its own.

Everything lies in the cloud's state folder, so a local stack touches nothing of the user's Pulumi, and two
clouds nothing of each other's.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from localcloud.provider import VERSION
from localcloud.provider.install import BINARY, FOLDER, install_stand_in, is_stand_in, plugin_folder
from stack.errors import BadInput, MissingPrerequisite
from toolchain import paths

PLUGIN_VARIABLE = "TPU_STACK_GCP_PLUGIN"

PASSPHRASE = "local"  # noqa: S105 - see its docstring
"""No secret: a local stack holds none, but Pulumi wants a passphrase, and the salt that it writes into
Pulumi.local.yaml fits one passphrase only. A fixed one lets every clone share that file."""


@dataclass(frozen=True)
class PulumiEnvironment:
    """Variables for every process that runs Pulumi, and what to say of them."""

    variables: dict[str, str]
    notes: tuple[str, ...]


def pulumi_environment(state: Path, url: str) -> PulumiEnvironment:
    """The environment for stacks in the cloud of ``state``, whose API is at ``url``; makes what it names.

    The gcp plugin is the stand-in, unless ``TPU_STACK_GCP_PLUGIN=official`` asks for the official one.

    Raises:
        BadInput: the variable says something else.
        MissingPrerequisite: the official plugin is wanted and not installed, or set-up has not run.
    """
    home, backend, passphrase = state / "pulumi-home", state / "pulumi-state", state / "passphrase"
    try:
        home.mkdir(parents=True, exist_ok=True)
        backend.mkdir(exist_ok=True)
        passphrase.write_text(PASSPHRASE, encoding="utf-8")
        return _environment(state, url, home, backend, passphrase)
    except PermissionError:
        raise MissingPrerequisite(
            "belongs to another user, who started this cloud",
            key="state",
            value=state,
            cure="Run as that user, or with sudo",
        ) from None


def _environment(state: Path, url: str, home: Path, backend: Path, passphrase: Path) -> PulumiEnvironment:
    variables = {
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"file://{backend}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # A gcp plugin that happens to be on PATH would come before the one of this home.
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
        "PULUMI_GCP_SKIP_REGION_VALIDATION": "true",
        "GOOGLE_TPU_V2_CUSTOM_ENDPOINT": f"{url}/v2alpha1/",
        "PATH": _path_with(paths.load().pulumi),
    }
    token = state / "token"
    if token.is_file():
        variables["GOOGLE_OAUTH_ACCESS_TOKEN"] = token.read_text(encoding="utf-8").strip()
    wanted = os.environ.get(PLUGIN_VARIABLE) or "stand-in"
    if wanted == "official":
        note = _use_official(home)
        variables["GOOGLE_APPLICATION_CREDENTIALS"] = str(_dummy_credentials(state))
    elif wanted == "stand-in":
        note = _use_stand_in(home)
    else:
        raise BadInput("is no gcp plugin", key=PLUGIN_VARIABLE, value=wanted, cure="Use official or stand-in")
    return PulumiEnvironment(variables, (note,))


def _path_with(folder: Path) -> str:
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([str(folder), *(entry for entry in entries if entry != str(folder))])


def _use_stand_in(home: Path) -> str:
    folder = plugin_folder(home)
    if folder.is_symlink():
        folder.unlink()
    elif (folder / BINARY).exists() and not is_stand_in(folder):
        folder.rename(_kept_official(home))
    install_stand_in(home, Path(sys.executable))
    return f"gcp plugin: the stand-in of the embedded cloud, as {VERSION}"


def _use_official(home: Path) -> str:
    """Have the engine find the official plugin, whose installed copy may be this home's or the user's own."""
    folder = plugin_folder(home)
    if folder.is_dir() and not folder.is_symlink() and not is_stand_in(folder):
        return f"gcp plugin: the official one, {VERSION}"
    found = next((path for path in (_kept_official(home), _users_own()) if (path / BINARY).is_file()), None)
    if found is None:
        raise MissingPrerequisite(
            f"the official gcp plugin {VERSION} is not installed",
            key=PLUGIN_VARIABLE,
            value="official",
            cure=f"pulumi plugin install resource gcp {VERSION}",
        )
    if is_stand_in(folder):
        (folder / BINARY).unlink()
    if folder.is_dir() and not folder.is_symlink():
        folder.rmdir()
    folder.unlink(missing_ok=True)
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(found)
    return f"gcp plugin: the official one, {VERSION}, from {found}"


def _kept_official(home: Path) -> Path:
    """Where an official plugin of this home waits while the stand-in is in its place."""
    return home / "official" / FOLDER


def _users_own() -> Path:
    return Path.home() / ".pulumi" / "plugins" / FOLDER


def _dummy_credentials(state: Path) -> Path:
    """Credentials that are none: without any, the official plugin looks for a metadata server and waits for it."""
    path = state / "no-credentials.json"
    document = {"type": "authorized_user", "client_id": "none", "client_secret": "none", "refresh_token": "none"}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
