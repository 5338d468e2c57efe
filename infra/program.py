"""How the program meets the engine: its config comes from the stack's file, its errors are one line each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pulumi

from infra import ERRORS_VARIABLE
from stack.config import StackConfig, load_stack_config
from stack.errors import BadInput, BadInputs, TpuStackError

SHOWN_EXIT_CODE = 32
"""Tells the language host that the errors have been shown; any other code adds a line to them.

Source: ``pulumi-language-python-exec``.
"""


def load_config() -> StackConfig:
    """The config of the stack that the engine runs, from its file: the one that the runtime will read too.

    Raises:
        BadInput: the file is wrong, or the engine was given other values than the file holds.
    """
    config = load_stack_config(Path(pulumi.get_root_directory()), pulumi.get_stack())
    for key, value in (("project", config.project), ("zone", config.zone)):
        given = pulumi.Config("gcp").get(key)
        if given != value:
            raise BadInput(
                f"the engine was given another value than Pulumi.{config.stack}.yaml holds ({value})",
                key=f"gcp:{key}",
                value=given,
                cure="Change the file instead of passing --config or --config-file: invoke reads it too",
            )
    return config


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show our errors one line a fault, without a traceback, and end the program."""
    try:
        yield
    except TpuStackError as error:
        faults = error.faults if isinstance(error, BadInputs) else (error,)
        if path := os.environ.get(ERRORS_VARIABLE):
            document = [{"class": type(fault).__name__, **fault.as_dict()} for fault in faults]
            Path(path).write_text(json.dumps(document), encoding="utf-8")
        for fault in faults:
            pulumi.log.error(str(fault))
        raise SystemExit(SHOWN_EXIT_CODE) from error
