"""The programs that the embedded cloud's workers are made of, from Debian's (or Ubuntu's) packages."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from toolchain.install.context import Context
from toolchain.install.problems import Missing, StepFailed

PACKAGES = {
    "git": "git",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "sftp": "openssh-client",
    "ip": "iproute2",
    "sudo": "sudo",
    "curl": "curl",
    "ps": "procps",
    "tini": "tini",
    "unshare": "util-linux",
}
"""Each program that is needed, and the package it comes in. The program is what is looked for: another system may have
it under another package name."""

POLICY = Path("/usr/sbin/policy-rc.d")
MARK = "tpu-stack set-up"
DENY = f"""#!/bin/sh
# {MARK}: there only while packages are installed, so that openssh-server starts no sshd on this host
exit 101
"""


class Debian:
    """Install the packages whose programs are missing, without starting a service on this machine."""

    name = "packages"

    def __init__(self, context: Context, policy: Path = POLICY, systemd: Path = Path("/run/systemd/system")) -> None:
        self._context = context
        self._policy = policy
        self._systemd = systemd

    def missing(self) -> list[str]:
        """The packages to install, each once."""
        absent = (package for program, package in PACKAGES.items() if self._context.which(program) is None)
        return list(dict.fromkeys(absent))

    def done(self) -> bool:
        return not self.missing()

    def prerequisites(self) -> list[Missing]:
        packages = self.missing()
        names = ", ".join(packages)
        if packages and self._context.which("apt-get") is None:
            return [Missing(names, "not installed", "Install them with this system's package manager")]
        if packages and not self._context.is_root:
            return [Missing(names, "not installed", f"Run: sudo apt-get install -y {' '.join(packages)}")]
        return []

    def run(self) -> str:
        packages = self.missing()
        with self._context.locked(self.name, Path("/run/lock/tpu-stack-packages.lock")), self._no_services():
            self._install(packages)
        if "openssh-server" in packages and self._systemd.is_dir():
            self._apt("systemctl", "disable", "--now", "ssh.service", "ssh.socket", tolerated=True)
        absent = self.missing()
        if absent:
            raise StepFailed(self.name, f"apt-get installed {', '.join(absent)}, but the programs are not on PATH")
        return f"installed {', '.join(packages)}; no service was started"

    def _install(self, packages: list[str]) -> None:
        install = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120", *packages]
        try:
            self._apt(*install)
        except StepFailed:
            # No package lists yet, or lists older than the mirror: both are cured by fetching them.
            self._apt("apt-get", "update", "-o", "DPkg::Lock::Timeout=120")
            self._apt(*install)

    def _apt(self, program: str, *arguments: str, tolerated: bool = False) -> None:
        environment = self._context.clean_environment(DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
        path = self._context.which(program)
        try:
            self._context.processes.run(
                self.name,
                [path or program, *arguments],
                env=environment,
                on_line=lambda line: self._context.progress.running(self.name, line[:60]),
                # A dpkg that is ended half way leaves the machine's packages broken; it takes seconds.
                uninterrupted=True,
            )
        except StepFailed:
            if not tolerated:
                raise

    @contextlib.contextmanager
    def _no_services(self) -> Iterator[None]:
        """Debian starts a service as it installs it; its own policy hook forbids that, and is taken away again."""
        if self._policy.exists() and MARK not in self._policy.read_text(errors="replace"):
            # The machine has a policy of its own (a container image forbids all services): that one holds.
            yield
            return
        descriptor = os.open(self._policy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(DENY)
        self._policy.chmod(0o755)
        try:
            yield
        finally:
            self._policy.unlink()
