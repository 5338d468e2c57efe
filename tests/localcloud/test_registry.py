"""Which subnet is whose: never one that the machine uses already, always the one a cloud had before."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud import network, registry
from localcloud.network import Subnet

pytestmark = [pytest.mark.cloud, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

FOREIGN = "10.231.251.9/32"


@pytest.fixture
def foreign_address() -> Iterator[None]:
    subprocess.run(["ip", "address", "add", FOREIGN, "dev", "lo"], check=True)
    yield
    subprocess.run(["ip", "address", "delete", FOREIGN, "dev", "lo"], check=True)


@pytest.fixture
def cloud_id() -> Iterator[str]:
    name = f"cloud-test-{os.getpid()}"
    yield name
    registry.release(name)
    assert name not in network.links().values()


@pytest.mark.usefixtures("foreign_address")
def test_a_subnet_in_use_is_not_taken(tmp_path: Path, cloud_id: str) -> None:
    assert 251 in network.taken_indexes()
    assert registry.claim(tmp_path, cloud_id, preferred=251).index != 251


def test_a_cloud_gets_back_what_it_had(tmp_path: Path, cloud_id: str) -> None:
    (tmp_path / registry.DATABASE).touch()
    assert registry.claim(tmp_path, cloud_id, preferred=252) == Subnet(252)
    assert registry.claim(tmp_path, cloud_id) == Subnet(252)
    assert network.links()["tpulc252"] == cloud_id


def test_a_bridge_keeps_its_address_when_cables_come_and_go(tmp_path: Path, cloud_id: str) -> None:
    subnet = registry.claim(tmp_path, cloud_id)
    address = Path(f"/sys/class/net/{subnet.bridge}/address")
    before = address.read_text()
    cable = ["ip", "link", "add", subnet.interface(9), "address", "02:00:00:00:00:01", "type", "veth"]
    subprocess.run([*cable, "peer", "name", f"{subnet.interface(9)}p"], check=True)
    subprocess.run(["ip", "link", "set", subnet.interface(9), "master", subnet.bridge, "up"], check=True)
    assert address.read_text() == before
    network.unplug(subnet, 9)
    assert address.read_text() == before


def test_a_lost_register_is_read_from_the_bridges(
    tmp_path: Path, cloud_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subnet = registry.claim(tmp_path, cloud_id, preferred=253)
    monkeypatch.setattr(registry, "FOLDER", tmp_path / "run")
    assert registry.claim(tmp_path, cloud_id) == subnet
    assert registry.claim(tmp_path, f"{cloud_id}-other", preferred=253).index != subnet.index
    registry.release(f"{cloud_id}-other")
    assert subnet.bridge in network.links()


def test_another_clouds_bridge_is_never_taken_away(tmp_path: Path, cloud_id: str) -> None:
    subnet = registry.claim(tmp_path, cloud_id, preferred=254)
    network.remove(subnet, "somebody-else")
    assert subnet.bridge in network.links()


def test_a_spoilt_register_is_no_obstacle(tmp_path: Path, cloud_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    for text in ("{", '[{"index": 1}]', "null"):
        (tmp_path / "clouds.json").write_text(text)
        registry.claim(tmp_path, cloud_id)
        assert cloud_id in (tmp_path / "clouds.json").read_text()
