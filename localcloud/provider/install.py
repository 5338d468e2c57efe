"""Puts the stand-in where the engine looks for the gcp plugin: into the plugin cache of one PULUMI_HOME."""

from __future__ import annotations

import shlex
from pathlib import Path

from localcloud.provider import VERSION

FOLDER = f"resource-gcp-v{VERSION}"
BINARY = "pulumi-resource-gcp"

MARK = "# tpu-stack: the gcp stand-in"
"""Second line of our launcher: tells it from an official plugin in the same place."""


def plugin_folder(pulumi_home: Path) -> Path:
    """Where the engine looks for this very version."""
    return pulumi_home / "plugins" / FOLDER


def install_stand_in(pulumi_home: Path, python: Path) -> Path:
    """Install the stand-in, run by ``python``, into ``pulumi_home`` and return its launcher.

    The engine takes a plugin's folder for installed if no ``.partial`` lies beside it (source: pulumi
    3.259, ``sdk/go/common/workspace/plugins.go``); then it tries no download.
    """
    folder = plugin_folder(pulumi_home)
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / BINARY
    text = f'#!/bin/sh\n{MARK}\nexec {shlex.quote(str(python))} -I -m localcloud.provider "$@"\n'
    if not launcher.is_file() or launcher.read_bytes() != text.encode():
        fresh = folder / f".{BINARY}.new"
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(launcher)
    folder.with_name(f"{FOLDER}.partial").unlink(missing_ok=True)
    return launcher


def is_stand_in(folder: Path) -> bool:
    """Whether what is installed in ``folder`` is ours."""
    try:
        with (folder / BINARY).open("rb") as file:
            return MARK.encode() in file.read(200)
    except FileNotFoundError:
        return False
