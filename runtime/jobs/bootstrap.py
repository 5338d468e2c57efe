"""The environment of an engine on every worker: there and whole, or built, detached, once for each lock."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.jobs.launching import launch_on
from runtime.jobs.remote import answer
from runtime.jobs.spec import JobSpec, new_attempt
from runtime.jobs.states import JobStatus, State, refusal
from runtime.jobs.watching import log_tail, status_on
from runtime.progress import Progress, Silent
from runtime.transport import Connection, Fleet, Outcome
from runtime.transport.scripts import FOLDER
from stack.errors import BadInput, NotVerified, TransportFailed

LOCKS = Path(__file__).resolve().parent.parent / "engines" / "locks"
PYTHON = "3.12"
ERROR = re.compile(r"(?i)\W*(error|fatal|traceback)\b|.*no space left|.*cannot stat")
SECONDS = 1200.0
"""For one environment; a gigabyte from PyPI takes minutes, from a wheelhouse seconds."""


@dataclass(frozen=True)
class Environment:
    """What an environment is made of; a pure function of its lock.

    Attributes:
        wheelhouse: a folder of wheels on the worker; None for PyPI.
        modules: what must be importable in it; each costs its import at every check.
    """

    name: str
    lock: bytes
    uv_lock: bytes
    wheelhouse: str | None = None
    modules: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its name under ``~/.tpu-stack/envs``: another lock is another folder."""
        return f"{self.name}-{hashlib.sha256(self.lock).hexdigest()[:12]}"


def locked_environment(name: str, *, wheelhouse: str | None = None, modules: tuple[str, ...] = ()) -> Environment:
    """The environment whose lock the product carries.

    Raises:
        BadInput: it carries none of this name.
    """
    path = LOCKS / f"{name}.txt"
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) or not path.is_file() or name == "uv":
        known = ", ".join(sorted(file.stem for file in LOCKS.glob("*.txt") if file.stem != "uv"))
        raise BadInput("is not an environment", key="tpu-stack:serve.environment", value=name, cure=f"Known: {known}")
    return Environment(name, path.read_bytes(), (LOCKS / "uv.txt").read_bytes(), wheelhouse, modules)


@dataclass(frozen=True)
class EnvironmentReport:
    """One worker's environment.

    Attributes:
        python: absolute path of its interpreter; empty while it is broken.
        built: this call built it; ``why``: what was wrong with it before.
    """

    worker: int
    ready: bool
    python: str = ""
    built: bool = False
    why: str = ""
    seconds: float = 0.0


def check_environment(
    fleet: Fleet, environment: Environment, *, workers: Iterable[int] | None = None, deadline: float = 60.0
) -> dict[int, Outcome[EnvironmentReport]]:
    """Whether each worker has it whole; changes nothing. Damage is a report, not an error."""
    return fleet.each(lambda connection: check_on(connection, environment), workers, deadline)


def ensure_environment(
    fleet: Fleet,
    environment: Environment,
    *,
    workers: Iterable[int] | None = None,
    progress: Progress | None = None,
    deadline: float = SECONDS,
) -> dict[int, Outcome[EnvironmentReport]]:
    """Build it on the workers that do not have it whole; each outcome is a ready environment or one reason."""
    attempt = new_attempt()
    watcher = progress or Silent()

    def one(connection: Connection) -> EnvironmentReport:
        return _ensure_on(connection, environment, attempt, watcher, deadline)

    return fleet.each(one, workers, deadline + 10)


def check_on(connection: Connection, environment: Environment) -> EnvironmentReport:
    """One worker's environment as it is."""
    started = time.monotonic()
    word, rest = answer(
        connection,
        "environment.sh",
        environment.folder,
        *environment.modules,
        words=("OK", "MISSING", "BROKEN"),
        stdin=environment.lock,
    )
    seconds = time.monotonic() - started
    if word == "OK":
        return EnvironmentReport(connection.worker, True, rest, seconds=seconds)
    return EnvironmentReport(connection.worker, False, why="missing" if word == "MISSING" else rest, seconds=seconds)


def bootstrap_spec(environment: Environment, attempt: str) -> JobSpec:
    """The build as a job: supervised, logged, stopped and acknowledged like any other."""
    return JobSpec(
        kind="bootstrap",
        name=environment.name,
        attempt=attempt,
        run_script=(FOLDER / "bootstrap.sh").read_text(encoding="utf-8"),
        files={
            "lock.txt": environment.lock,
            "uv.txt": environment.uv_lock,
            "check_environment.py": (FOLDER / "check_environment.py").read_bytes(),
        },
        env={
            "BOOTSTRAP_NAME": environment.folder,
            "BOOTSTRAP_WHEELS": environment.wheelhouse or "",
            "BOOTSTRAP_PYTHON": PYTHON,
            "BOOTSTRAP_MODULES": " ".join(environment.modules),
        },
        holds_chips=False,
        log_cap=4 * 1024 * 1024,
    )


def _ensure_on(
    connection: Connection, environment: Environment, attempt: str, progress: Progress, deadline: float
) -> EnvironmentReport:
    started = time.monotonic()
    worker = connection.worker
    found = check_on(connection, environment)
    if found.ready:
        progress.worker(worker, "environment", "whole")
        return found
    progress.worker(worker, "environment", f"building: {found.why}")
    spec = bootstrap_spec(environment, attempt)
    ack = launch_on(connection, spec)
    if not ack.accepted:
        raise refusal(ack)
    status = _await_end(connection, spec, progress, started + deadline)
    if status.state is not State.COMPLETE:
        raise _failed(connection, spec, status)
    after = check_on(connection, environment)
    if not after.ready:
        raise NotVerified(f"its environment was built and is broken: {after.why}", key="worker", value=worker)
    seconds = time.monotonic() - started
    progress.worker(worker, "environment", f"built in {seconds:.1f} s")
    return EnvironmentReport(worker, True, after.python, built=True, why=found.why, seconds=seconds)


def _await_end(connection: Connection, spec: JobSpec, progress: Progress, end: float) -> JobStatus:
    shown = ""
    pause = 0.5
    while True:
        status = status_on(connection, spec.job, spec.attempt)
        if status.state.over:
            return status
        if time.monotonic() > end:
            why = f"its environment was not ready in time; the last line of the log: {shown}"
            raise TransportFailed(
                why, key="worker", value=connection.worker, cure="It goes on there: call again to join"
            )
        lines = log_tail(connection, spec.job, spec.attempt, lines=1).strip()
        if lines and lines != shown:
            shown = lines
            progress.worker(connection.worker, "environment", shown.removeprefix("[bootstrap] ")[:120])
        time.sleep(pause)
        pause = min(2.0, pause * 1.5)  # each look costs processor time that the build itself wants


def _failed(connection: Connection, spec: JobSpec, status: JobStatus) -> NotVerified:
    """One reason: ours, and what the tools said first, with the causes they give under it."""
    lines = log_tail(connection, spec.job, spec.attempt, lines=200).splitlines()
    said = next((line.removeprefix("FAILED ") for line in reversed(lines) if line.startswith("FAILED ")), status.why)
    why = f"its environment cannot be built: {said}"
    if first := first_error(lines):
        why += f" ({first})"
    log = f"~/.tpu-stack/jobs/{spec.job}/attempts/{spec.attempt}/log"
    return NotVerified(why, key="worker", value=connection.worker, cure=f"Its log: {log}")


def first_error(lines: list[str]) -> str:
    """The earliest line that says what went wrong, with up to three lines of causes; empty if there is none."""
    start = next((i for i, line in enumerate(lines) if ERROR.match(line)), None)
    if start is None:
        return ""
    said = [" ".join(line.strip(" \t│├╰─▶×").split()) for line in lines[start : start + 4]]  # noqa: RUF001 (uv's own drawing)
    return " ".join(line for line in said if line and not line.startswith(("FAILED ", "[bootstrap]")))[:400]
