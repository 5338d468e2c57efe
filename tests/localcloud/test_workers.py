"""Workers as real hosts: made by the API, entered by OpenSSH, apart from one another and from this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from localcloud import control, processes, registry
from tests.localcloud.conftest import RealCloud, addresses
from tests.localcloud.machine import footprint, host_files

pytestmark = pytest.mark.cloud

METADATA = "curl -sf -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1"


@pytest.fixture
def two_workers(real_cloud: RealCloud) -> Iterator[tuple[RealCloud, dict[str, Any]]]:
    """A node of two workers with 4 chips each, the login user `tpu`, and a start-up script."""
    script = "#!/bin/sh\nid -un\nenv\ncat /run/secret 2>&1\ntouch /root/started\n"
    metadata = {
        "ssh-keys": f"tpu:{real_cloud.public_key}",
        "startup-script": script,
        "localcloud-chips-per-worker": "4",
    }
    yield real_cloud, real_cloud.client.create("n", acceleratorType="v6e-8", metadata=metadata)


def until(check: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


def test_a_worker_is_a_host_of_its_own(two_workers: tuple[RealCloud, dict[str, Any]]) -> None:
    cloud, node = two_workers
    before = host_files()
    first, second = addresses(node)
    names = [cloud.ssh(address, "hostname").strip() for address in (first, second)]
    assert names[0].endswith("-w-0") and names[1] == names[0].replace("-w-0", "-w-1")

    seen = cloud.ssh(first, "ps -eo pid,args")
    assert seen.splitlines()[1].split()[:2] == ["1", "tini"]
    assert "localcloud.daemon" not in seen and "pytest" not in seen
    assert cloud.ssh(first, "ps -o ppid= -p $(pgrep -ox sshd)").strip() == "1"

    assert cloud.ssh(first, f"getent hosts {names[0]}").split()[0] == first
    assert cloud.ssh(first, f"getent hosts {names[1]}").split()[0] == second
    assert cloud.ssh(first, "id -un; sudo -n id -un").split() == ["tpu", "root"]
    assert cloud.ssh(first, "python3.12 -c 'import ssl, sys; print(sys.version_info[1])'").strip() == "12"
    assert cloud.ssh(first, "bash -lc 'python3.12 -V'").startswith("Python 3.12")
    assert cloud.ssh(first, "ls /dev/vfio").split() == ["0", "1", "2", "3"]
    for program in ("curl", "ss", "pgrep", "sudo", "flock", "setsid"):
        assert cloud.ssh(first, f"command -v {program}")

    cloud.ssh(first, "sudo useradd -m mallory && echo x | sudo tee /etc/new /tmp/new /opt/new /var/new >/dev/null")
    assert cloud.try_ssh(first, "sudo touch /usr/new").returncode != 0
    assert cloud.try_ssh(first, "sudo sh -c 'echo 1 >/proc/sys/vm/drop_caches'").returncode != 0
    assert host_files() == before
    assert (cloud.info.state / "nodes").stat().st_mode & 0o077 == 0
    assert cloud.try_ssh(second, "ls /tmp/new /home/mallory").returncode != 0
    assert cloud.try_ssh(first, f"sudo ls {cloud.info.state}").returncode != 0
    assert cloud.try_ssh(first, "sudo sh -c 'mknod /tmp/disk b 254 0 || mount -t tmpfs x /mnt'").returncode != 0
    assert not Path("/etc/new").exists() and not Path("/tmp/new").exists()


def test_each_worker_has_its_own_loopback_and_no_way_out(two_workers: tuple[RealCloud, dict[str, Any]]) -> None:
    cloud, node = two_workers
    first, second = addresses(node)
    serve = "setsid python3.12 -m http.server 30000 --bind 127.0.0.1 >/dev/null 2>&1 </dev/null & "
    wait = "for i in $(seq 100); do curl -sf 127.0.0.1:30000 >/dev/null && exit 0; sleep 0.1; done; exit 1"
    cloud.ssh(first, serve + wait)
    assert cloud.try_ssh(second, "curl -sf -m 5 127.0.0.1:30000").returncode != 0
    everywhere = "setsid python3.12 -m http.server 30001 >/dev/null 2>&1 </dev/null & "
    cloud.ssh(first, everywhere + wait.replace("30000", "30001"))
    assert cloud.ssh(second, f"curl -sf -m 5 http://{first}:30001/")
    port = cloud.info.url.rpartition(":")[2]
    gateway = cloud.info.subnet.replace(".0/24", ".1")
    assert "cloud-" in cloud.ssh(first, f"curl -sf -m 5 http://{gateway}:{port}/healthz")
    assert cloud.ssh(first, "ip route").split()[0] == cloud.info.subnet
    assert "default" not in cloud.ssh(first, "ip route")
    assert cloud.try_ssh(first, "curl -s -m 5 http://192.0.2.1/").returncode == 7


def test_the_metadata_server_tells_each_worker_who_it_is(two_workers: tuple[RealCloud, dict[str, Any]]) -> None:
    cloud, node = two_workers
    first, second = addresses(node)
    for index, address in enumerate((first, second)):
        assert cloud.ssh(address, f"{METADATA}/instance/attributes/agent-worker-number") == str(index)
    assert "WORKER_ID: '1'\n" in cloud.ssh(second, f"{METADATA}/instance/attributes/tpu-env")
    endpoints = cloud.ssh(first, f"{METADATA}/instance/attributes/worker-network-endpoints").split(",")
    assert [endpoint.split(":")[2] for endpoint in endpoints] == [first, second]
    tree = json.loads(cloud.ssh(first, f"{METADATA}/instance/?recursive=true"))
    assert tree["networkInterfaces"][0]["ip"] == first
    assert tree["attributes"]["accelerator-type"] == "v6e-8"
    token = cloud.info.token_file.read_text().strip()
    assert token not in json.dumps(tree)
    assert token in cloud.ssh(first, f"{METADATA}/instance/service-accounts/default/token")
    plain = "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/computeMetadata/v1/instance/id"
    assert cloud.ssh(first, plain) == "403"
    assert cloud.try_ssh(first, f"{METADATA}/instance/attributes/none").returncode == 22
    assert json.loads(cloud.ssh(first, f"{METADATA}/instance/attributes/agent-worker-number?alt=json")) == "0"
    assert "attributes/" in cloud.ssh(first, f"{METADATA}/instance/").splitlines()

    waiting = f"{METADATA}/instance/attributes/note?wait_for_change=true\\&timeout_sec=20"
    metadata = {**node["metadata"], "note": "changed"}
    with ThreadPoolExecutor() as pool:
        change = pool.submit(cloud.ssh, first, waiting)
        time.sleep(0.3)
        cloud.client.patch("metadata", metadata=metadata)
        assert change.result() == "changed"


def test_the_startup_script_runs_as_root_with_nothing_of_the_callers(
    make_cloud: Callable[[str], RealCloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-secret-of-the-caller")
    cloud = make_cloud("secretive")
    script = "#!/bin/sh\nid -un\nenv\nexit 3\n"
    metadata = {"ssh-keys": f"tpu:{cloud.public_key}", "startup-script": script}
    node = cloud.client.create("n", acceleratorType="v6e-1", metadata=metadata)
    address = addresses(node)[0]
    log = "sudo cat /var/log/startup-script.log"
    until(lambda: "exit status" in cloud.ssh(address, log))
    lines = cloud.ssh(address, log).splitlines()
    assert lines[0] == "root"
    assert lines[-1] == "startup-script exit status 3"
    environments = cloud.ssh(address, "sudo cat /proc/[0-9]*/environ") + "".join(lines)
    assert "a-secret-of-the-caller" not in environments
    assert b"a-secret-of-the-caller" not in Path(f"/proc/{cloud.info.pid}/environ").read_bytes()
    with Path(cloud.info.state / "daemon.log").open() as file:
        assert cloud.info.token_file.read_text().strip() not in file.read()


def test_keys_come_and_go_with_the_nodes_metadata(real_cloud: RealCloud) -> None:
    cloud, key = real_cloud, real_cloud.public_key
    node = cloud.client.create("n", acceleratorType="v6e-4")
    address = addresses(node)[0]
    assert cloud.try_ssh(address, "true", "ann").returncode == 255
    cloud.client.patch("metadata", metadata={"ssh-keys": f"ann:{key}\nbob:{key}\nroot:{key}"})
    for user in ("ann", "bob"):
        assert cloud.ssh(address, "id -un; sudo -n id -un; pwd", user).split() == [user, "root", f"/home/{user}"]
    assert cloud.ssh(address, "id -un", "root").strip() == "root"
    cloud.ssh(address, f"echo '{key}' >>~/.ssh/authorized_keys; echo kept >~/file", "bob")
    cloud.client.patch("metadata", metadata={"ssh-keys": f"carl:{key}"})
    assert cloud.try_ssh(address, "true", "ann").returncode == 255
    assert cloud.ssh(address, "cat file", "bob").strip() == "kept"
    assert cloud.try_ssh(address, "sudo -n true", "bob").returncode == 1
    assert cloud.ssh(address, "sudo -n grep -c Added ~/.ssh/authorized_keys", "carl").strip() == "1"
    assert cloud.ssh(address, "id -un", "carl").strip() == "carl"


def test_a_stopped_worker_keeps_its_files_and_host_key_and_a_reboot_too(real_cloud: RealCloud) -> None:
    cloud = real_cloud
    metadata = {"ssh-keys": f"tpu:{cloud.public_key}", "startup-script": "#!/bin/sh\necho booted\n"}
    node = cloud.client.create("n", acceleratorType="v6e-1", metadata=metadata)
    address = addresses(node)[0]

    def host_key() -> str:
        scan = ["ssh-keyscan", "-t", "ed25519", address]
        return subprocess.run(scan, capture_output=True, text=True, check=False).stdout

    key = host_key()
    cloud.ssh(address, "echo mine >file")
    path = f"{cloud.client.parent}/nodes/n"
    cloud.client.done(cloud.client.call("POST", f"{path}:stop", {}))
    assert cloud.try_ssh(address, "true").returncode == 255
    cloud.client.done(cloud.client.call("POST", f"{path}:start", {}))
    assert cloud.ssh(address, "cat file").strip() == "mine"
    assert host_key() == key

    started = "cut -d' ' -f22 /proc/1/stat"
    boot = cloud.ssh(address, started)
    cloud.try_ssh(address, "sudo -n kill -TERM 1")
    until(lambda: cloud.client.node()["state"] == "READY" and cloud.try_ssh(address, "true").returncode == 0)
    assert cloud.ssh(address, started) != boot
    assert cloud.ssh(address, "cat file").strip() == "mine"
    assert cloud.ssh(address, "sudo grep -c booted /var/log/startup-script.log").strip() == "3"
    assert host_key() == key


def test_nothing_is_left_of_a_deleted_node_or_a_stopped_cloud(make_cloud: Callable[[str], RealCloud]) -> None:
    before = host_files()
    cloud = make_cloud("gone")
    cloud_id = json.loads((cloud.info.state / "daemon.json").read_text())["cloud"]
    bridge = f"tpulc{cloud.info.index}"
    cloud.client.create("n", metadata={"ssh-keys": f"tpu:{cloud.public_key}"})
    assert len(processes.marked(cloud_id)) >= 4 * 2
    assert not footprint(cloud.info.state, cloud_id, bridge).mounts
    cloud.client.delete()
    assert not processes.marked(cloud_id)
    assert footprint(cloud.info.state, cloud_id, bridge).interfaces == {bridge}
    assert list((cloud.info.state / "nodes").iterdir()) == []
    cloud.client.create("n", acceleratorType="v6e-1")
    control.stop(cloud.info.state)
    assert footprint(cloud.info.state, cloud_id, bridge).empty
    assert not (cloud.info.state / "nodes").exists()
    assert control.status(cloud.info.state) is None
    control.stop(cloud.info.state)
    assert host_files() == before


def test_a_killed_daemon_finds_its_workers_again_and_can_delete_them(real_cloud: RealCloud) -> None:
    cloud, state = real_cloud, real_cloud.info.state
    metadata = {"ssh-keys": f"tpu:{cloud.public_key}", "localcloud-chips-per-worker": "4"}
    node = cloud.client.create("n", acceleratorType="v6e-8", metadata=metadata)
    first, second = addresses(node)
    cloud.ssh(first, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    os.kill(cloud.info.pid, signal.SIGKILL)
    until(lambda: control.status(state) is None)
    assert cloud.ssh(first, "pgrep -x sleep")

    info = control.start(state, python_prefix=_prefix())
    assert info.url == cloud.info.url and info.pid != cloud.info.pid
    assert cloud.ssh(first, "pgrep -x sleep")
    assert cloud.client.node() == node
    assert cloud.ssh(second, f"{METADATA}/instance/attributes/agent-worker-number") == "1"
    cloud.client.patch("metadata", metadata={"ssh-keys": f"ann:{cloud.public_key}"})
    assert cloud.ssh(second, "id -un", "ann").strip() == "ann"

    os.kill(info.pid, signal.SIGKILL)
    control.start(state, python_prefix=_prefix())
    cloud.client.delete()
    cloud_id = json.loads((state / "daemon.json").read_text())["cloud"]
    left = footprint(state, cloud_id, f"tpulc{info.index}")
    assert left.interfaces == {f"tpulc{info.index}"} and not processes.marked(cloud_id)
    assert list((state / "nodes").iterdir()) == []


def test_interrupted_creates_and_deletes_are_finished_by_the_next_daemon(real_cloud: RealCloud) -> None:
    cloud, state = real_cloud, real_cloud.info.state
    cloud.client.create("old", acceleratorType="v6e-4", metadata={"ssh-keys": f"tpu:{cloud.public_key}"})
    create = cloud.client.begin("new", acceleratorType="v6e-4", metadata={"ssh-keys": f"tpu:{cloud.public_key}"})
    delete = cloud.client.call("DELETE", f"{cloud.client.parent}/nodes/old")
    os.kill(cloud.info.pid, signal.SIGKILL)
    control.start(state, python_prefix=_prefix())
    assert "error" not in cloud.client.wait(create)
    assert "error" not in cloud.client.wait(delete)
    assert [node["name"].rpartition("/")[2] for node in _nodes(cloud)] == ["new"]
    assert cloud.ssh(addresses(cloud.client.node("new"))[0], "id -un").strip() == "tpu"


def test_a_worker_left_half_made_by_a_killed_daemon_is_made_anew(real_cloud: RealCloud) -> None:
    cloud, state = real_cloud, real_cloud.info.state
    create = cloud.client.begin("half", acceleratorType="v6e-4", metadata={"ssh-keys": f"tpu:{cloud.public_key}"})
    registered = json.loads((registry.FOLDER / "clouds.json").read_text())
    cloud_id = next(claim["cloud_id"] for claim in registered if claim["state"] == str(state))
    deadline = time.monotonic() + 20
    while not (started := [process.pid for process in processes.marked(cloud_id) if _runs_sshd(process)]):
        assert time.monotonic() < deadline
    os.kill(cloud.info.pid, signal.SIGKILL)
    control.start(state, python_prefix=_prefix())
    assert "error" not in cloud.client.wait(create)
    assert cloud.ssh(addresses(cloud.client.node("half"))[0], "id -un && sudo touch /root/written").strip() == "tpu"
    assert started[0] not in [process.pid for process in processes.marked(cloud_id)]


def _runs_sshd(process: processes.MarkedProcess) -> bool:
    """Whether it is a worker's init that has come to its sshd, a moment before the daemon hears of it."""
    try:
        return process.is_init and Path(f"/proc/{process.pid}/comm").read_text() == "tini\n"
    except OSError:
        return False


def test_lost_workers_come_back_with_the_daemon_as_after_a_reboot(real_cloud: RealCloud) -> None:
    cloud, state = real_cloud, real_cloud.info.state
    node = cloud.client.create("n", acceleratorType="v6e-4", metadata={"ssh-keys": f"tpu:{cloud.public_key}"})
    address = addresses(node)[0]
    cloud.ssh(address, "echo mine >file")
    cloud_id = json.loads((state / "daemon.json").read_text())["cloud"]
    os.kill(cloud.info.pid, signal.SIGKILL)
    processes.kill_marked(cloud_id)
    subprocess.run(["ip", "link", "delete", f"tpulc{cloud.info.index}"], check=True)
    control.start(state, python_prefix=_prefix())
    until(lambda: cloud.client.node()["state"] == "READY")
    assert cloud.ssh(address, "cat file").strip() == "mine"


def test_two_clouds_live_side_by_side_and_end_apart(make_cloud: Callable[[str], RealCloud]) -> None:
    one, two = make_cloud("one"), make_cloud("two")
    assert one.info.subnet != two.info.subnet and one.info.url != two.info.url
    nodes = [cloud.client.create("n", acceleratorType="v6e-1", metadata=_key(cloud)) for cloud in (one, two)]
    assert one.client.error("GET", f"{one.client.parent}/nodes/x", status=404)
    strangers = {"Authorization": f"Bearer {two.info.token_file.read_text().strip()}"}
    import httpx

    assert httpx.get(f"{one.info.url}/v2/projects/p/locations/-/nodes", headers=strangers).status_code == 401
    control.stop(one.info.state)
    assert two.ssh(addresses(nodes[1])[0], "id -un").strip() == "tpu"
    assert control.status(two.info.state) == two.info


def test_start_is_safe_to_race_and_finds_what_runs(tmp_path: Path, make_cloud: Callable[[str], RealCloud]) -> None:
    make_cloud("raced")
    state = tmp_path / "raced"
    control.stop(state)
    with ThreadPoolExecutor(4) as pool:
        infos = list(pool.map(lambda _: control.start(state, python_prefix=_prefix()), range(4)))
    assert len(set(infos)) == 1
    began = time.monotonic()
    assert control.start(state, python_prefix=_prefix()) == infos[0]
    assert time.monotonic() - began < 0.5


def test_a_new_wheelhouse_restarts_the_daemon_and_not_the_workers(real_cloud: RealCloud, tmp_path: Path) -> None:
    cloud = real_cloud
    old = cloud.client.create("old", acceleratorType="v6e-1", metadata=_key(cloud))
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").write_text("a wheel")
    started = cloud.ssh(addresses(old)[0], "cut -d' ' -f22 /proc/1/stat")
    info = control.start(cloud.info.state, python_prefix=_prefix(), wheelhouse=tmp_path / "wheels")
    assert (info.pid != cloud.info.pid, info.url) == (True, cloud.info.url)
    assert cloud.ssh(addresses(old)[0], "cut -d' ' -f22 /proc/1/stat") == started
    new = addresses(cloud.client.create("new", acceleratorType="v6e-1", metadata=_key(cloud)))[0]
    assert cloud.ssh(new, "cat /opt/wheelhouse/a.whl") == "a wheel"
    assert cloud.try_ssh(new, "sudo touch /opt/wheelhouse/b.whl").returncode != 0


def _prefix() -> Path:
    import sys

    return Path(sys.base_prefix)


def _key(cloud: RealCloud) -> dict[str, str]:
    return {"ssh-keys": f"tpu:{cloud.public_key}"}


def _nodes(cloud: RealCloud) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = cloud.client.call("GET", f"{cloud.client.parent}/nodes")["nodes"]
    return nodes
