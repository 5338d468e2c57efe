"""The errors of set-up: named by what the caller does next, as in ``stack.errors``, which is not installed yet.

SetupProblem
├── Missing     2: install what is named, nothing was touched
└── StepFailed  1: a step ran and failed; the end of its output is told
"""

from __future__ import annotations


class SetupProblem(Exception):
    """What is wrong and its cure, as one line."""

    exit_code = 1


class Missing(SetupProblem):
    """A prerequisite that set-up cannot bring by itself.

    Args:
        what: the prerequisite, as its package or program is called.
        why: what is wrong with it, in a few words.
        cure: what to do next; a command where there is one.
    """

    exit_code = 2

    def __init__(self, what: str, why: str, cure: str) -> None:
        super().__init__(f"{what}: {why}. {cure}")
        self.what = what


class StepFailed(SetupProblem):
    """A step ran and failed.

    Args:
        step: its name.
        why: what failed, in one line.
        output: what it printed; its last lines are shown.
    """

    def __init__(self, step: str, why: str, output: str = "") -> None:
        super().__init__(f"{step}: {why}")
        self.output = "\n".join(output.rstrip().splitlines()[-20:])
