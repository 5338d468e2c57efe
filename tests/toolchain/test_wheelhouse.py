"""The wheelhouse holds what the locks name, and notices what is missing or damaged. The real pip fetches and checks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.toolchain.conftest import ROOT
from toolchain import paths
from toolchain.install.context import Context
from toolchain.install.environment import Tools
from toolchain.install.interpreter import Interpreter
from toolchain.install.problems import StepFailed
from toolchain.install.wheelhouse import LOCKS, Wheelhouse, read_pins

THIS = Interpreter(tuple(sys.version_info[:3]), Path(sys.base_prefix), Path(sys.base_prefix) / "bin/python3.12")


def wheelhouse(machine: Context) -> Wheelhouse:
    return Wheelhouse(machine, Tools(machine, THIS))


@pytest.fixture
def filled(machine: Context) -> Context:
    step = wheelhouse(machine)
    assert not step.done()
    assert step.run() == f"2 wheels in {step.folder}, 2 of them new"
    return machine


def wheel(machine: Context, name: str) -> Path:
    (found,) = wheelhouse(machine).folder.glob(f"{name}-*.whl")
    return found


def test_a_filled_wheelhouse_has_nothing_to_do(filled: Context) -> None:
    assert wheelhouse(filled).done()


def test_a_missing_wheel_is_noticed_and_only_that_one_is_fetched(filled: Context) -> None:
    wheel(filled, "zipp").unlink()
    untouched = wheel(filled, "sniffio").stat().st_mtime_ns
    assert not wheelhouse(filled).done()
    assert wheelhouse(filled).run().endswith("1 of them new")
    assert wheel(filled, "sniffio").stat().st_mtime_ns == untouched
    assert wheelhouse(filled).done()


def test_a_damaged_wheel_of_the_same_size_is_noticed_and_replaced(filled: Context) -> None:
    path = wheel(filled, "zipp")
    good = path.read_bytes()
    path.write_bytes(good[:-10] + b"0123456789")
    assert not wheelhouse(filled).done()
    wheelhouse(filled).run()
    assert path.read_bytes() == good


def test_a_wheel_that_was_only_touched_is_hashed_again_and_kept(filled: Context) -> None:
    os.utime(wheel(filled, "zipp"))
    assert not wheelhouse(filled).done()
    assert wheelhouse(filled).run().endswith("0 of them new")
    assert wheelhouse(filled).done()


def test_what_another_clone_fetched_is_used_and_kept(filled: Context) -> None:
    stranger = wheelhouse(filled).folder / "other-1.0-py3-none-any.whl"
    stranger.write_bytes(b"of another lock")
    assert wheelhouse(filled).done()
    wheel(filled, "zipp").unlink()
    wheelhouse(filled).run()
    assert stranger.exists()


def test_a_changed_lock_is_noticed(filled: Context) -> None:
    lock = filled.root / LOCKS / "engine-1-cpu.txt"
    lock.write_text(lock.read_text() + "# another day\n")
    assert not wheelhouse(filled).done()


def test_a_file_whose_hash_is_not_in_the_lock_never_gets_in(machine: Context) -> None:
    lock = machine.root / LOCKS / "engine-1-cpu.txt"
    lock.write_text(f"zipp==4.1.2 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(StepFailed) as raised:
        wheelhouse(machine).run()
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in raised.value.output
    assert not list(wheelhouse(machine).folder.glob("*.whl"))


def test_a_pin_without_a_hash_is_refused_by_name(machine: Context) -> None:
    lock = machine.root / LOCKS / "engine-1-cpu.txt"
    lock.write_text("zipp==4.1.2\n")
    with pytest.raises(StepFailed, match=r"engine-1-cpu\.txt: zipp==4\.1\.2 has no hash"):
        wheelhouse(machine).run()


def test_only_locks_for_cpu_and_uv_are_for_the_wheelhouse(machine: Context) -> None:
    (machine.root / LOCKS / "engine-1-tpu.txt").write_text(f"libtpu==9 \\\n    --hash=sha256:{'0' * 64}\n")
    assert wheelhouse(machine).run().startswith("2 wheels")


def test_the_real_wheelhouse_has_a_wheel_for_every_pin_of_the_real_locks() -> None:
    present = {path.name.split("-")[0].lower() for path in paths.load(ROOT).wheelhouse.glob("*.whl")}
    for name in ("sglang-jax-0.0.2-cpu.txt", "uv.txt"):
        wanted = {pin.requirement.split("==")[0].replace("-", "_").lower() for pin in read_pins(ROOT / LOCKS / name)}
        assert wanted
        assert wanted <= present
