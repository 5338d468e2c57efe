"""The clone's own ``.cache/bin``: the CLI that was built, and beside it the launcher of our language host.

The CLI looks for ``pulumi-language-python`` beside its own binary, links followed, before anywhere else; one found
elsewhere works but draws a warning on every run. The binary is shared by all clones and the language host belongs to
one, so each clone has a hard link to the binary (a second name, which is not followed) next to its own launcher.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from pathlib import Path

from toolchain.install.context import Context, runs, write_atomically
from toolchain.install.environment import Environment, Tools
from toolchain.install.interpreter import Interpreter
from toolchain.install.problems import Missing
from toolchain.install.pulumi_cli import EXEC_SCRIPT, HOST, PulumiCli
from toolchain.install.wheelhouse import Wheelhouse

LAUNCHER = """#!/bin/sh
# Written by `make setup`: the language host of the clone that this folder belongs to.
exec {python} -I -m toolchain.language_host --launcher "$0" "$@"
"""


class Launchers:
    """Lay out ``.cache/bin`` and write ``.cache/toolchain.json``, which tells the project where everything is."""

    name = "toolchain"

    def __init__(
        self,
        context: Context,
        interpreter: Interpreter,
        tools: Tools,
        environment: Environment,
        wheelhouse: Wheelhouse,
        pulumi: PulumiCli,
    ) -> None:
        self._pulumi = pulumi
        self._folder = context.local / "bin"
        self._record = context.local / "toolchain.json"
        self._launcher = LAUNCHER.format(python=shlex.quote(str(environment.python)))
        cli = pulumi.cli()
        places = {
            "pulumi": str(self._folder if cli.own_host else cli.folder),
            "python312": str(interpreter.prefix),
            "uv": str(tools.uv),
            "wheelhouse": str(wheelhouse.folder),
            "language_host": cli.own_host,
        }
        self._text = json.dumps(places, indent=1) + "\n"

    def done(self) -> bool:
        recorded = self._record.is_file() and self._record.read_text() == self._text
        return recorded and (not self._pulumi.cli().own_host or self._laid_out())

    def prerequisites(self) -> list[Missing]:
        return []

    def run(self) -> str:
        if self._pulumi.cli().own_host:
            self._folder.mkdir(parents=True, exist_ok=True)
            for program in ("pulumi", EXEC_SCRIPT):
                _second_name(self._pulumi.cli().folder / program, self._folder / program)
            write_atomically(self._folder / HOST, self._launcher, 0o755)
        write_atomically(self._record, self._text)
        return f"recorded in {self._record.name}"

    def _laid_out(self) -> bool:
        host = self._folder / HOST
        if not runs(host) or host.read_text() != self._launcher:
            return False
        folder = self._pulumi.cli().folder
        return all(_same(folder / program, self._folder / program) for program in ("pulumi", EXEC_SCRIPT))


def _second_name(original: Path, name: Path) -> None:
    """Make ``name`` a hard link to ``original``, or a copy where they are on different file systems."""
    unfinished = name.with_name(f".{name.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        unfinished.unlink()
    try:
        os.link(original, unfinished)
    except OSError:
        shutil.copy2(str(original), str(unfinished))
    unfinished.replace(name)
    # rename() of one name onto another name of the same file does nothing and leaves both.
    with contextlib.suppress(FileNotFoundError):
        unfinished.unlink()


def _same(original: Path, name: Path) -> bool:
    if not (runs(original) and runs(name)):
        return False
    one, other = original.stat(), name.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
