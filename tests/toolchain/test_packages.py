"""Debian packages: installed without starting a service on this machine, and nothing left behind."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from tests.toolchain.conftest import MakeProgram
from toolchain.install.context import Context
from toolchain.install.debian import MARK, PACKAGES, Debian
from toolchain.install.problems import StepFailed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="installs packages, which only root may")


@pytest.fixture
def lacking_sshd(machine: Context, program: MakeProgram) -> Context:
    """A machine with every package but openssh-server."""
    for name in PACKAGES:
        if name != "sshd":
            program(name, "exit 0")
    return dataclasses.replace(machine, is_root=True)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "policy-rc.d"


def apt_get(program: MakeProgram, tmp_path: Path, bin_folder: Path, *, lists: bool = True) -> None:
    """An ``apt-get`` that notes its arguments and the service policy, and installs an sshd."""
    script = f"""
echo "$*" >> {tmp_path}/apt.log
case $1 in
  update) touch {tmp_path}/lists ;;
  install)
    [ -e {tmp_path}/lists ] || {{ echo "E: Unable to locate package openssh-server"; exit 100; }}
    cat {tmp_path}/policy-rc.d >> {tmp_path}/policy-seen
    printf '#!/bin/sh\\n' > {bin_folder}/sshd; chmod 755 {bin_folder}/sshd ;;
esac
"""
    program("apt-get", script)
    if lists:
        (tmp_path / "lists").touch()


def test_what_is_missing_is_installed_while_services_are_forbidden(
    lacking_sshd: Context, program: MakeProgram, tmp_path: Path, bin_folder: Path, policy: Path
) -> None:
    apt_get(program, tmp_path, bin_folder)
    step = Debian(lacking_sshd, policy, tmp_path / "no-systemd")
    assert step.missing() == ["openssh-server"]
    step.run()
    assert step.done()
    assert "exit 101" in (tmp_path / "policy-seen").read_text()
    assert not policy.exists()
    (install,) = (tmp_path / "apt.log").read_text().splitlines()
    assert install.startswith("install -y --no-install-recommends")


def test_a_machine_without_package_lists_fetches_them_and_tries_again(
    lacking_sshd: Context, program: MakeProgram, tmp_path: Path, bin_folder: Path, policy: Path
) -> None:
    apt_get(program, tmp_path, bin_folder, lists=False)
    Debian(lacking_sshd, policy, tmp_path / "no-systemd").run()
    calls = [line.split()[0] for line in (tmp_path / "apt.log").read_text().splitlines()]
    assert calls == ["install", "update", "install"]


def test_a_policy_that_the_machine_has_is_left_as_it_is(
    lacking_sshd: Context, program: MakeProgram, tmp_path: Path, bin_folder: Path, policy: Path
) -> None:
    apt_get(program, tmp_path, bin_folder)
    policy.write_text("#!/bin/sh\nexit 104\n")
    Debian(lacking_sshd, policy, tmp_path / "no-systemd").run()
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_a_policy_that_a_killed_set_up_left_is_taken_away(
    lacking_sshd: Context, program: MakeProgram, tmp_path: Path, bin_folder: Path, policy: Path
) -> None:
    apt_get(program, tmp_path, bin_folder)
    policy.write_text(f"#!/bin/sh\n# {MARK}\nexit 101\n")
    Debian(lacking_sshd, policy, tmp_path / "no-systemd").run()
    assert not policy.exists()


def test_an_apt_that_fails_tells_its_output_and_leaves_no_policy(
    lacking_sshd: Context, program: MakeProgram, tmp_path: Path, policy: Path
) -> None:
    program("apt-get", 'echo "E: no space left on device"; exit 100')
    with pytest.raises(StepFailed) as raised:
        Debian(lacking_sshd, policy, tmp_path / "no-systemd").run()
    assert "no space left on device" in raised.value.output
    assert not policy.exists()


def test_where_systemd_runs_the_new_service_is_disabled_too(
    lacking_sshd: Context, program: MakeProgram, tmp_path: Path, bin_folder: Path, policy: Path
) -> None:
    apt_get(program, tmp_path, bin_folder)
    program("systemctl", f'echo "$*" >> {tmp_path}/systemctl.log')
    (tmp_path / "systemd").mkdir()
    Debian(lacking_sshd, policy, tmp_path / "systemd").run()
    assert (tmp_path / "systemctl.log").read_text() == "disable --now ssh.service ssh.socket\n"
