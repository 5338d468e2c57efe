"""The clouds of this machine: which index (subnet, bridge) is whose. Under one lock, reclaimed with care.

An index belongs to a cloud for as long as its state folder holds a database or its daemon runs. Only of a
cloud that has neither are the remains (workers, bridge) taken away, and only its own: they carry its id.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from localcloud import network, processes
from localcloud.network import CLOUDS, Subnet
from stack.errors import CloudFailed

FOLDER = Path("/run/tpu-stack")
DATABASE = "cloud.sqlite"


@dataclass(frozen=True)
class Claim:
    """One cloud's hold on an index."""

    index: int
    cloud_id: str
    state: str
    pid: int
    started: int


def claim(state: Path, cloud_id: str, *, preferred: int | None = None) -> Subnet:
    """The subnet of this process's cloud: the one it had, else a free one.

    Raises:
        CloudFailed: all are taken.
    """
    with _locked() as claims:
        _reclaim(claims)
        index = _choose(claims, cloud_id, preferred)
        pid = os.getpid()
        claims[index] = Claim(index, cloud_id, str(state), pid, processes.start_time(pid) or 0)
        subnet = Subnet(index)
        network.create_bridge(subnet, cloud_id)
        return subnet


def release(cloud_id: str) -> None:
    """Take away what is left of a cloud: its workers, its bridge, its claim."""
    with _locked() as claims:
        processes.kill_marked(cloud_id)
        mine = [claim.index for claim in claims.values() if claim.cloud_id == cloud_id]
        for index in {*mine, *_indexes_of_bridges(cloud_id)}:
            network.remove(Subnet(index), cloud_id)
            claims.pop(index, None)


def _choose(claims: dict[int, Claim], cloud_id: str, preferred: int | None) -> int:
    mine = [held.index for held in claims.values() if held.cloud_id == cloud_id]
    mine += [index for index in _indexes_of_bridges(cloud_id) if index not in claims]
    if mine:
        return mine[0]
    taken = set(claims) | network.taken_indexes()
    candidates: list[int] = [*([] if preferred is None else [preferred]), *range(CLOUDS)]
    for index in candidates:
        if index not in taken and Subnet(index).bridge not in network.links():
            return index
    raise CloudFailed(
        f"all {CLOUDS} subnets of {network.NET}.0.0/16 are taken on this machine",
        cure="Stop a cloud: invoke cloud.stop",
    )


def _indexes_of_bridges(cloud_id: str) -> list[int]:
    named = {Subnet(index).bridge: index for index in range(CLOUDS)}
    return [named[name] for name, alias in network.links().items() if alias == cloud_id and name in named]


def _reclaim(claims: dict[int, Claim]) -> None:
    for claim in list(claims.values()):
        runs = processes.start_time(claim.pid) == claim.started
        if not runs and not (Path(claim.state) / DATABASE).exists():
            processes.kill_marked(claim.cloud_id)
            network.remove(Subnet(claim.index), claim.cloud_id)
            del claims[claim.index]


@contextmanager
def _locked() -> Iterator[dict[int, Claim]]:
    FOLDER.mkdir(mode=0o755, exist_ok=True)
    file = FOLDER / "clouds.json"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            known = [Claim(**item) for item in json.loads(file.read_text())]
        except (FileNotFoundError, ValueError, TypeError):
            known = []  # Lost or half written: the bridges still say whose they are.
        claims = {claim.index: claim for claim in known}
        yield claims
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(claim) for claim in claims.values()], indent=1))
        fresh.replace(file)
