"""What the zone offers, asked while previewing: a type or an image that it lacks fails before anything exists."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_gcp import tpu

from runtime.facts import accelerator_type, choose_runtime, runtime_preferences, zones_with
from stack.config import StackConfig
from stack.errors import BadInput, CloudFailed

SHOWN_AT_MOST = 8
TYPE_KEY = "tpu-stack:acceleratorType"


@dataclass(frozen=True)
class Offer:
    """What the stack will ask for.

    Attributes:
        confirmed: the zone itself lists both; False where ``confirmRuntime: false`` waived the question.
    """

    accelerator_type: str
    runtime_version: str
    confirmed: bool


def confirm_offer(config: StackConfig) -> Offer:
    """Choose the runtime version by the accelerator's family and confirm both with the zone's own lists.

    The tables say which image a family prefers; whether the zone has it changes without notice, so it is
    asked each time. The choice is printed as ``runtime_version=...``.

    Raises:
        BadInput: the zone lists the type or the runtime not; the message holds what it does list.
        CloudFailed: the lists cannot be read.
    """
    offer = _confirmed(config) if config.confirm_runtime else _waived(config)
    pulumi.log.info(f"runtime_version={offer.runtime_version}")
    return offer


def _confirmed(config: StackConfig) -> Offer:
    kind = accelerator_type(config.accelerator_type)
    types = _ask("accelerator types", config.zone, lambda: _types(config))
    if config.accelerator_type not in types:
        raise BadInput(
            f"zone {config.zone} does not offer it",
            key=TYPE_KEY,
            value=config.accelerator_type,
            cure=f"It offers {_nearest(config.accelerator_type, types)}{_elsewhere(kind.family.name, config.zone)}",
        )
    versions = _ask("runtime versions", config.zone, lambda: _versions(config))
    version = choose_runtime(kind.family.name, versions, config.runtime_version)
    return Offer(config.accelerator_type, version, confirmed=True)


def _waived(config: StackConfig) -> Offer:
    version = config.runtime_version
    if version is None:
        version = runtime_preferences(accelerator_type(config.accelerator_type).family.name)[0]
    pulumi.log.warn(
        f"tpu-stack:confirmRuntime=false: {config.accelerator_type} and {version} are not confirmed with zone "
        f"{config.zone}; the create will fail if it lacks one of them"
    )
    return Offer(config.accelerator_type, version, confirmed=False)


def _types(config: StackConfig) -> Sequence[str]:
    return tpu.get_v2_accelerator_types(project=config.project, zone=config.zone).types


def _versions(config: StackConfig) -> Sequence[str]:
    return tpu.get_v2_runtime_versions(project=config.project, zone=config.zone).versions


def _ask(what: str, zone: str, question: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        return question()
    except Exception as error:  # the SDK raises a bare Exception for an invoke that failed
        why = " ".join(str(error).rpartition("returned an error: ")[2].split())
        raise CloudFailed(
            f"its {what} cannot be read: {why}",
            key="gcp:zone",
            value=zone,
            cure="Mend that, or set tpu-stack:confirmRuntime to false to go without",
        ) from error


def _nearest(wanted: str, offered: Collection[str]) -> str:
    """What is offered, the nearest names first: those of the same family, else the most alike."""
    if not offered:
        return "no TPU at all"
    prefix = wanted.rpartition("-")[0]
    same = sorted((name for name in offered if name.rpartition("-")[0] == prefix), key=_size)
    others = difflib.get_close_matches(wanted, sorted(set(offered) - set(same)), n=SHOWN_AT_MOST, cutoff=0.0)
    shown = [*same, *others][:SHOWN_AT_MOST]
    more = len(offered) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _size(name: str) -> tuple[int, str]:
    number = name.rpartition("-")[2]
    return (int(number), name) if number.isdigit() else (0, name)


def _elsewhere(family: str, zone: str) -> str:
    others = [name for name in zones_with(family) if name != zone]
    return f". Zones seen with {family}: {', '.join(others[:SHOWN_AT_MOST])}" if others else ""
