"""The locks: hashes for everything, no index address, and the pins that the project's own words promise."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.toolchain.conftest import ROOT
from toolchain.install.wheelhouse import LOCKS as ENGINE_LOCKS
from toolchain.install.wheelhouse import read_pins
from toolchain.lock import LOCKS, command, main

EVERY_LOCK = sorted([*(ROOT / "requirements").glob("*.txt"), *(ROOT / ENGINE_LOCKS).glob("*.txt")])


def pins(path: Path) -> dict[str, str]:
    """Each package's version, by its normal name."""
    found = (pin.requirement.split(";")[0].strip().partition("==") for pin in read_pins(path))
    return {name.lower().replace("_", "-"): version for name, _, version in found}


def test_every_lock_is_one_that_the_lock_command_writes() -> None:
    assert {ROOT / lock.path for lock in LOCKS} == set(EVERY_LOCK)
    for lock in LOCKS:
        assert (ROOT / lock.path).with_suffix(".in").is_file()


@pytest.mark.parametrize("path", EVERY_LOCK, ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_addresses(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "index" not in text
    assert "@" not in text
    locked = read_pins(path)
    assert locked
    for pin in locked:
        assert re.match(r"[A-Za-z0-9_.-]+==[^ =]+", pin.requirement), pin.requirement
        assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in pin.hashes)


def test_the_development_lock_holds_all_of_the_main_one_at_the_same_versions() -> None:
    main_pins, dev_pins = pins(ROOT / "requirements/main.txt"), pins(ROOT / "requirements/dev.txt")
    assert main_pins.items() <= dev_pins.items()


def test_set_up_and_the_workers_use_the_same_uv() -> None:
    assert pins(ROOT / "requirements/bootstrap.txt")["uv"] == pins(ROOT / ENGINE_LOCKS / "uv.txt")["uv"]


def test_the_engine_for_cpu_is_exactly_the_pins_that_were_run() -> None:
    source = (ROOT / ENGINE_LOCKS / "sglang-jax-0.0.2-cpu.in").read_text()
    written = dict(line.split("==") for line in source.splitlines() if line and not line.startswith("#"))
    normal = {name.lower().replace("_", "-"): version for name, version in written.items()}
    assert pins(ROOT / ENGINE_LOCKS / "sglang-jax-0.0.2-cpu.txt") == normal


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_the_engine_has_the_flax_it_works_with_and_no_cuda(platform: str) -> None:
    locked = pins(ROOT / ENGINE_LOCKS / f"sglang-jax-0.0.2-{platform}.txt")
    assert locked["sglang-jax"] == "0.0.2"
    assert locked["flax"] == "0.12.0"
    assert locked["jax"] == "0.8.0"
    assert not {name for name in locked if re.search("torch|nvidia|cuda", name)}
    assert "msgpack-python" not in locked
    assert ("libtpu" in locked) == (platform == "tpu")


def test_the_pulumi_sdk_is_of_the_version_of_the_cli() -> None:
    from toolchain.install.golang import read_module

    assert read_module(ROOT / "toolchain").pulumi == f"v{pins(ROOT / 'requirements/main.txt')['pulumi']}"


def test_a_lock_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["develop"]) == 2
    assert "NAME=develop: no such lock. One of: sglang-jax-0.0.2-cpu" in capsys.readouterr().err


def test_the_command_never_writes_an_address_and_always_hashes() -> None:
    for lock in LOCKS:
        words = command(Path(sys.executable), lock, upgrade=False)
        assert "--generate-hashes" in words
        assert not [word for word in words if word.startswith("--emit-") or "://" in word]
        assert "--upgrade" not in words
