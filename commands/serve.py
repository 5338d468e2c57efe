"""``deploy``, ``verify``, ``stop``: a served model on a stack's slice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from commands.console import EXIT_DONE, EXIT_FAILED, EXIT_TRY_AGAIN, Console, Outcome, failure
from commands.context import open_stack
from stack.errors import NotVerified, TpuStackError

if TYPE_CHECKING:
    from runtime.serving.deploy import Served
    from stack.config import StackConfig


@dataclass(frozen=True)
class DeployOptions:
    """What ``deploy`` was asked for; ``model`` None for the stack's own, ``attempt`` None for a new one."""

    stack: str
    model: str | None = None
    attempt: str | None = None
    accept_host_key: bool = False


def deploy(console: Console, options: DeployOptions) -> Outcome:
    """Serve a model and verify it."""
    target = open_stack(options.stack)
    from runtime.jobs import checked_attempt, new_attempt
    from runtime.serving.deploy import deploy as deploy_server
    from runtime.serving.planning import intend
    from runtime.serving.session import open_session

    attempt = checked_attempt(options.attempt) if options.attempt else new_attempt()
    intent = intend(target.config, model_cache(), model=options.model)
    try:
        with (
            console.progress() as progress,
            open_session(target.config, progress, accept_host_key=options.accept_host_key) as session,
        ):
            served = deploy_server(session, intent, attempt, progress, evidence=target.root)
    except TpuStackError as error:
        outcome = failure(error, {"verified": False, "attempt": attempt})
        if outcome.exit_code == EXIT_TRY_AGAIN:
            # It may have been launched: the same attempt said again joins it instead of starting a second one.
            console.line(f"  to go on with it, say the same again with --attempt {attempt}")
        return outcome
    return outcome_of(target.config, served)


def verify(console: Console, stack: str) -> Outcome:
    """Verify again what was deployed, from here or elsewhere."""
    target = open_stack(stack)
    from runtime.serving.deploy import verify as verify_server
    from runtime.serving.session import open_session

    with console.progress() as progress, open_session(target.config, progress) as session:
        served = verify_server(session, progress, evidence=target.root)
    return outcome_of(target.config, served)


def stop(console: Console, stack: str) -> Outcome:
    """Stop what runs on the slice."""
    target = open_stack(stack)
    from runtime.jobs import Lease, new_attempt
    from runtime.serving.place import stop_what_runs
    from runtime.serving.session import open_session

    with (
        console.progress() as progress,
        open_session(target.config, progress) as session,
        Lease(session.fleet[0], new_attempt()),
    ):
        stopped = stop_what_runs(session, progress)
    said = f"stopped {', '.join(stopped)}" if stopped else "nothing was running"
    return Outcome({"stopped": list(stopped)}, (f"{said} on {session.slice.node_id}",))


def model_cache() -> Path:
    """Where models that are made on the spot are kept: shared by all clones of one user."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if base else Path.home() / ".cache") / "tpu-stack" / "models"


def outcome_of(config: StackConfig, served: Served) -> Outcome:
    """The verdict as a command's outcome; its last line names job, URL, port and checks."""
    verdict = served.verdict
    lines = [f"  {'ok  ' if check.passed else 'FAIL'} {check.name:<11} {check.detail}" for check in verdict.checks]
    lines += [f"  FAIL {reason}" for reason in verdict.reasons]
    lines.append(f"  evidence: {_shown(verdict.evidence)}")
    passed = [check.name for check in verdict.checks if check.passed]
    if verdict.verified:
        lines.append(
            f"VERIFIED {verdict.job} serves {served.plan.model} at {served.url} (port {served.plan.port}), "
            f"stack {config.stack}, tp {verdict.tensor_parallel} dp {verdict.data_parallel}; "
            f"checks passed: {', '.join(passed)}"
        )
        return Outcome(verdict.as_dict(), tuple(lines), EXIT_DONE)
    reason = verdict.reasons[0] if verdict.reasons else "a check failed"
    error = NotVerified(reason, key=verdict.job, value=verdict.attempt, cure=f"Look at {_shown(verdict.evidence)}")
    return Outcome(verdict.as_dict(), tuple(lines), EXIT_FAILED, (error,))


def _shown(folder: str) -> str:
    """A folder as a person would write it: from here, where it lies below."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder
