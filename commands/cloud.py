"""The ``cloud.*`` tasks: the embedded cloud's life, and the environment of those who talk to it."""

from __future__ import annotations

import shlex
from dataclasses import asdict

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from commands.console import Console, Outcome, run_command

JSON = "one JSON document on stdout, people's text on stderr"


@task(help={"json": JSON})
def start(_: Context, json: bool = False) -> None:
    """Start the embedded cloud; find it running the second time."""
    run_command(lambda _console: _start(), as_json=json)


@task(help={"json": JSON})
def stop(_: Context, json: bool = False) -> None:
    """Stop the embedded cloud and delete all its nodes."""
    run_command(lambda _console: _stop(), as_json=json)


@task(name="status", help={"json": JSON})
def cloud_status(_: Context, json: bool = False) -> None:
    """Whether the embedded cloud runs, and where."""
    run_command(lambda _console: _status(), as_json=json)


@task(help={"json": JSON})
def env(_: Context, json: bool = False) -> None:
    """Shell exports with which pulumi, gcloud and client libraries talk to the embedded cloud.

    Example: eval "$(invoke cloud.env)" && pulumi preview -s local
    """
    run_command(_env, as_json=json)


def collection() -> Collection:
    """The tasks under ``cloud``."""
    return Collection(start, stop, cloud_status, env)


def _start() -> Outcome:
    from commands.context import start_local_cloud

    info = start_local_cloud()
    document = {key: str(value) for key, value in asdict(info).items()}
    return Outcome(document, (f"localcloud is running: {info.url}, pid {info.pid}, state in {info.state}",))


def _stop() -> Outcome:
    from commands.context import cloud_state
    from localcloud import control

    state = cloud_state()
    control.stop(state)
    return Outcome({"state": str(state)}, (f"localcloud is stopped; nothing of it is left but {state}",))


def _status() -> Outcome:
    from commands.context import running_local_cloud

    info = running_local_cloud()
    document = {key: str(value) for key, value in asdict(info).items()}
    return Outcome(document, (f"localcloud is running: {info.url}, pid {info.pid}, state in {info.state}",))


def _env(console: Console) -> Outcome:
    from commands.context import local_environment, running_local_cloud

    variables, _notes = local_environment(running_local_cloud())
    lines = tuple(f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items()))
    return Outcome({"environment": variables}, () if console.as_json else lines)
