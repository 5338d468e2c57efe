"""One call of a script of ours, its answer found among whatever a login shell prints."""

from __future__ import annotations

from collections.abc import Collection

from runtime.transport import Connection, Result
from runtime.transport.scripts import run_script
from stack.errors import NotVerified

PATIENCE = 60.0


def answer(
    connection: Connection,
    script: str,
    *arguments: str,
    words: Collection[str],
    stdin: bytes = b"",
    timeout: float = 30.0,
    patience: float | None = None,
) -> tuple[str, str]:
    """The answer's word and the rest of its line.

    The last line that begins with one of ``words`` counts, and the exit code does not: a login shell may print
    things of its own, and a connection may end between the answer and the code.

    Raises:
        NotVerified: the script gave no such answer.
        TransportFailed: the worker could not be asked.
    """
    result = run_script(connection, script, arguments, stdin=stdin, timeout=timeout, patience=patience)
    for line in reversed(result.text.splitlines()):
        word, _, rest = line.partition(" ")
        if word in words:
            return word, rest.strip()
    raise no_answer(connection, script, result)


def no_answer(connection: Connection, script: str, result: Result) -> NotVerified:
    """The error for a script that ran and said nothing that can be used."""
    why = f"{script} gave no answer (exit code {result.exit_code}): {result.complaint()}"
    return NotVerified(why, key="worker", value=connection.worker, cure="Look at ~/.tpu-stack on it")
