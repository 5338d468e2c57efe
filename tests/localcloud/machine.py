"""What the machine holds of clouds, seen by its own means: what a test leaves behind is a difference of two looks."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from localcloud import network, processes


@dataclass(frozen=True)
class Footprint:
    """Of one cloud, or of a state folder: whatever names it."""

    processes: frozenset[int]
    interfaces: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]

    @property
    def empty(self) -> bool:
        return not (self.processes or self.interfaces or self.mounts or self.namespaces)


def footprint(state: Path, cloud_id: str, bridge: str) -> Footprint:
    """Everything on this machine that belongs to the cloud."""
    marked = {process.pid for process in processes.marked(cloud_id)}
    named = {int(pid) for pid in _pgrep(str(state))}
    interfaces = {name for name in network.links() if name == bridge or name.startswith(f"{bridge}w")}
    mounts = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if str(state) in line}
    mounts |= {line for line in Path("/proc/self/mounts").read_text().splitlines() if "netns" in line}
    namespaces = {str(path) for path in Path("/run/netns").glob("*")} if Path("/run/netns").exists() else set()
    return Footprint(frozenset(marked | named), frozenset(interfaces), frozenset(mounts), frozenset(namespaces))


def host_files() -> dict[str, str]:
    """The host's own files that a worker has of its own, with what they hold."""
    names = ("passwd", "group", "shadow", "gshadow", "hosts", "hostname", "resolv.conf", "sudoers", "ssh/sshd_config")
    held = {name: Path("/etc") / name for name in names}
    texts = {name: path.read_text() for name, path in held.items() if path.exists()}
    folders = ("/home", "/etc/ssh", "/etc/sudoers.d", "/opt", "/tmp/.X11-unix", "/var/lib/google")
    return texts | {folder: str(sorted(Path(folder).glob("*"))) for folder in folders}


def _pgrep(text: str) -> list[str]:
    return subprocess.run(["pgrep", "-f", text], capture_output=True, text=True, check=False).stdout.split()
