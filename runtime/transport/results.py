"""What comes back from a worker, and the errors that carry it.

TpuStackError
├── BadInput
│   ├── HostKeyMismatch  the worker shows another host key than the one pinned
│   └── HostKeyUnknown   no host key is published: accept it by hand or not at all
├── NotVerified
│   └── CommandFailed    the command ran and left with another exit code than 0; holds the Result
└── TransportFailed
    ├── KeyRefused       the worker does not take our key (yet)
    └── CommandTimedOut  the command was ended at its deadline; holds the Result
"""

from __future__ import annotations

from dataclasses import dataclass

from stack.errors import BadInput, NotVerified, TransportFailed


@dataclass(frozen=True)
class Result:
    """A remote command that ran to its end.

    Attributes:
        exit_code: of the command; minus the signal's number is never used, a shell's 128 + n is.
        stdout, stderr: at most ``limit`` bytes of each; ``truncated`` says that more came.
    """

    worker: int
    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float
    truncated: bool = False

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    def check(self) -> Result:
        """This result.

        Raises:
            CommandFailed: the exit code is not 0.
        """
        if not self.ok:
            raise CommandFailed(self)
        return self

    def complaint(self) -> str:
        """The last line of standard error, else of standard output: what a person reads first."""
        for stream in (self.stderr, self.stdout):
            lines = stream.decode("utf-8", "replace").strip().splitlines()
            if lines:
                return lines[-1][:400]
        return "no output"


class CommandFailed(NotVerified):
    """The command ran and said no."""

    def __init__(self, result: Result) -> None:
        super().__init__(
            f"`{' '.join(result.argv)[:120]}` left with {result.exit_code}: {result.complaint()}",
            key="worker",
            value=result.worker,
        )
        self.result = result


class CommandTimedOut(TransportFailed):
    """The command did not end by itself and was ended at its deadline."""

    def __init__(self, result: Result, limit: float) -> None:
        super().__init__(
            f"`{' '.join(result.argv)[:120]}` was still running after {limit:g} s",
            key="worker",
            value=result.worker,
            cure="Long work belongs in a job",
        )
        self.result = result


class KeyRefused(TransportFailed):
    """The worker does not take our login key."""


class HostKeyMismatch(BadInput):
    """The worker is not the machine that was pinned, or somebody stands in between."""


class HostKeyUnknown(BadInput):
    """There is nothing to check the worker's identity against."""
