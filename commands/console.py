"""The one place that prints and exits.

People's text goes to stdout, or with ``--json`` to stderr, where stdout carries one document. A command is a
function from a ``Console`` to an ``Outcome``; what it raises is printed here, one line a fault.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from commands.progress import LiveProgress, PlainProgress, ProgressView
from stack.errors import BadInputs, Several, TpuStackError

SCHEMA = 1

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_TRY_AGAIN = 3
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Outcome:
    """What a command came to: its document for programs, its last lines for people, its exit code."""

    document: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    exit_code: int = EXIT_DONE
    errors: tuple[TpuStackError, ...] = ()


class Console:
    """Where a command's text goes.

    Args:
        as_json: stdout is kept for the document.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._people = sys.stderr if as_json else sys.stdout

    def line(self, text: str = "") -> None:
        """One line for people."""
        print(text, file=self._people, flush=True)

    def progress(self) -> ProgressView:
        """Live on a terminal, plain lines elsewhere."""
        if self._people.isatty():
            return LiveProgress(self._people)
        return PlainProgress(self.line)

    def finish(self, outcome: Outcome) -> NoReturn:
        """Print the outcome and exit with its code."""
        for text in outcome.lines:
            self.line(text)
        for error in outcome.errors:
            print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201
        if self.as_json:
            document = {
                "schema": SCHEMA,
                "ok": outcome.exit_code == EXIT_DONE,
                "errors": [error.as_dict() for error in outcome.errors],
                **outcome.document,
            }
            print(json.dumps(document, indent=2, ensure_ascii=False), flush=True)  # noqa: T201
        raise SystemExit(outcome.exit_code)


def failure(error: TpuStackError, document: dict[str, Any] | None = None) -> Outcome:
    """The outcome of a command that ended in ``error``: one line for each fault that it holds."""
    if isinstance(error, Several):
        return Outcome(document or {}, exit_code=error.worst_exit_code, errors=error.faults)
    faults = error.faults if isinstance(error, BadInputs) else (error,)
    return Outcome(document or {}, exit_code=error.exit_code, errors=faults)


def run_command(command: Callable[[Console], Outcome], *, as_json: bool) -> NoReturn:
    """Run ``command`` and exit: 0, 1, 2, 3 as design says, 130 when interrupted.

    An error that is none of ours is a defect: its traceback is shown, the exit code is 1.
    """
    console = Console(as_json=as_json)
    try:
        outcome = command(console)
    except TpuStackError as error:
        outcome = failure(error)
    except KeyboardInterrupt:
        outcome = Outcome(exit_code=EXIT_INTERRUPTED, errors=(TpuStackError("interrupted"),))
    except BrokenPipeError:
        raise SystemExit(EXIT_FAILED) from None
    except Exception as error:
        traceback.print_exc()
        why = f"a defect of tpu-stack: {type(error).__name__}: {error}"
        outcome = Outcome(exit_code=EXIT_FAILED, errors=(TpuStackError(why, cure="Please report the lines above"),))
    console.finish(outcome)
