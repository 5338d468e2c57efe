"""``up``, ``down``, ``preview``, ``refresh``: the stack's resources, through the Automation API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commands.console import Console, Outcome
from commands.context import open_stack

if TYPE_CHECKING:
    from commands.engine import StackResult


def up(console: Console, stack: str) -> Outcome:
    """Create or update the stack."""
    return _run(console, stack, "up")


def down(console: Console, stack: str) -> Outcome:
    """Delete the stack's resources."""
    return _run(console, stack, "down")


def preview(console: Console, stack: str) -> Outcome:
    """What ``up`` would do."""
    return _run(console, stack, "preview")


def refresh(console: Console, stack: str) -> Outcome:
    """Read the cloud into the state."""
    return _run(console, stack, "refresh")


def _run(console: Console, stack: str, operation: str) -> Outcome:
    target = open_stack(stack, start_cloud=True)
    from commands import engine

    for note in target.notes:
        console.line(note)
    result = getattr(engine, operation)(stack, target.environment, on_output=console.line)
    return Outcome(result.as_dict(), (_summary(stack, operation, result),))


def _summary(stack: str, operation: str, result: StackResult) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(result.summary.items())) or "nothing to do"
    return f"{operation} {stack}: {counts}"
