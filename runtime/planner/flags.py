"""The user's engine flags: checked against the version, refused where the plan owns them, written as argv."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from runtime.facts.tables import rows
from runtime.models.config import BYTES
from stack.config import FlagValue
from stack.errors import BadInput, BadInputs

KEY = "tpu-stack:serve.flags"

OWNED = {
    "model-path": "set serve.model",
    "model": "set serve.model",
    "tp-size": "the plan works it out from the model and the slice",
    "tensor-parallel-size": "the plan works it out from the model and the slice",
    "dp-size": "the plan works it out (0.0.2 starts no scheduler with any but 1)",
    "data-parallel-size": "the plan works it out (0.0.2 starts no scheduler with any but 1)",
    "nnodes": "the slice's workers decide",
    "node-rank": "the slice's workers decide",
    "jax-proc-id": "the slice's workers decide",
    "jax-num-procs": "the slice's workers decide",
    "dist-init-addr": "set serve.distPort; the address is worker 0's",
    "host": "the server listens on all addresses, so that its worker's loopback answers",
    "port": "set serve.port",
    "device": "set serve.device",
    "api-key": "a secret in argv is seen by every user of the worker",
    "enable-single-process": "the ladder looks for a scheduler process of its own",
    "skip-tokenizer-init": "the ladder asks for text",
    "is-embedding": "the ladder asks for generated text",
}
"""Flags that the user may not give, and why or what to set instead."""

RENAMED = {"disable-jax-precompile": "disable-precompile", "disable-precompile": "disable-jax-precompile"}

DTYPES = {"auto": "auto", "half": "float16", "float": "float32"} | {name: name for name in BYTES}
"""What ``--dtype`` takes, and the plain name of it."""


def check_flags(flags: Mapping[str, FlagValue], *, version: str) -> None:
    """Return when the engine version takes every flag.

    Raises:
        BadInput, BadInputs: a flag that the plan owns, or that this version does not have.
    """
    faults = [fault for name in flags for fault in _faults(name, version)]
    faults += _value_faults(flags)
    if faults:
        raise faults[0] if len(faults) == 1 else BadInputs(tuple(faults))


def flag_arguments(flags: Mapping[str, FlagValue]) -> tuple[str, ...]:
    """The flags as argv: true stands alone, false is left out.

    A flag that takes several values is one string with spaces in the config.
    """
    several = {row["flag"] for row in rows("engine_flags") if row["several"]}
    arguments: list[str] = []
    for name, value in flags.items():
        if value is False:
            continue
        arguments.append(f"--{name}")
        if value is not True:
            arguments.extend(str(value).split() if name in several else [str(value)])
    return tuple(arguments)


def _faults(name: str, version: str) -> list[BadInput]:
    key = f"{KEY}.{name}"
    if name in OWNED:
        return [BadInput("is not the user's to set", key=key, cure=f"Leave it out: {OWNED[name]}")]
    known = [row["flag"] for row in rows("engine_flags") if version in row["versions"].split()]
    # 0.0.2's list is all that its argparse has; head's is only what its authors' notes show.
    if name in known or (version == "head" and name not in RENAMED):
        return []
    near = [RENAMED[name]] if name in RENAMED else difflib.get_close_matches(name, known, n=1)
    cure = f"Did you mean {near[0]}?" if near else "See docs/engines.md"
    return [BadInput(f"sglang-jax {version} has no such flag", key=key, cure=cure)]


def _value_faults(flags: Mapping[str, FlagValue]) -> list[BadInput]:
    faults = []
    fraction = flags.get("mem-fraction-static", 0.5)
    if isinstance(fraction, bool | str) or not 0 < fraction < 1:
        faults.append(_fault("mem-fraction-static", fraction, "is not between 0 and 1", "0.8 is the authors' figure"))
    for name in ("page-size", "max-total-tokens", "context-length"):
        value = flags.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            faults.append(_fault(name, value, "is not a whole number above zero", "Give tokens"))
    if faults:
        return faults
    page, chunk = flags.get("page-size", 1), flags.get("chunked-prefill-size", 4096)
    if isinstance(page, int) and isinstance(chunk, int) and chunk > 0 and chunk % page:
        why = f"is not divisible by the page-size {page}"
        faults.append(_fault("chunked-prefill-size", chunk, why, "Make it a multiple"))
    dtype = flags.get("dtype", "auto")
    if dtype not in DTYPES:
        faults.append(_fault("dtype", dtype, "is not a dtype of the engine", f"Use one of {', '.join(DTYPES)}"))
    return faults


def _fault(name: str, value: object, why: str, cure: str) -> BadInput:
    return BadInput(why, key=f"{KEY}.{name}", value=value, cure=cure)
