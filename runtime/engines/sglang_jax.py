"""sglang-jax: what a worker is given to run, how it is looked at, and the ladder by which it counts as up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from runtime.engines import sglang_jax_rungs as rungs
from runtime.engines.completion import Answer, completion_command
from runtime.engines.ladder import Rung, RungState, Standing, pending
from runtime.engines.observation import Observation
from runtime.engines.sglang_jax_rungs import Facts
from runtime.planner.types import LaunchPlan, WorkerLaunch
from runtime.verdict import Check

HERE = Path(__file__).resolve().parent
SHIM = HERE / "sglang_jax_shim" / "sitecustomize.py"
SERVE = HERE.parent / "scripts" / "serve.sh"

OBSERVE = "observe_sglang.sh"
"""The script of ``runtime/scripts`` that makes an Observation, with ``observe_arguments``."""

SERVED_NAME = "--served-model-name"


def run_script() -> str:
    """The job's ``run.sh``: it starts the command line that lies in the attempt's files."""
    return SERVE.read_text(encoding="utf-8")


def job_files(launch: WorkerLaunch) -> dict[str, bytes]:
    """The files of one worker's attempt: its command line, and the shim that PYTHONPATH points at."""
    argv = b"".join(argument.encode() + b"\0" for argument in launch.argv)
    return {"argv": argv, "shim/sitecustomize.py": SHIM.read_bytes()}


def observe_arguments(plan: LaunchPlan, worker: int, attempt: str) -> tuple[str, ...]:
    """The arguments of the observing script on ``worker``; ``attempt`` is the attempt's folder there, absolute."""
    rendezvous = (str(plan.dist_port),) if worker == 0 and plan.process_count > 1 else ()
    return (attempt, str(plan.port), *rendezvous)


def probe_command(plan: LaunchPlan) -> tuple[str, ...]:
    """What asks worker 0 for a completion; ``completion.parse_completion`` reads its answer."""
    argv = plan.launch[0].argv
    named = argv[argv.index(SERVED_NAME) + 1] if SERVED_NAME in argv else plan.model
    return completion_command(plan.port, named)


def ladder(plan: LaunchPlan) -> tuple[Rung[Facts], ...]:
    """The rungs of one server, in order. On a TPU, compilation can be silent for minutes (not observed here)."""
    slow = plan.platform == "tpu"
    return (
        Rung("reachable", 120.0, rungs.reachable),
        Rung("gates", 60.0, _looking(rungs.gates)),
        Rung("environment", 60.0, _looking(rungs.environment)),
        Rung("process", 180.0 if slow else 90.0, _looking(rungs.process)),
        Rung("rendezvous", 300.0 if slow else 120.0, lambda facts: _met(plan, facts)),
        Rung("devices", 300.0 if slow else 120.0, _looking(lambda seen: rungs.devices(plan, seen))),
        Rung("http", 1200.0 if slow else 180.0, _looking(lambda seen: rungs.http(plan, seen))),
        Rung("token", 900.0 if slow else 180.0, rungs.token),
    )


def progress_of(facts: Facts) -> int:
    """What grows while a worker gets on: its log. Equal means that it stands still.

    CPU time says nothing: an idle scheduler polls without rest.
    """
    return facts.observation.log_growth if facts.observation else 0


def checks(plan: LaunchPlan, facts: Mapping[int, Facts]) -> tuple[Check, ...]:
    """The four checks that the field asks for by name, over the whole slice."""
    workers = [facts.get(index, Facts(index, unreachable="was not reached")) for index in range(plan.worker_count)]
    missing = [item.worker for item in workers if not (item.observation and item.observation.pids("launcher"))]
    running = f"sgl_jax.launch_server runs on {plan.worker_count - len(missing)} of {plan.worker_count} workers"
    health = _looking(lambda seen: rungs.http(plan, seen))(workers[0])
    met = _met(plan, workers[0])
    completion = workers[0].completion
    return (
        Check("health", health.state is RungState.PASSED, f"worker 0: {health.detail}"),
        Check("launchers", not missing, running + (f", not on {', '.join(map(str, missing))}" if missing else "")),
        Check("rendezvous", met.state is RungState.PASSED, f"worker 0: {met.detail}"),
        Check(
            "completion",
            completion is not None and completion.answer is Answer.GENERATED,
            completion.detail if completion else "none was asked for",
        ),
    )


def _met(plan: LaunchPlan, facts: Facts) -> Standing:
    return _looking(lambda seen: rungs.rendezvous(plan, facts.worker, seen))(facts)


def _looking(judge: Callable[[Observation], Standing]) -> Callable[[Facts], Standing]:
    """``judge`` for facts that may lack an observation."""

    def judged(facts: Facts) -> Standing:
        if facts.observation is None:
            return pending(facts.unreachable or "not looked at yet")
        return judge(facts.observation)

    return judged
