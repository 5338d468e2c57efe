"""A worker without a machine of its own: a home folder here, the real job scripts, a port of its own.

For the engine's tests only: several ranks on one machine differ in HOME, attempt id and HTTP port.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from runtime.engines import sglang_jax
from runtime.engines.completion import Completion, parse_completion
from runtime.engines.ladder import RungReport, RungState, climb, current
from runtime.engines.observation import Observation, parse_observation
from runtime.engines.sglang_jax_rungs import Facts
from runtime.jobs import Answer, JobSpec, attempt_folder, launch_on, new_attempt, stop
from runtime.planner import LaunchPlan, WorkerLaunch, bind
from runtime.transport import Connection, Fleet
from runtime.transport.results import Result
from runtime.transport.scripts import run_script


class LocalConnection:
    """What the job protocol needs of a connection, without SSH: commands run here under a HOME of their own."""

    def __init__(self, worker: int, home: Path) -> None:
        self.worker = worker
        self.home = home

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0, **_: object) -> Result:
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            list(argv), input=stdin, capture_output=True, timeout=4 * timeout, env=environment, cwd=self.home
        )
        return Result(self.worker, tuple(argv), done.returncode, done.stdout, done.stderr, seconds=0.0)

    def close(self) -> None: ...


@dataclass(frozen=True)
class LocalWorker:
    """One rank of a plan, launched by the real job protocol."""

    connection: Connection
    index: int
    plan: LaunchPlan
    spec: JobSpec
    attempt: str

    def observe(self) -> Observation:
        arguments = sglang_jax.observe_arguments(self.plan, self.index, self.attempt)
        return parse_observation(run_script(self.connection, sglang_jax.OBSERVE, arguments).check().text)

    def ask(self) -> Completion:
        result = self.connection.run(sglang_jax.probe_command(self.plan))
        return parse_completion(result.exit_code, result.text)

    def log(self) -> str:
        return Path(self.attempt, "log").read_text(encoding="utf-8", errors="replace")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def workers(plan: LaunchPlan, folder: Path, *, model: Path, python: Path) -> list[LocalWorker]:
    """The plan's ranks as local workers: rank 0 at 127.0.0.2, every rank with a port of its own."""
    dist_port = free_port()
    made = []
    for launch in plan.launch:
        home = folder / f"worker-{launch.index}"
        home.mkdir(parents=True)
        port, attempt = free_port(), new_attempt()
        name = f"server-{plan.engine}"
        here = str(home / attempt_folder(name, attempt))
        mine = replace(plan, port=port, dist_port=dist_port)
        connection = cast(Connection, LocalConnection(launch.index, home))
        bound = bind(
            replace(mine, launch=(_with_ports(launch, plan, port, dist_port),)),
            worker0="127.0.0.2",
            model_path=str(model),
            python=str(python),
            attempt=here,
            home=str(folder),
        ).launch[0]
        spec = JobSpec(
            kind="server",
            name=plan.engine,
            attempt=attempt,
            run_script=sglang_jax.run_script(),
            files=sglang_jax.job_files(bound),
            env=bound.env,
        )
        made.append(LocalWorker(connection, launch.index, mine, spec, here))
    return made


def _with_ports(launch: WorkerLaunch, plan: LaunchPlan, port: int, dist_port: int) -> WorkerLaunch:
    argv = tuple(
        item.replace(f"{{worker0}}:{plan.dist_port}", f"{{worker0}}:{dist_port}").replace("0.0.0.0", "127.0.0.1")
        for item in launch.argv
    )
    at = argv.index("--port") + 1
    return replace(launch, argv=(*argv[:at], str(port), *argv[at + 1 :]))


@contextlib.contextmanager
def launched(ranks: list[LocalWorker]) -> Iterator[list[LocalWorker]]:
    """The ranks, running; none of their processes is left afterwards."""
    try:
        for rank in ranks:
            assert launch_on(rank.connection, rank.spec).answer is Answer.LAUNCHED
        yield ranks
    finally:
        for rank in ranks:
            stop(Fleet({rank.index: rank.connection}), rank.spec.job)[rank.index].get()


def look(
    ranks: list[LocalWorker], completion: Completion | None
) -> tuple[dict[int, tuple[RungReport, ...]], dict[int, Facts]]:
    """One look at every rank: its rungs, and the facts they were drawn from."""
    facts = {rank.index: Facts(rank.index, rank.observe(), completion=completion) for rank in ranks}
    reports = {rank.index: climb(sglang_jax.ladder(rank.plan), rank.index, facts[rank.index]) for rank in ranks}
    return reports, facts


def watch(ranks: list[LocalWorker], *, seconds: float) -> tuple[dict[int, tuple[RungReport, ...]], dict[int, Facts]]:
    """Look until every rank is at its top, or one has failed; the last look."""
    deadline = time.monotonic() + seconds
    completion: Completion | None = None
    while True:
        reports, facts = look(ranks, completion)
        before = [report for report in map(current, reports.values()) if report is not None]
        if not before or any(report.state is RungState.FAILED for report in before):
            return reports, facts
        assert time.monotonic() < deadline, before
        if all(report.name == "token" for report in before):
            completion = ranks[0].ask()
        else:
            time.sleep(0.3)
