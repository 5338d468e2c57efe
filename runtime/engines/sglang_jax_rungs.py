"""The rungs of a sglang-jax server: what one look at a worker proves, and the one reason where it fails.

Source: the code of 0.0.2, runs on CPU (tests/engines) and the traps met there: an HTTP answer from a stranger,
a launcher that outlives its scheduler, a rendezvous that waits for ever. See docs/engines.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.engines.completion import Answer, Completion
from runtime.engines.ladder import Standing, failed, passed, pending
from runtime.engines.observation import Observation
from runtime.planner.types import LaunchPlan

DISK_FREE_MIB = 1024
"""Below this a log or the compilation cache may end the server; a full disk has been seen to hang one for ever."""


@dataclass(frozen=True)
class Facts:
    """What is known of one worker at one time.

    Attributes:
        observation: the last look; None when the worker was not reached.
        unreachable: why not.
        completion: the last request for a completion on worker 0, the same for every worker; None before the first.
    """

    worker: int
    observation: Observation | None = None
    unreachable: str = ""
    completion: Completion | None = None


def reachable(facts: Facts) -> Standing:
    if facts.observation is None:
        return pending(facts.unreachable or "not looked at yet")
    return passed("answers over SSH")


def gates(seen: Observation) -> Standing:
    """Nobody else is on the chips or on the server's ports, and the disk has room."""
    if seen.chip_holders:
        return failed(f"the chips are held by {seen.chip_holders[0]}")
    for listener in seen.strangers():
        return failed(f"port {listener.port} is held by {listener.holder}")
    if seen.disk_free_mib is not None and seen.disk_free_mib < DISK_FREE_MIB:
        return failed(f"{seen.disk_free_mib} MiB are left on the disk, {DISK_FREE_MIB} are needed")
    return passed(f"ports and chips are ours, {seen.disk_free_mib} MiB free")


def environment(seen: Observation) -> Standing:
    """The interpreter of the command line is there."""
    if not seen.python:
        return pending("nothing has been written to launch")
    if not seen.python_runs:
        return failed(f"there is no interpreter at {seen.python}: bootstrap again")
    return passed(seen.python)


def process(seen: Observation) -> Standing:
    """Launcher and scheduler are alive, and no scheduler has hit an exception.

    A launcher answers /health with 200 long after its scheduler was killed, so both are demanded.
    """
    if seen.exit_code is not None:
        return failed(f"ended with exit code {seen.exit_code}: {reason(seen)}")
    if "scheduler_exception" in seen.marks:
        return failed(f"its scheduler hit an exception: {reason(seen)}")
    if not seen.started:
        return pending("not started")
    if not seen.processes:
        if seen.supervised:
            return pending("starting, or being written down as ended")
        return failed("its processes are gone and nobody recorded how they ended")
    launchers, schedulers = seen.pids("launcher"), seen.pids("scheduler")
    if seen.devices is not None and seen.devices.pid not in {item.pid for item in seen.processes}:
        return failed(f"its scheduler (pid {seen.devices.pid}) has died and left the launcher: {reason(seen)}")
    if not launchers:
        return pending("starting: no launcher yet")
    if not schedulers:
        return pending(f"launcher pid {launchers[0]}, no scheduler yet")
    return passed(f"launcher pid {launchers[0]}, scheduler pid {schedulers[0]}")


def rendezvous(plan: LaunchPlan, worker: int, seen: Observation) -> Standing:
    """This rank's log says that all ranks have met; before jax.distributed, weights and compilation."""
    if plan.process_count == 1:
        return passed("one worker: nobody to meet")
    line = seen.marks.get("publisher" if worker == 0 else "subscriber")
    if line is not None:
        return passed(line)
    if "begins" in seen.marks:
        return pending(f"waits for the others of {plan.process_count} ranks" if worker == 0 else "waits for worker 0")
    return pending("the scheduler has not come to the rendezvous")


def devices(plan: LaunchPlan, seen: Observation) -> Standing:
    """JAX sees the plan's platform, processes and devices: no fallback to CPU, no lone worker."""
    found = seen.devices
    if found is None:
        if "shim_failed" in seen.marks:
            return failed(f"what JAX sees could not be recorded: {seen.marks['shim_failed']}")
        return pending("JAX has not reported its devices")
    wanted = (plan.platform, plan.process_count, plan.device_count, plan.local_device_count)
    got = (found.platform, found.process_count, found.device_count, found.local_device_count)
    text = "{} with {} processes, {} devices, {} here"
    if got != wanted:
        return failed(f"JAX sees {text.format(*got)}; the plan says {text.format(*wanted)}")
    return passed(f"JAX sees {text.format(*got)}")


def http(plan: LaunchPlan, seen: Observation) -> Standing:
    """/health is 200 on this worker's loopback, and who listens there is this attempt."""
    mine = [listener for listener in seen.listeners if listener.port == plan.port and listener.ours]
    if seen.strangers():
        return failed(f"port {seen.strangers()[0].port} is held by {seen.strangers()[0].holder}")
    if not mine:
        return pending(f"nothing of this attempt listens on port {plan.port}")
    if seen.health != 200:
        return pending(f"127.0.0.1:{plan.port}/health answers {seen.health or 'nothing'}")
    return passed(f"127.0.0.1:{plan.port}/health is 200")


def token(facts: Facts) -> Standing:
    """Worker 0 has returned real text; every rank takes part in it."""
    if facts.completion is None:
        return pending("no completion has been asked for")
    if facts.completion.answer is Answer.GENERATED:
        return passed(facts.completion.detail)
    if facts.completion.answer is Answer.LATER:
        return pending(facts.completion.detail)
    return failed(facts.completion.detail)


def reason(seen: Observation) -> str:
    """Why this worker's part ended, in the engine's own words where it left any."""
    if "port_in_use" in seen.marks:
        return f"a port of it was taken: {seen.marks['port_in_use']}"
    for line in seen.errors:
        if not line.startswith(CASCADES):
            return line
    if "peer_died" in seen.marks:
        return "another worker's rank died first"
    if "child_failed" in seen.marks:
        return seen.marks["child_failed"]
    return (seen.errors[-1] if seen.errors else seen.log_last) or "its log is empty"


CASCADES = ("EOFError",)
"""Errors that only say that another process had ended before."""
