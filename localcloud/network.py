"""The cloud's network on this machine: one bridge a cloud, one veth pair a worker. No way out, no NAT.

A bridge carries its cloud's id as its alias, so that its owner is known even when every file is lost.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

CLOUDS = 256
NET = "10.231"
DELETE_SECONDS = 5.0


@dataclass(frozen=True)
class Subnet:
    """The /24 of one cloud, by its index on this machine."""

    index: int

    @property
    def bridge(self) -> str:
        return f"tpulc{self.index}"

    @property
    def cidr(self) -> str:
        return f"{NET}.{self.index}.0/24"

    @property
    def gateway(self) -> str:
        return self.address(1)

    def address(self, octet: int) -> str:
        return f"{NET}.{self.index}.{octet}"

    def hardware_address(self, octet: int) -> str:
        """Of the one who has ``address(octet)``: always the same, so that no neighbour remembers another's."""
        return f"02:e7:0a:e7:{self.index:02x}:{octet:02x}"

    def interface(self, octet: int) -> str:
        """The host's end of a worker's cable; at most 15 characters, the kernel's limit."""
        return f"{self.bridge}w{octet}"


def create_bridge(subnet: Subnet, cloud_id: str) -> None:
    """Make the bridge, or mend what is there of it."""
    if subnet.bridge not in links():
        # With an address of its own: a bridge without one takes the lowest of its cables', and each time it changes,
        # running workers send their answers to the old one for seconds.
        _batch(f"link add {subnet.bridge} address {subnet.hardware_address(1)} type bridge")
    _batch(
        f"link set {subnet.bridge} alias {cloud_id}",
        f"address replace {subnet.gateway}/24 dev {subnet.bridge}",
        f"link set {subnet.bridge} up",
    )


def plug_in(subnet: Subnet, octet: int, pid: int) -> None:
    """Lay a cable from the bridge to ``eth0`` in the network namespace of ``pid``."""
    interface = subnet.interface(octet)
    unplug(subnet, octet)
    _batch(
        f"link add {interface} type veth peer name eth0 address {subnet.hardware_address(octet)} netns {pid}",
        f"link set {interface} master {subnet.bridge} up",
    )


def is_plugged(subnet: Subnet, octet: int) -> bool:
    """Whether the worker's end of its cable is up: packets to it arrive.

    To ask before is to lose a second: the kernel repeats an address request that nobody answered only then.
    """
    try:
        return Path(f"/sys/class/net/{subnet.interface(octet)}/carrier").read_text().strip() == "1"
    except OSError:
        return False  # Not there, or down at our end.


def unplug(subnet: Subnet, octet: int) -> None:
    """Take a worker's cable away, if it is there."""
    _delete(subnet.interface(octet))


def remove(subnet: Subnet, cloud_id: str) -> None:
    """Take the bridge and every cable of it away; nothing, if the bridge is another cloud's."""
    known = links()
    if known.get(subnet.bridge, cloud_id) != cloud_id:
        return
    for name in known:
        if name.startswith(f"{subnet.bridge}w"):
            _delete(name)
    _delete(subnet.bridge)


def links() -> dict[str, str]:
    """Every network interface of this machine with its alias (empty without)."""
    shown = json.loads(_ip("-json", "link", "show"))
    return {link["ifname"]: link.get("ifalias", "") for link in shown}


def taken_indexes() -> set[int]:
    """The indexes whose subnet this machine uses already, for whatever."""
    shown = json.loads(_ip("-json", "-4", "address", "show")) + json.loads(_ip("-json", "-4", "route", "show"))
    networks = [info for link in shown for info in link.get("addr_info", [])]
    taken = {item["local"] + f"/{item['prefixlen']}" for item in networks}
    taken |= {item["dst"] for item in shown if item.get("dst", "default") != "default"}
    house = ipaddress.IPv4Network(f"{NET}.0.0/16")
    indexes: set[int] = set()
    for text in taken:
        with contextlib.suppress(ValueError):  # Such as a route named `broadcast`.
            network = ipaddress.IPv4Interface(text).network
            # A wide route (a VPN's 10/8) is no use of each of its parts.
            if network.prefixlen > house.prefixlen and network.subnet_of(house):
                indexes.add(network.network_address.packed[2])
    return indexes


def _delete(interface: str) -> None:
    """Take an interface away. The kernel may be doing so itself, because a cable's other end has gone."""
    until = time.monotonic() + DELETE_SECONDS
    while Path(f"/sys/class/net/{interface}").exists():
        done = subprocess.run(  # noqa: S603 - fixed program, names made here
            ["/usr/sbin/ip", "link", "delete", interface], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            if time.monotonic() > until:
                raise OSError(f"ip link delete {interface}: {done.stderr.strip()}")
            time.sleep(0.01)


def _batch(*commands: str) -> None:
    _ip("-batch", "-", stdin="\n".join(commands) + "\n")


def _ip(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(  # noqa: S603 - fixed program, arguments made here
        ["/usr/sbin/ip", *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()} [{stdin.strip()}]")
    return done.stdout or "[]"
