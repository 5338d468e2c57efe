"""One command over one channel of an open connection: data in, data out, an end by the clock."""

from __future__ import annotations

import select
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import paramiko

from runtime.transport.results import CommandTimedOut, Result

MOST_SECONDS = 30.0
"""No remote command lasts longer: what does is a job."""

SLACK = 8.0
"""Seconds beyond a command's own limit before a silent connection counts as lost."""

KILLED_BY_TIMEOUT = (124, 137)
"""What coreutils' timeout leaves with when it ended the command by TERM, and by KILL."""


def command_line(argv: Sequence[str], seconds: float) -> str:
    """One line for the login shell that hands ``argv`` on as it is and ends it after ``seconds``.

    Raises:
        ValueError: an argument holds a NUL, which no process can be given.
    """
    if not argv or any("\0" in part for part in argv):
        raise ValueError("an argv has at least one part, and no NUL in any")
    return f"exec timeout -k 2 {seconds:g} {shlex.join(argv)}"


@dataclass
class _Stream:
    """The first ``limit`` bytes of a stream; the rest is read and dropped, so that the command goes on."""

    limit: int
    data: bytearray = field(default_factory=bytearray)
    truncated: bool = False

    def take(self, piece: bytes) -> None:
        room = self.limit - len(self.data)
        self.data += piece[:room]
        self.truncated = self.truncated or len(piece) > room


def run_once(
    transport: paramiko.Transport, worker: int, argv: Sequence[str], *, stdin: bytes, timeout: float, limit: int
) -> Result:
    """Run the command to its end.

    Raises:
        CommandTimedOut: it was still running at its limit, and is no more.
        SSHException, EOFError, OSError: the connection is lost; what became of the command is not known.
    """
    started = time.monotonic()
    end = started + timeout + SLACK
    channel = transport.open_session(timeout=SLACK)
    try:
        channel.settimeout(SLACK)
        channel.exec_command(command_line(argv, timeout))
        out, err = _Stream(limit), _Stream(limit)
        _pump(channel, stdin, out, err, end)
        code = channel.recv_exit_status()
    finally:
        channel.close()
    if code < 0:
        raise EOFError("the connection ended before the command's exit code came")
    seconds = time.monotonic() - started
    truncated = out.truncated or err.truncated
    result = Result(worker, tuple(argv), code, bytes(out.data), bytes(err.data), seconds, truncated)
    if code in KILLED_BY_TIMEOUT and seconds >= timeout:
        raise CommandTimedOut(result, timeout)
    return result


def _pump(channel: paramiko.Channel, stdin: bytes, out: _Stream, err: _Stream, end: float) -> None:
    """Feed and drain until the command's end is known; one thread, so neither side can block the other."""
    left = memoryview(stdin)
    finished_writing = False
    while True:
        # Looked at before the streams: what came ahead of the end is then surely read below.
        ended = channel.exit_status_ready() and (channel.eof_received or channel.closed)
        if left and channel.send_ready():
            left = left[channel.send(bytes(left[:32768])) :]
        if not left and not finished_writing:
            channel.shutdown_write()
            finished_writing = True
        moved = False
        if channel.recv_ready():
            out.take(channel.recv(65536))
            moved = True
        if channel.recv_stderr_ready():
            err.take(channel.recv_stderr(65536))
            moved = True
        if moved:
            continue
        if ended:
            return
        if time.monotonic() > end:
            raise TimeoutError("the connection is silent")
        _wait(channel, 0.0 if left and channel.send_ready() else 0.02 if left else 0.25)


def _wait(channel: paramiko.Channel, seconds: float) -> None:
    """Until there is something to read, the command's end is known, or the time is over."""
    if channel.eof_received or channel.closed:
        channel.status_event.wait(max(seconds, 0.02))  # the descriptor stays readable from now on
        return
    poll = select.poll()  # unlike select, it takes descriptors beyond 1023: some hundred workers have as many
    poll.register(channel.fileno(), select.POLLIN)
    poll.poll(seconds * 1000)
