"""What this machine must have before a cloud can run on it; each thing missing is one line with its cure."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from localcloud.processes import SYSTEM_PATH
from stack.errors import MissingPrerequisite

PROGRAMS = {
    "sshd": "openssh-server", "ssh-keygen": "openssh-client", "ip": "iproute2", "tini": "tini", "sudo": "sudo",
    "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux",
}  # fmt: skip
"""Programs that workers are made of, and their Debian packages."""


def check_root() -> None:
    """Refuse to go on without root.

    Raises:
        MissingPrerequisite: with the same command under sudo as its cure.
    """
    if os.geteuid() != 0:
        raise MissingPrerequisite(
            "its workers need root (network namespaces, sshd)", key="localcloud", cure=sudo_line()
        )


def sudo_line() -> str:
    """The cure for a lack of root."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f'Run: sudo -E env "PATH=$PATH" {command}'


def check_machine() -> None:
    """Refuse to go on where workers could not live.

    Raises:
        MissingPrerequisite: no root, a program is missing, or no namespaces are allowed.
    """
    check_root()
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
