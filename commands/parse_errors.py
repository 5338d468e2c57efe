"""Invoke's own parse errors exit 2, and keep to ``--json``, like every other bad input.

Invoke fixes their exit code at 1 and offers no setting, so the one method that parses tasks is wrapped when
``tasks.py`` is loaded, which is before Invoke parses the rest of the command line.
"""

from __future__ import annotations

import functools
import sys

from invoke.exceptions import ParseError
from invoke.program import Program

from commands.console import EXIT_BAD_INPUT, Console, Outcome
from stack.errors import BadInput


def install() -> None:
    """Make a command line that Invoke cannot parse a bad input. Safe to call twice."""
    original = Program.parse_tasks
    if getattr(original, "exits_with_bad_input", False):
        return

    @functools.wraps(original)
    def parse_tasks(self: Program) -> None:
        try:
            original(self)
        except (ParseError, ValueError) as error:
            why = " ".join(str(error).split())
            fault = BadInput(why, key="command line", cure="See: invoke --list, invoke --help TASK")
            Console(as_json="--json" in sys.argv).finish(Outcome(exit_code=EXIT_BAD_INPUT, errors=(fault,)))

    parse_tasks.exits_with_bad_input = True  # type: ignore[attr-defined]
    Program.parse_tasks = parse_tasks  # type: ignore[method-assign]
