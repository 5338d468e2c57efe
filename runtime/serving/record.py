"""The plan as it lies beside an attempt on the workers, so that any machine can verify what another launched."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from runtime.jobs.spec import attempt_folder
from runtime.planner.types import LaunchPlan, WorkerLaunch
from stack.errors import NotVerified

if TYPE_CHECKING:
    from runtime.transport import Connection

PLAN = "plan.json"


def plan_bytes(plan: LaunchPlan) -> bytes:
    """The plan, placeholders and all, the same bytes for the same plan."""
    return json.dumps(plan.as_dict(), indent=1, sort_keys=True).encode() + b"\n"


def parse_plan(document: Any) -> LaunchPlan:
    """The plan from ``plan_bytes``.

    Raises:
        ValueError, KeyError, TypeError: it is none, or of a version that this one does not know.
    """
    known = {field.name: document[field.name] for field in fields(LaunchPlan)}
    launch = tuple(WorkerLaunch(item["index"], tuple(item["argv"]), dict(item["env"])) for item in known.pop("launch"))
    return LaunchPlan(**{**known, "launch": launch, "notes": tuple(known["notes"])})


def read_plan(connection: Connection, job: str, attempt: str) -> LaunchPlan:
    """The plan of an attempt, as it lies on a worker.

    Raises:
        NotVerified: it is not there or cannot be read.
    """
    path = f"{attempt_folder(job, attempt)}/files/{PLAN}"
    result = connection.run(["cat", "--", path])
    try:
        if not result.ok:
            raise ValueError(result.complaint())
        return parse_plan(json.loads(result.text))
    except (ValueError, KeyError, TypeError) as error:
        why = f"the plan of {job} attempt {attempt} cannot be read: {error}"
        cure = "Launch it again: invoke deploy"
        raise NotVerified(why, key="worker", value=connection.worker, cure=cure) from error
