"""The slice's lease, kept on worker 0: one caller at a time changes what runs there."""

from __future__ import annotations

import getpass
import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from runtime.jobs.remote import answer
from runtime.transport import Connection
from stack.errors import SliceBusy, TpuStackError

SECONDS = 60
"""How long a lease lasts unless it is renewed: a caller that was killed blocks others for no longer."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, for which attempt, and for how many seconds more."""

    name: str
    attempt: str
    seconds_left: int


def caller_name() -> str:
    """This caller for others to read: user, host and process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return re.sub(r"[^A-Za-z0-9_.@:-]", "_", f"{user}@{socket.gethostname()}:{os.getpid()}")[:120]


class Lease:
    """A context manager: taken on entry, renewed by a thread while it works, released on exit.

    Args:
        connection: to worker 0.
        attempt: the attempt it is for; others are told.
        wait: seconds to wait for another holder to finish.

    Raises:
        SliceBusy: on entry, another caller holds it; the error names who, what for and how long still.
    """

    def __init__(
        self,
        connection: Connection,
        attempt: str,
        *,
        holder: str | None = None,
        seconds: int = SECONDS,
        wait: float = 0.0,
    ) -> None:
        from runtime.jobs.spec import new_attempt

        self._connection = connection
        self._attempt = attempt
        self._holder = holder or caller_name()
        self._seconds = seconds
        self._wait = wait
        self._token = new_attempt()
        self._over = threading.Event()
        self._lost: SliceBusy | None = None
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self._take()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        try:
            answer(self._connection, "lease.sh", "release", self._token, words=("RELEASED", "LOST"), patience=5.0)
        except TpuStackError:
            return  # it runs out by itself; the work's own outcome is what the caller needs to see

    def check(self) -> None:
        """Return while the lease is ours.

        Raises:
            SliceBusy: it ran out and somebody else has taken it: nothing more may be changed.
        """
        if self._lost is not None:
            raise self._lost

    def _take(self) -> None:
        end = time.monotonic() + self._wait
        arguments = ("take", self._token, str(self._seconds), self._holder, self._attempt)
        while True:
            word, rest = answer(self._connection, "lease.sh", *arguments, words=("TAKEN", "HELD"), timeout=15)
            if word == "TAKEN":
                return
            if time.monotonic() >= end:
                raise _busy(rest)
            self._over.wait(min(1.0, max(0.05, end - time.monotonic())))

    def _renew(self) -> None:
        arguments = ("renew", self._token, str(self._seconds))
        while not self._over.wait(self._seconds / 3):
            try:
                word, rest = answer(self._connection, "lease.sh", *arguments, words=("RENEWED", "LOST"), timeout=15)
            except TpuStackError:
                continue  # tried again at the next turn; whether it was lost is for worker 0 to say
            if word == "LOST":
                self._lost = _busy(f"{rest} 0", lost=True)
                return


def lease_holder(connection: Connection) -> Holder | None:
    """Who holds the slice's lease now, asked of worker 0."""
    word, rest = answer(connection, "lease.sh", "show", words=("FREE", "HELD"), timeout=15)
    return _holder(rest) if word == "HELD" else None


def _holder(text: str) -> Holder:
    name, attempt, left = [*text.split(), "-", "0"][:3] if len(text.split()) < 3 else text.split()[:3]
    return Holder(name, attempt, int(left) if left.isdigit() else 0)


def _busy(text: str, *, lost: bool = False) -> SliceBusy:
    holder = _holder(text)
    if lost:
        why = f"our lease ran out and {holder.name} has it now, for attempt {holder.attempt}"
        return SliceBusy(why, key="lease", cure="Look at what runs: invoke status")
    why = f"{holder.name} is working on this slice (attempt {holder.attempt})"
    return SliceBusy(
        why, key="lease", cure=f"Wait for it; it frees itself within {holder.seconds_left} s if that caller died"
    )
