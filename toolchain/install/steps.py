"""The whole of set-up: look first, ask for all that is missing at once, then do side by side what can be."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

from toolchain.install import interpreter as interpreters
from toolchain.install.context import Context, make_context, runs
from toolchain.install.debian import Debian
from toolchain.install.environment import Environment, Tools
from toolchain.install.interpreter import Interpreter
from toolchain.install.launchers import Launchers
from toolchain.install.problems import Missing, SetupProblem, StepFailed
from toolchain.install.pulumi_cli import PulumiCli
from toolchain.install.wheelhouse import Wheelhouse

OLDEST_PYTHON = (3, 8)
ROOT = Path(__file__).resolve().parent.parent.parent


class Step(Protocol):
    """One part of set-up."""

    name: str

    def done(self) -> bool:
        """Whether there is nothing to do; cheap, and true only if what the step makes is really there."""

    def prerequisites(self) -> list[Missing]:
        """What the step needs and this machine lacks; asked only when there is something to do, touches nothing."""

    def run(self) -> str:
        """Do it, and say in one line what was done. Raises SetupProblem."""


def main(arguments: Sequence[str]) -> int:
    """Run set-up for the project this file is in; returns the exit code."""
    argparse.ArgumentParser(
        prog="toolchain/bootstrap.py", description="Set this clone up (the same as `make setup`)."
    ).parse_args(arguments)
    if sys.version_info[:2] < OLDEST_PYTHON:
        return _report([Missing("python3", f"{sys.version.split()[0]} is too old", "Install Python 3.8 or newer")])
    context = make_context(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with context.locked("set-up", context.local / "setup" / "lock"):
            return set_up(context)
    except SetupProblem as problem:
        return _report([problem])
    except OSError as error:
        return _report([StepFailed("set-up", str(error))])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished is kept\n")
        return 130
    finally:
        context.processes.end_all()


def set_up(context: Context) -> int:
    """Bring everything up to date; returns the exit code, having said what is missing.

    Raises:
        SetupProblem: a step failed.
    """
    try:
        interpreter: Interpreter | Missing = find_interpreter(context)
    except Missing as missing:
        interpreter = missing
    debian, pulumi = Debian(context), PulumiCli(context)
    if isinstance(interpreter, Missing):
        return _report(
            [interpreter, *(lack for step in (debian, pulumi) if not step.done() for lack in step.prerequisites())]
        )
    tools = Tools(context, interpreter)
    environment = Environment(context, interpreter, tools)
    wheelhouse = Wheelhouse(context, tools)
    launchers = Launchers(context, interpreter, tools, environment, wheelhouse, pulumi)
    stages: list[tuple[Step, tuple[Step, ...]]] = [
        (debian, ()),
        (pulumi, ()),
        (tools, ()),
        (environment, (tools,)),
        (wheelhouse, (tools,)),
        (launchers, (environment, wheelhouse, pulumi)),
    ]
    todo = [(step, after) for step, after in stages if not step.done()]
    lacks = [lack for step, _ in todo for lack in step.prerequisites()]
    if lacks:
        return _report(lacks)
    if todo:
        run_side_by_side(context, todo)
    context.progress.line("set-up", "done" if todo else "nothing to do")
    return 0


def find_interpreter(context: Context) -> Interpreter:
    """Python 3.12: the one of the last run if it is still there, for starting each candidate takes time."""
    remembered = context.read("python")
    executable = Path(str(remembered.get("executable", "")))
    if interpreters.OVERRIDE not in context.environment and runs(executable):
        numbers = tuple(int(number) for number in str(remembered["version"]).split("."))
        return Interpreter(numbers, Path(str(remembered["prefix"])), executable)
    found = interpreters.find(context)
    version = ".".join(str(number) for number in found.version)
    context.progress.line("python", f"{version} at {found.executable}")
    context.remember("python", {"version": version, "prefix": str(found.prefix), "executable": str(found.executable)})
    return found


def run_side_by_side(context: Context, todo: Sequence[tuple[Step, tuple[Step, ...]]]) -> None:
    """Run each step as soon as those it comes after have ended.

    Raises:
        SetupProblem: the first that failed; the programs of the others were ended.
    """
    futures: dict[str, Future[None]] = {}
    failures: list[SetupProblem] = []

    def run(step: Step, after: tuple[Step, ...]) -> None:
        for earlier in after:
            if earlier.name in futures:
                futures[earlier.name].result()
        context.progress.running(step.name, "working")
        try:
            said = step.run()
        except OSError as error:
            failures.append(StepFailed(step.name, str(error)))
            raise
        except SetupProblem as problem:
            failures.append(problem)
            raise
        context.progress.done(step.name, said)

    # One thread for each step, so that one which waits never keeps another from running; a step's predecessors
    # stand before it in `todo`, so they have their futures when it starts.
    with context.progress, ThreadPoolExecutor(max_workers=len(todo)) as pool:
        try:
            for step, after in todo:
                futures[step.name] = pool.submit(run, step, after)
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:
            if not all(future.done() and future.exception() is None for future in futures.values()):
                context.processes.end_all()
    if failures:
        raise failures[0]
    for future in futures.values():
        future.result()


def _report(problems: Sequence[SetupProblem]) -> int:
    for problem in problems:
        output = getattr(problem, "output", "")
        sys.stderr.write(f"{output}\n" if output else "")
        sys.stderr.write(f"{problem}\n")
    return max(problem.exit_code for problem in problems)
