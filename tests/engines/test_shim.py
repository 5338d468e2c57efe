"""The shim without JAX: stand-ins for the modules it waits for, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHIM = Path(__file__).resolve().parents[2] / "runtime" / "engines" / "sglang_jax_shim"

JAX = """
__version__ = "9"
class Device: platform = "cpu"; device_kind = "cpu"
def devices(): return [Device]
def process_index(): return 1
def process_count(): return 2
def device_count(): return 8
def local_device_count(): return 4
"""
TREE_UTIL = "def register_pytree_node_class(cls): raise ValueError('Duplicate registration')\n"
SCHEDULER = """
def create_device_mesh(*, size): return ('mesh', size)
class Scheduler:
    batches = ["work", None]
    def get_next_batch_to_run(self): return self.batches.pop(0)
"""
NATIVE = """
from jax.tree_util import register_pytree_node_class
@register_pytree_node_class
class NativeAttention: pass
"""
SAMPLER = "def is_tpu_runtime(): return False\ndef path(): return is_tpu_runtime()\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with an engine and a jax that only have what the shim touches."""
    modules = {
        "jax/__init__.py": JAX,
        "jax/tree_util.py": TREE_UTIL,
        "sgl_jax/srt/managers/scheduler.py": SCHEDULER,
        "sgl_jax/srt/layers/attention/native_backend.py": NATIVE,
        "sgl_jax/srt/layers/sampler.py": SAMPLER,
    }
    for name, text in modules.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "site"


def run(site: Path, code: str, platform: str = "cpu", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{SHIM}:{site}", "JAX_PLATFORMS": platform}
    if folder is not None:
        environment["TPU_STACK_ATTEMPT_DIR"] = str(folder)
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)


LAY = "from sgl_jax.srt.managers.scheduler import create_device_mesh; print(create_device_mesh(size=3))"


def test_the_devices_are_recorded_when_the_mesh_is_laid_and_the_mesh_is_as_before(site: Path, tmp_path: Path) -> None:
    done = run(site, LAY, folder=tmp_path)
    assert done.stdout == "('mesh', 3)\n", done.stderr
    found = json.loads((tmp_path / "devices.json").read_text())
    assert (found["platform"], found["process_index"], found["process_count"]) == ("cpu", 1, 2)
    assert (found["device_count"], found["local_device_count"]) == (8, 4)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("devices")] == ["devices.json"]


def test_it_is_recorded_on_a_tpu_too_and_nothing_else_is_touched_there(site: Path, tmp_path: Path) -> None:
    assert run(site, LAY, "tpu", tmp_path).returncode == 0
    assert (tmp_path / "devices.json").exists()
    done = run(site, "from sgl_jax.srt.layers import sampler; print(sampler.path())", "tpu")
    assert done.stdout == "False\n"
    assert run(site, "import sgl_jax.srt.layers.attention.native_backend", "tpu").returncode != 0


def test_the_two_defects_off_the_tpu_are_mended_and_said(site: Path) -> None:
    done = run(site, "from sgl_jax.srt.layers.attention.native_backend import NativeAttention as N; print(N.__name__)")
    assert done.stdout == "NativeAttention\n", done.stderr
    assert "tolerated: Duplicate registration" in done.stderr
    done = run(site, "from sgl_jax.srt.layers import sampler; print(sampler.path())")
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(("platform", "rests"), [("cpu", 1), ("tpu", 0)])
def test_a_scheduler_without_work_rests_off_the_tpu_and_one_with_work_does_not(
    site: Path, platform: str, rests: int
) -> None:
    code = (
        "import time; naps = []; time.sleep = naps.append\n"
        "from sgl_jax.srt.managers.scheduler import Scheduler\n"
        "scheduler = Scheduler()\n"
        "first = scheduler.get_next_batch_to_run(), len(naps)\n"
        "print(first, scheduler.get_next_batch_to_run(), len(naps))"
    )
    assert run(site, code, platform).stdout == f"('work', 0) None {rests}\n"


def test_the_registration_is_put_back(site: Path) -> None:
    code = "import sgl_jax.srt.layers.attention.native_backend, jax.tree_util as t; "
    code += "print(t.register_pytree_node_class.__name__)"
    assert run(site, code).stdout == "register_pytree_node_class\n"


def test_children_inherit_it(site: Path, tmp_path: Path) -> None:
    child = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {LAY!r}]).returncode)"
    assert run(site, child, folder=tmp_path).returncode == 0
    assert (tmp_path / "devices.json").exists()


@pytest.mark.parametrize(
    ("module", "text", "code"),
    [
        ("sgl_jax/srt/layers/sampler.py", "x = 1\n", "from sgl_jax.srt.layers import sampler; print(sampler.x)"),
        ("sgl_jax/srt/managers/scheduler.py", "x = 1\n", "from sgl_jax.srt.managers import scheduler as s; print(s.x)"),
    ],
)
def test_an_engine_without_the_place_to_patch_goes_on_and_it_is_said(
    site: Path, module: str, text: str, code: str
) -> None:
    (site / module).write_text(text)
    done = run(site, code)
    assert done.stdout == "1\n", done.stderr
    assert "[tpu-stack shim] could not patch" in done.stderr


def test_a_module_that_fails_by_itself_fails_as_without_the_shim(site: Path) -> None:
    (site / "sgl_jax/srt/layers/sampler.py").write_text("raise RuntimeError('its own')\n")
    done = run(site, "import sgl_jax.srt.layers.sampler")
    assert done.returncode == 1
    assert "RuntimeError: its own" in done.stderr
    (site / "sgl_jax/srt/layers/sampler.py").write_text("import no_such_module_here\n")
    done = run(site, "import sgl_jax.srt.layers.sampler")
    assert "ModuleNotFoundError" in done.stderr
    (site / "sgl_jax/srt/layers/sampler.py").write_text("(1).nothing\n")
    done = run(site, "import sgl_jax.srt.layers.sampler")
    assert done.returncode == 1, "an AttributeError of the module's own is not the patch's"


def test_an_attempt_folder_that_cannot_be_written_breaks_nothing(site: Path, tmp_path: Path) -> None:
    done = run(site, LAY, folder=tmp_path / "gone")
    assert done.stdout == "('mesh', 3)\n"
    assert "could not record the devices" in done.stderr
