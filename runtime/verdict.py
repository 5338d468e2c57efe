"""What a launch came to: data for programs, drawn from what the workers showed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RungResult:
    """One rung of the ladder on one worker; ``seconds`` from the start of the watch to its pass or failure."""

    name: str
    passed: bool
    seconds: float
    detail: str


@dataclass(frozen=True)
class WorkerVerdict:
    """One worker: its job's state, its answer to the launch, its rungs in order."""

    index: int
    state: str
    ack: str
    rungs: tuple[RungResult, ...]


@dataclass(frozen=True)
class Check:
    """A named check over the whole slice."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """Whether a job is what was asked for, with the evidence.

    ``reasons`` is one line per worker that failed, empty when verified. ``cause`` is null until a failure
    catalogue can name one.
    """

    job: str
    attempt: str
    endpoint: str
    runtime_version: str
    tensor_parallel: int
    data_parallel: int
    workers: tuple[WorkerVerdict, ...]
    checks: tuple[Check, ...]
    evidence: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def verified(self) -> bool:
        """Every rung of every worker and every check passed, and there is at least one of each."""
        rungs = [rung for worker in self.workers for rung in worker.rungs]
        seen = bool(rungs) and bool(self.checks)
        return seen and all(rung.passed for rung in rungs) and all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as the ``--json`` document of ``deploy`` and ``verify``."""
        return {
            "verified": self.verified,
            "job": self.job,
            "attempt": self.attempt,
            "endpoint": self.endpoint,
            "runtime_version": self.runtime_version,
            "tensor_parallel": self.tensor_parallel,
            "data_parallel": self.data_parallel,
            "workers": [asdict(worker) for worker in self.workers],
            "checks": [asdict(check) for check in self.checks],
            "reasons": list(self.reasons),
            "evidence": self.evidence,
            "cause": None,
        }
