"""The errors of tpu-stack: one root, leaves named by what the caller does next.

    TpuStackError            key, value, why, cure; one exit code a class
    ├── Several              holds one error a worker; the worst of their exit codes
    ├── BadInput             2: fix the config, the argument or this machine; nothing was touched
    │   ├── MissingPrerequisite  2: install or start what is named
    │   └── Blocked          2: something that is not ours stands in the way on a worker: clear it
    ├── NotVerified          1: look at the evidence; the job ran or was refused and is not what was asked
    │   └── Refused          1: the worker refused a step of ours: clear what it names
    └── TryAgain             3: nothing is wrong with the request; try once more, later or elsewhere
        ├── CloudFailed      3: the API did not answer, or answered with an error
        ├── TransportFailed  3: SSH to a worker failed until its deadline
        └── SliceBusy        3: another caller holds the slice's lease

Callees raise; only a fan-out over workers turns exceptions into data, one per worker. Printing and
exiting happen in one place (``commands.console``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class TpuStackError(Exception):
    """An error that names the key, the value and the cure.

    Args:
        why: what is wrong, in one line.
        key: the config key, argument, worker or resource that is meant.
        value: its value, as the user would recognise it.
        cure: what to do next, in one line; a command where there is one.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, why: str, *, key: str = "", value: object = None, cure: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.key = key
        self.value = value
        self.cure = cure

    def __str__(self) -> str:
        subject = self.key
        if self.value is not None:
            subject = f"{self.key}={self.value}" if self.key else str(self.value)
        line = f"{subject}: {self.why}" if subject else self.why
        end = "" if line.endswith((".", "!", "?")) else "."
        return f"{line}{end} {self.cure}" if self.cure else line

    def as_dict(self) -> dict[str, object]:
        """The error as the ``errors`` entry of a ``--json`` document."""
        value = self.value
        if value is not None and not isinstance(value, str | int | float | bool):
            value = str(value)
        return {"key": self.key, "value": value, "why": self.why, "cure": self.cure}


class BadInput(TpuStackError):
    """Fix the config or the argument: nothing was touched."""

    exit_code = 2


class BadInputs(BadInput):
    """Several faults of one input, reported at once.

    Args:
        faults: one error for each fault, in the order of the file.
    """

    def __init__(self, faults: tuple[BadInput, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


class MissingPrerequisite(BadInput):
    """Install or start what is named: nothing was touched."""


class Blocked(BadInput):
    """A foreign process or a full disk stands in the way on a worker: clear it. Nothing was launched."""


class NotVerified(TpuStackError):
    """The job is not what was asked for: look at the evidence."""

    exit_code = 1


class Refused(NotVerified):
    """A worker refused a step of ours: clear what it names, then launch again."""


class TryAgain(TpuStackError):
    """Nothing is wrong with the request: try once more, later or elsewhere."""

    exit_code = 3


class CloudFailed(TryAgain):
    """The cloud's API did not answer, or answered with an error."""


class TransportFailed(TryAgain):
    """SSH to a worker failed until its deadline."""


class SliceBusy(TryAgain):
    """Another caller holds the slice's lease."""


class Several(TpuStackError):
    """The errors of several workers, or several faults of one input, reported at once.

    Args:
        faults: one error each, in order; at least one.
    """

    def __init__(self, faults: tuple[TpuStackError, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults

    @property
    def worst_exit_code(self) -> int:
        """2 where one needs mending of input, else 1 where one needs a look, else 3."""
        return min((fault.exit_code for fault in self.faults), key=(2, 1, 3).index)


def raise_all(faults: Iterable[TpuStackError]) -> None:
    """Return if there is no fault; raise the one, or all as ``Several``."""
    found = tuple(faults)
    if len(found) == 1:
        raise found[0]
    if found:
        raise Several(found)
