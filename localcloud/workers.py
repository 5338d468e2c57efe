"""Workers as real hosts on this machine: namespaces, an init, OpenSSH's own sshd.

``Workers`` is the boundary: what the life of a node needs of its workers. ``HostWorkers`` does it for real;
the API's cheap tests put a fake in its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from localcloud import network, processes
from localcloud.metadata import listen_in
from localcloud.network import Subnet
from localcloud.rootfs import GUEST, create_root

BOOT_SECONDS = 30.0


@dataclass(frozen=True)
class WorkerSpec:
    """One worker, all that its host needs to know.

    Attributes:
        mark: ``CLOUD/NODE/INDEX``, its name on this machine.
        folder: where its files live; the worker owns it.
        octet: the last number of its address.
        hosts: the text of its ``/etc/hosts``.
        devices: names under ``/dev`` that stand in for chips.
    """

    mark: str
    folder: Path
    hostname: str
    octet: int
    hosts: str
    devices: tuple[str, ...]
    startup_script: str | None
    ssh_keys: tuple[tuple[str, str], ...]


class Workers(Protocol):
    """What a node's life needs of its workers. Every call blocks, and may be repeated."""

    def create(self, spec: WorkerSpec) -> str:
        """Make the worker's files; returns its public host key, ``ssh-ed25519 BASE64``."""

    def boot(self, spec: WorkerSpec) -> None:
        """Start the worker; returns when its sshd answers. One that runs is left alone."""

    def set_keys(self, spec: WorkerSpec) -> None:
        """Make accounts and keys equal to ``spec.ssh_keys``, in the running worker too."""

    def halt(self, spec: WorkerSpec) -> None:
        """End the worker; its files stay."""

    def destroy(self, spec: WorkerSpec) -> None:
        """End the worker and take away all that was its."""

    def pid(self, spec: WorkerSpec) -> int | None:
        """The pid of its first process; None when it does not run."""


class Watcher(Protocol):
    """Who is told of workers that come and go. Called from any thread."""

    def came(self, spec: WorkerSpec, pid: int, metadata: socket.socket) -> None:
        """The worker's network exists; ``metadata`` listens in it at the metadata address, to be served."""

    def went(self, spec: WorkerSpec) -> None:
        """The worker was ended on purpose."""


class HostWorkers:
    """Workers on this machine. Needs root."""

    def __init__(
        self, subnet: Subnet, watcher: Watcher, *, python_prefix: Path | None, wheelhouse: Path | None
    ) -> None:
        self._subnet = subnet
        self._watcher = watcher
        self._python_prefix = python_prefix
        self._wheelhouse = wheelhouse
        self._children: dict[str, subprocess.Popen[str]] = {}

    def create(self, spec: WorkerSpec) -> str:
        if spec.folder.exists():
            # A killed daemon's half-made worker may run on it, and must not be found alive over an emptied root.
            self.halt(spec)
            shutil.rmtree(spec.folder)
        spec.folder.mkdir(parents=True)
        return create_root(spec.folder)

    def boot(self, spec: WorkerSpec) -> None:
        pid = self.pid(spec)
        if pid is not None:
            self._watcher.came(spec, pid, listen_in(pid))
            _await_sshd(self._subnet, None, spec)
            return
        self.halt(spec)
        _write_seed(spec)
        process = self._children[spec.mark] = self._spawn(spec)
        try:
            self._hand_over(process, spec)
            _await_sshd(self._subnet, process, spec)
        except BaseException:
            self.halt(spec)
            raise

    def set_keys(self, spec: WorkerSpec) -> None:
        _write_keys(spec)
        pid = self.pid(spec)
        if pid is None:
            return  # It takes them up when it boots.
        enter = ["/usr/bin/nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        script = "exec /bin/sh /run/localcloud/accounts.sh </run/localcloud/ssh-keys"
        done = subprocess.run(  # noqa: S603 - our own script; keys are data in a file
            [*enter, "/usr/bin/env", "-i", f"PATH={processes.SYSTEM_PATH}", "/bin/sh", "-c", script],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=BOOT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise OSError(f"worker {spec.mark} did not take up its SSH keys: {done.stderr.strip()}")

    def halt(self, spec: WorkerSpec) -> None:
        self._watcher.went(spec)
        processes.kill_marked(spec.mark)
        child = self._children.pop(spec.mark, None)
        if child is not None:
            child.wait(timeout=BOOT_SECONDS)
        network.unplug(self._subnet, spec.octet)

    def destroy(self, spec: WorkerSpec) -> None:
        self.halt(spec)
        if spec.folder.exists():
            shutil.rmtree(spec.folder)

    def pid(self, spec: WorkerSpec) -> int | None:
        return processes.init_of(spec.mark)

    def _spawn(self, spec: WorkerSpec) -> subprocess.Popen[str]:
        boot = ["/bin/sh", str(GUEST / "boot.sh"), str(spec.folder), spec.hostname, self._subnet.address(spec.octet)]
        binds = [str(path) if path is not None else "" for path in (self._python_prefix, self._wheelhouse)]
        with (spec.folder / "console.log").open("ab") as console:
            return subprocess.Popen(  # noqa: S603 - our own script
                ["/usr/bin/unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", *boot, *binds],
                # Nothing of the caller's environment: it may hold secrets.
                env={"PATH": processes.SYSTEM_PATH, "LANG": "C.UTF-8", processes.MARK: spec.mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
                cwd="/",
                start_new_session=True,
            )

    def _hand_over(self, process: subprocess.Popen[str], spec: WorkerSpec) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
        with process.stdin as stdin, process.stdout as stdout:
            if stdout.readline().strip() != "ready":
                raise OSError(f"worker {spec.mark} did not start: {_last_line(spec)}")
            network.plug_in(self._subnet, spec.octet, process.pid)
            # The outer process shares the worker's network and ends with it.
            self._watcher.came(spec, process.pid, listen_in(process.pid))
            stdin.write("go\n")


def _write_seed(spec: WorkerSpec) -> None:
    """What the worker reads at boot, beside its root and mounted read-only: it cannot bend our writing."""
    seed = spec.folder / "seed"
    seed.mkdir(mode=0o700, exist_ok=True)
    for script in ("machine.sh", "accounts.sh"):
        shutil.copyfile(GUEST / script, seed / script)
    (seed / "hostname").write_text(spec.hostname + "\n")
    (seed / "hosts").write_text(spec.hosts)
    (seed / "devices").write_text("".join(f"{device}\n" for device in spec.devices))
    _write_keys(spec)
    startup = seed / "startup-script"
    startup.unlink(missing_ok=True)
    if spec.startup_script is not None:
        startup.write_text(spec.startup_script)
        startup.chmod(0o755)


def _write_keys(spec: WorkerSpec) -> None:
    keys = spec.folder / "seed" / "ssh-keys"
    fresh = keys.with_suffix(".new")
    fresh.write_text("".join(f"{user} {key}\n" for user, key in spec.ssh_keys))
    fresh.replace(keys)


def _await_sshd(subnet: Subnet, process: subprocess.Popen[str] | None, spec: WorkerSpec) -> None:
    """Return once the worker's sshd has sent its banner.

    Raises:
        OSError: the worker ended, or was silent until the deadline; with the last line it wrote.
    """
    until = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            raise OSError(f"worker {spec.mark} ended while it booted: {_last_line(spec)}")
        if network.is_plugged(subnet, spec.octet) and _greets(subnet.address(spec.octet)):
            return
        time.sleep(0.01)
    raise OSError(f"worker {spec.mark} did not answer on port 22 in {BOOT_SECONDS:.0f} s: {_last_line(spec)}")


def _greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _last_line(spec: WorkerSpec) -> str:
    for name in ("root/var/log/sshd.log", "root/var/log/boot.log", "console.log"):
        path = spec.folder / name
        # The worker may have put anything there, a link to a file of ours too.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, errors="replace") as file:
                lines = file.read().strip().splitlines()
            if lines:
                return lines[-1]
    return "it wrote nothing"
