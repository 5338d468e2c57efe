"""Runs at the start of every Python process of a sglang-jax server, and mends and watches it from outside.

On PYTHONPATH of the server, so that children that it spawns inherit it; the installed wheel stays as it is.
Four things, each on the import of the module that it is about:

- every platform: what JAX sees inside the scheduler is written to ``devices.json`` in the attempt's folder,
  right after jax.distributed has joined (a worker that fell back to CPU or joined nobody shows there);
- off the TPU, ``native_backend`` of 0.0.2 registers a class that flax has registered already: tolerated;
- off the TPU, ``sampler`` of 0.0.2 unpacks a 3-tuple into 2 on its own path: made to take the TPU's, which is
  pure jax.numpy;
- off the TPU, a scheduler that has nothing to do rests for some milliseconds: its loop polls without rest, and
  here ranks share the few cores that the others compile on.

Nothing here may break a server: what cannot be done is said in the log, and the server goes on. It hides a
sitecustomize of the system's, of which Debian's (a crash reporter) is the only one we know.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

IDLE_SECONDS = 0.005
ON_TPU = os.environ.get("JAX_PLATFORMS", "tpu") == "tpu"


def say(text: str) -> None:
    sys.stderr.write(f"[tpu-stack shim] {text}\n")
    sys.stderr.flush()


def record_devices() -> None:
    """Write what JAX sees in this process to ``devices.json``: whole, or not at all."""
    folder = os.environ.get("TPU_STACK_ATTEMPT_DIR")
    if not folder:
        return
    import jax  # type: ignore[import-not-found]  # of the engine's environment, not of ours

    seen = {
        "platform": jax.devices()[0].platform,
        "device_kind": jax.devices()[0].device_kind,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
        "device_count": jax.device_count(),
        "local_device_count": jax.local_device_count(),
        "jax": jax.__version__,
        "pid": os.getpid(),
        "time": time.time(),
    }
    written = Path(folder, f"devices.json.{os.getpid()}")
    written.write_text(json.dumps(seen), encoding="utf-8")
    written.replace(Path(folder, "devices.json"))
    say(f"devices: {seen}")


def watch_scheduler(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Record the devices just before the scheduler lays its mesh over them."""
    execute(module)
    lay_mesh = module.create_device_mesh

    def recorded(*arguments: Any, **options: Any) -> Any:
        try:
            record_devices()
        except Exception as error:
            say(f"could not record the devices: {error!r}")
        return lay_mesh(*arguments, **options)

    module.create_device_mesh = recorded  # type: ignore[attr-defined]
    if not ON_TPU:
        rest_when_idle(module.Scheduler)


def rest_when_idle(scheduler: Any) -> None:
    """Let the loop of ``scheduler`` rest whenever there is no batch to run."""
    next_batch = scheduler.get_next_batch_to_run

    def rested(self: Any) -> Any:
        batch = next_batch(self)
        if batch is None:
            time.sleep(IDLE_SECONDS)
        return batch

    scheduler.get_next_batch_to_run = rested


def tolerate_registered_class(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Run ``native_backend`` with a pytree registration that takes a class it has already."""
    from jax import tree_util

    register = tree_util.register_pytree_node_class

    def tolerant(cls: Any) -> Any:
        try:
            return register(cls)
        except ValueError as error:
            say(f"tolerated: {error}")
            return cls

    tree_util.register_pytree_node_class = tolerant
    try:
        execute(module)
    finally:
        tree_util.register_pytree_node_class = register


def sample_as_on_tpu(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Make ``sampler`` take the path that 0.0.2 has tested."""
    execute(module)
    if not hasattr(module, "is_tpu_runtime"):
        raise AttributeError("is_tpu_runtime")
    module.is_tpu_runtime = lambda: True  # type: ignore[attr-defined]


Patch = Callable[[Callable[[ModuleType], None], ModuleType], None]
PATCHES: dict[str, Patch] = {"sgl_jax.srt.managers.scheduler": watch_scheduler}
if not ON_TPU:
    PATCHES["sgl_jax.srt.layers.attention.native_backend"] = tolerate_registered_class
    PATCHES["sgl_jax.srt.layers.sampler"] = sample_as_on_tpu


class Finder:
    """Finds the patched modules as Python would, and puts the patch around their execution."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        patch = PATCHES.get(name)
        if patch is None:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = patched(name, patch, spec.loader.exec_module)  # type: ignore[method-assign,assignment]
        return spec


def patched(name: str, patch: Patch, execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    """``execute`` under ``patch``; a patch that fails is said, and the module still runs, once."""
    ran: list[str] = []

    def once(module: ModuleType) -> None:
        ran.append("began")
        execute(module)
        ran.append("ended")

    def run(module: ModuleType) -> None:
        try:
            patch(once, module)
        except Exception as error:
            if ran == ["began"]:
                raise  # the module's own failure, as it would be without us
            say(f"could not patch {name}: {error!r}")
            if not ran:
                execute(module)

    return run


sys.meta_path.insert(0, Finder())
