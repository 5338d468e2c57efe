"""SSH to the workers of a slice: one kept connection a worker, pinned host keys, argv that arrives as it is.

    ConnectionSettings -> Connection.run -> Result
    Fleet.each(function) -> {worker: Outcome}

Nothing here knows jobs or engines.
"""

from runtime.transport.connection import Connection, ConnectionSettings
from runtime.transport.fleet import Fleet, Outcome, open_fleet
from runtime.transport.results import (
    CommandFailed,
    CommandTimedOut,
    HostKeyMismatch,
    HostKeyUnknown,
    KeyRefused,
    Result,
)

__all__ = [
    "CommandFailed",
    "CommandTimedOut",
    "Connection",
    "ConnectionSettings",
    "Fleet",
    "HostKeyMismatch",
    "HostKeyUnknown",
    "KeyRefused",
    "Outcome",
    "Result",
    "open_fleet",
]
