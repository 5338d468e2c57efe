"""Jobs on the workers of a slice: lease, gates, exactly-once launch, status, log, stop. Knows no engine.

The protocol is described in docs/jobs.md; its other half is runtime/scripts.
"""

from runtime.jobs.gates import Blocker, GateReport, Gates, await_gates, check_gates
from runtime.jobs.launching import Stopped, launch, launch_gang, launch_on, stop
from runtime.jobs.lease import Holder, Lease, lease_holder
from runtime.jobs.spec import JobSpec, attempt_folder, checked_attempt, new_attempt
from runtime.jobs.states import Ack, Answer, Gang, JobStatus, State
from runtime.jobs.watching import LogPiece, jobs_on, log_tail, read_log, status, status_on, whole_log

__all__ = [
    "Ack",
    "Answer",
    "Blocker",
    "Gang",
    "GateReport",
    "Gates",
    "Holder",
    "JobSpec",
    "JobStatus",
    "Lease",
    "LogPiece",
    "State",
    "Stopped",
    "attempt_folder",
    "await_gates",
    "check_gates",
    "checked_attempt",
    "jobs_on",
    "launch",
    "launch_gang",
    "launch_on",
    "lease_holder",
    "log_tail",
    "new_attempt",
    "read_log",
    "status",
    "status_on",
    "stop",
    "whole_log",
]
