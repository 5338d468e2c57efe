"""Looking at a server: one observation a worker, and a completion asked for once everything below stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime.engines import sglang_jax
from runtime.engines.completion import Completion, parse_completion
from runtime.engines.ladder import Rung, climb, current
from runtime.engines.observation import Observation, parse_observation
from runtime.engines.sglang_jax_rungs import Facts
from runtime.jobs.spec import attempt_folder
from runtime.planner.types import LaunchPlan
from runtime.progress import Progress
from runtime.readiness import Climbed, Reports, await_ready
from stack.errors import NotVerified

if TYPE_CHECKING:
    from runtime.serving.session import Session
    from runtime.transport import Connection

LAST = "token"


@dataclass
class ServerWatch:
    """Looks at the workers of one attempt; remembers only the last completion."""

    session: Session
    plan: LaunchPlan
    job: str
    attempt: str
    completion: Completion | None = field(default=None)

    @property
    def ladder(self) -> tuple[Rung[Facts], ...]:
        return sglang_jax.ladder(self.plan)

    def look(self) -> dict[int, Facts]:
        """The facts of every worker now; where only the completion is missing, it is asked for."""
        facts = self._facts(self._observations())
        if all(self._only_token_left(item) for item in facts.values()):
            self.completion = self._ask()
            facts = self._facts({worker: item.observation for worker, item in facts.items()})
        return facts

    def _only_token_left(self, facts: Facts) -> bool:
        standing = current(climb(self.ladder, facts.worker, facts))
        return standing is not None and standing.name == LAST

    def _facts(self, observations: Mapping[int, Observation | str | None]) -> dict[int, Facts]:
        return {
            worker: Facts(worker, None, seen, self.completion)
            if isinstance(seen, str)
            else Facts(worker, seen, "", self.completion)
            for worker, seen in observations.items()
        }

    def _observations(self) -> dict[int, Observation | str | None]:
        outcomes = self.session.fleet.each(self._observe, deadline=40.0)
        return {
            worker: outcome.error.why if outcome.error is not None else outcome.value
            for worker, outcome in outcomes.items()
        }

    def _observe(self, connection: Connection) -> Observation:
        from runtime.transport.scripts import run_script

        folder = f"{self.session.homes[connection.worker]}/{attempt_folder(self.job, self.attempt)}"
        arguments = sglang_jax.observe_arguments(self.plan, connection.worker, folder)
        result = run_script(connection, sglang_jax.OBSERVE, arguments, timeout=20, patience=20.0)
        try:
            return parse_observation(result.text)
        except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            why = f"its observation cannot be read ({error}): {result.complaint()}"
            raise NotVerified(why, key="worker", value=connection.worker) from error

    def _ask(self) -> Completion:
        result = self.session.fleet[0].run(sglang_jax.probe_command(self.plan), timeout=30.0)
        return parse_completion(result.exit_code, result.text)


def watch_server(
    watch: ServerWatch,
    progress: Progress,
    *,
    clock: Callable[[], float],
    wait: Callable[[float], None],
    once: bool = False,
) -> Climbed[Facts]:
    """Wait until the server is up on every worker, telling each worker's rung; see ``await_ready``."""

    def tell(reports: Reports) -> None:
        for worker, rungs in reports.items():
            standing = current(rungs)
            if standing is None:
                progress.worker(worker, "ready", "every rung passed")
            else:
                progress.worker(worker, standing.name, _steady(standing.detail))

    return await_ready(
        watch.ladder, watch.look, sglang_jax.progress_of, clock=clock, wait=wait, on_reports=tell, once=once
    )


def _steady(detail: str) -> str:
    """A detail that fits a line."""
    return detail if len(detail) <= 110 else detail[:107] + "..."
