"""Whether the environment that runs this holds what a lock asks for. Standard library only; run with -I.

    python -I check_environment.py MODULE... <lock.txt

Prints OK and the number of distributions, or BROKEN and the first reason. A file that is missing or has another
size than its RECORD says counts as broken; equal sizes with other bytes are not noticed, as hashing a gigabyte at
every deploy would cost more than the fault is likely.
"""

from __future__ import annotations

import csv
import importlib
import os
import re
import sys
import sysconfig
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^ ;\\]+)")


def pins(lock: str) -> dict[str, str]:
    """Names, normalised, and versions. Our locks are made for one platform, so they carry no markers."""
    return {normal(match[1]): match[2] for line in lock.splitlines() if (match := PIN.match(line))}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(site: Path) -> dict[str, tuple[str, Path]]:
    """Version and dist-info folder of each distribution in site-packages."""
    found = {}
    for folder in site.glob("*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        found[normal(name)] = (version, folder)
    return found


def first_damage(site: Path, info: Path) -> str | None:
    """The first file of a distribution that is missing or has another size."""
    try:
        rows = list(csv.reader((info / "RECORD").read_text(encoding="utf-8").splitlines()))
    except OSError:
        return f"{info.name}/RECORD is missing"
    for row in rows:
        if len(row) < 3 or row[0].endswith(".pyc"):
            continue
        try:
            size = os.stat(f"{site}/{row[0]}").st_size  # noqa: PTH116 (tens of thousands of them, at every deploy)
        except OSError:
            return f"{row[0]} is missing"
        if row[2] and size != int(row[2]):
            return f"{row[0]} has {size} bytes, its RECORD says {row[2]}"
    return None


def verdict(lock: str, modules: list[str]) -> str:
    site = Path(sysconfig.get_paths()["purelib"])
    wanted, there = pins(lock), installed(site)
    if not wanted:
        return "BROKEN the lock names nothing"
    for name, version in sorted(wanted.items()):
        if name not in there:
            return f"BROKEN {name} {version} is not installed"
        if there[name][0] != version:
            return f"BROKEN {name} is {there[name][0]}, the lock says {version}"
        if damage := first_damage(site, there[name][1]):
            return f"BROKEN {name}: {damage}"
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever it is, the module cannot be used
            return f"BROKEN import {module}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return f"OK {len(wanted)}"


if __name__ == "__main__":
    sys.stdout.write(verdict(sys.stdin.read(), sys.argv[1:]) + "\n")
