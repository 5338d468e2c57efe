"""What a plan is made of: data that crosses rooms, frozen, with nothing of any machine in it.

Addresses and paths that only a running slice knows stand as placeholders (``{worker0}``, ``{model}``,
``{python}``, ``{attempt}``, ``{home}``) until ``bind`` fills them in.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from runtime.models.config import ModelConfig

__all__ = ["PLACEHOLDERS", "LaunchPlan", "ModelConfig", "SliceShape", "WorkerLaunch"]

PLACEHOLDERS = ("{worker0}", "{model}", "{python}", "{attempt}", "{home}")


@dataclass(frozen=True)
class SliceShape:
    """A slice's size and layout; exists before anything is created.

    Attributes:
        workers: TPU VMs; assumed from the table, or as the API has listed them.
        usable_hbm_gib_per_chip: what XLA leaves for programs.
        devices_per_chip: JAX devices that one chip shows.
        assumption: what is taken for granted and what will decide; empty where sources agree.
    """

    accelerator_type: str
    family: str
    topology: str
    chips: int
    workers: int
    chips_per_worker: int
    hbm_gib_per_chip: int
    usable_hbm_gib_per_chip: float
    devices_per_chip: int = 1
    assumption: str = ""


@dataclass(frozen=True)
class WorkerLaunch:
    """The command line and the environment of the process that one worker starts."""

    index: int
    argv: tuple[str, ...]
    env: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return {"index": self.index, "argv": list(self.argv), "env": dict(self.env)}


@dataclass(frozen=True)
class LaunchPlan:
    """What ``deploy`` launches, and what must be seen for it to count as up.

    Attributes:
        runtime_version: the TPU VM image; None where it was not asked for.
        parameters: of the model, counted from its shapes.
        tensor_parallel: attention's; the engine's own flag stands in argv.
        effective_replicas: how many times the throughput of one replica the engine gets from the data axis.
        fits: the weights and the cache of one request of full context fit in the HBM (judged by the slice's HBM
            also where its workers are played on CPU).
        kv_tokens: tokens of KV cache left beside the weights, at most what ``max-total-tokens`` asks for.
        platform: what JAX must report: ``tpu`` or ``cpu``.
        process_count, device_count: over the slice, as JAX must report them on every worker.
        local_device_count: on each worker.
        model: as the user named it; ``model_is_folder`` tells whether its files must be brought to the workers.
        notes: what the reader should know before paying, in plain words.
    """

    engine: str
    engine_version: str
    model: str
    model_is_folder: bool
    accelerator_type: str
    topology: str
    runtime_version: str | None
    parameters: int
    chips: int
    worker_count: int
    chips_per_worker: int
    tensor_parallel: int
    data_parallel: int
    effective_replicas: int
    attention_heads: int
    kv_heads: int
    fits: bool
    weights_gib_per_chip: float
    kv_tokens: int
    hbm_gib_per_chip: int
    platform: str
    process_count: int
    device_count: int
    local_device_count: int
    port: int
    dist_port: int
    launch: tuple[WorkerLaunch, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON: the keys of the class, launch and notes as lists."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document["launch"] = [worker.as_dict() for worker in self.launch]
        document["notes"] = list(self.notes)
        return document
