"""A person's ssh to a worker: only our key, only the pinned host key, whatever their own config says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.cloud.slice import LiveSlice, LiveWorker
from runtime.keys import login_key
from runtime.transport.host_keys import KnownHosts
from runtime.transport.results import HostKeyMismatch, HostKeyUnknown
from runtime.transport.shell import ssh_command

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFq2z5n0m3o2u0m3o2u0m3o2u0m3o2u0m3o2u0m3o2u0"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJj2z5n0m3o2u0m3o2u0m3o2u0m3o2u0m3o2u0m3o2u0"


def slice_with(*keys: str) -> LiveSlice:
    worker = LiveWorker(0, "10.0.0.2", "203.0.113.5", "t1v-n-1-w-0", keys)
    return LiveSlice(
        "n", "projects/p/locations/z/nodes/n", "42", "READY", "", None, "v", "v6e-4", (worker,), {}, "p", "us-east5-b"
    )


def command(tmp_path: Path, slice_: LiveSlice, route: str) -> tuple[str, ...]:
    key = login_key(tmp_path / "key")
    return ssh_command(slice_, 0, user="tpu", route=route, key=key, pins=KnownHosts(tmp_path / "pins"))


@pytest.mark.parametrize(("route", "host"), [("internal", "10.0.0.2"), ("direct", "203.0.113.5")])
def test_it_dials_the_routes_address_and_trusts_only_the_pin(tmp_path: Path, route: str, host: str) -> None:
    argv = command(tmp_path, slice_with(KEY), route)
    assert argv[-1] == f"tpu@{host}"
    assert argv[:3] == ("ssh", "-F", "none")
    assert "StrictHostKeyChecking=yes" in argv
    assert "IdentitiesOnly=yes" in argv
    hosts = next(part for part in argv if part.startswith("UserKnownHostsFile=")).split("=", 1)[1].strip('"')
    assert Path(hosts).read_text() == f"tpu.42-0 {KEY}\n"
    assert "HostKeyAlias=tpu.42-0" in argv


def test_a_tunnel_is_a_proxy_command_whose_percents_are_its_own(tmp_path: Path) -> None:
    proxy = next(
        part for part in command(tmp_path, slice_with(KEY), "iap") if part.startswith("ProxyCommand=")
    ).removeprefix("ProxyCommand=")
    assert proxy.startswith("gcloud compute start-iap-tunnel t1v-n-1-w-0 22 --listen-on-stdin --project=p")
    odd = replace(slice_with(KEY), project="a%h")
    assert any("--project=a%%h" in part for part in command(tmp_path, odd, "iap"))


def test_an_unknown_or_changed_host_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostKeyUnknown, match="no host key"):
        command(tmp_path, slice_with(), "internal")
    command(tmp_path, slice_with(KEY), "internal")
    with pytest.raises(HostKeyMismatch, match="SHA256"):
        command(tmp_path, slice_with(OTHER), "internal")
