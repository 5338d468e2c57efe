"""Write every lock anew from its ``.in`` file: ``.venv/bin/python -m toolchain.lock [--upgrade] [NAME...]``.

Without ``--upgrade`` a pin stays as it is while its ``.in`` file allows it, so that adding one package moves no other.
A lock has hashes and no index address: it holds on any mirror, and whoever installs it chooses the index.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from stack.errors import BadInput, NotVerified, TpuStackError
from toolchain.paths import PROJECT, load

COMMON = ("--quiet", "--generate-hashes", "--no-header", "--no-annotate")
WORKER = ("--python-platform", "x86_64-manylinux_2_31")
"""The workers: linux on x86_64, with the oldest C library that libtpu's wheels run on."""

ENGINES = "runtime/engines/locks"
TPU = f"{ENGINES}/sglang-jax-0.0.2-tpu"


@dataclass(frozen=True)
class Lock:
    """One lock, beside its ``.in`` file, and how it is resolved."""

    path: str
    options: tuple[str, ...]
    python: str = "3.12"


LOCKS = (
    # The pins in it are complete and were run as they are: nothing is resolved, only the hashes are added.
    Lock(f"{ENGINES}/sglang-jax-0.0.2-cpu.txt", (*WORKER, "--no-deps")),
    Lock(
        f"{ENGINES}/sglang-jax-0.0.2-tpu.txt", (*WORKER, "--override", f"{ENGINES}/sglang-jax-0.0.2-tpu-overrides.in")
    ),
    Lock(f"{ENGINES}/uv.txt", ("--universal",)),
    # pip is installed by whichever Python 3.9 or newer has a pip.
    Lock("requirements/bootstrap.txt", ("--universal", "--constraint", f"{ENGINES}/uv.txt"), python="3.9"),
    Lock("requirements/main.txt", ("--universal",)),
    Lock("requirements/dev.txt", ("--universal", "--constraint", "requirements/main.txt")),
)
"""In this order: the later ones take pins from the earlier ones."""


def command(uv: Path, lock: Lock, *, upgrade: bool) -> list[str]:
    """The uv command that writes ``lock``, run in the project's root."""
    source = str(Path(lock.path).with_suffix(".in"))
    options = [*COMMON, "--python-version", lock.python, *lock.options, *(["--upgrade"] * upgrade)]
    return [str(uv), "pip", "compile", *options, "-o", lock.path, source]


def main(arguments: list[str]) -> int:
    """Write the locks that are named (all, without names); returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.lock", description="Write locks from their .in files.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that the .in files allow")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a lock's file name without .txt, as in: dev")
    options = parser.parse_args(arguments)
    try:
        refresh(options.names, upgrade=options.upgrade)
    except TpuStackError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def refresh(names: list[str], *, upgrade: bool) -> None:
    """Write the named locks, or all.

    Raises:
        BadInput: no lock is called that.
        NotVerified: uv found no solution; the lock is as it was.
    """
    known = {Path(lock.path).stem: lock for lock in LOCKS}
    for name in names:
        if name not in known:
            raise BadInput("no such lock", key="NAME", value=name, cure=f"One of: {', '.join(known)}")
    uv = load().uv
    for name, lock in known.items():
        if not names or name in names:
            sys.stderr.write(f"{lock.path}\n")
            done = subprocess.run(command(uv, lock, upgrade=upgrade), cwd=PROJECT, check=False)  # noqa: S603  (the pinned uv)
            if done.returncode != 0:
                raise NotVerified("uv found no solution, see above", key="lock", value=lock.path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
