"""The stack's operations through the Automation API: what was asked, what changed, what came out.

Each starts the CLI that set-up recorded, in the project, with the environment that the caller gives; for a
stack on Google Cloud that is the user's own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.engine_errors import Failure, error_of
from commands.pulumi_environment import PulumiEnvironment, pulumi_environment
from infra import ERRORS_VARIABLE
from toolchain import paths

if TYPE_CHECKING:
    from pulumi import automation
    from pulumi.automation.events import EngineEvent, StepEventMetadata

__all__ = ["Change", "PulumiEnvironment", "StackResult", "down", "preview", "pulumi_environment", "refresh", "up"]

ROOT = Path(__file__).resolve().parent.parent

OnOutput = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """What the engine does, or would do, with one resource.

    Attributes:
        op: the engine's word: create, update, delete, replace, same, refresh, ...
        keys: the properties that change.
        replacing: those of them that take a new resource.
    """

    op: str
    type: str
    name: str
    keys: tuple[str, ...] = ()
    replacing: tuple[str, ...] = ()


@dataclass(frozen=True)
class StackResult:
    """One operation, done.

    Attributes:
        changes: one for each resource that is not merely looked at.
        outputs: the stack's; secrets left out.
        summary: the engine's count of resources by what is done with them; without those that stay.
    """

    stack: str
    operation: str
    changes: tuple[Change, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def up(
    stack: str, environment: Mapping[str, str], on_output: OnOutput = lambda _: None, *, root: Path = ROOT
) -> StackResult:
    """Create or update the stack, and make it where it is missing.

    Raises:
        BadInput: the stack's file or the zone refuse what is asked; nothing was created.
        CloudFailed: the cloud refused or did not answer; holds the engine's own line.
    """
    return _run("up", stack, environment, on_output, root)


def preview(
    stack: str, environment: Mapping[str, str], on_output: OnOutput = lambda _: None, *, root: Path = ROOT
) -> StackResult:
    """What ``up`` would do; raises as it does."""
    return _run("preview", stack, environment, on_output, root)


def refresh(
    stack: str, environment: Mapping[str, str], on_output: OnOutput = lambda _: None, *, root: Path = ROOT
) -> StackResult:
    """Read the cloud into the stack's state; raises as ``up`` does."""
    return _run("refresh", stack, environment, on_output, root)


def down(
    stack: str, environment: Mapping[str, str], on_output: OnOutput = lambda _: None, *, root: Path = ROOT
) -> StackResult:
    """Delete every resource of the stack; one that was never made is down already. Raises as ``up`` does."""
    return _run("down", stack, environment, on_output, root)


class _Record:
    """What the engine's events say while an operation runs."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.summary: dict[str, int] = {}
        self.failures: list[Failure] = []

    def on_event(self, event: EngineEvent) -> None:
        if event.resource_pre_event:
            self._add(event.resource_pre_event.metadata)
        if event.summary_event:
            counts = event.summary_event.resource_changes
            self.summary = {_word(op): count for op, count in counts.items() if _word(op) != "same"}
        if event.diagnostic_event and event.diagnostic_event.severity == "error":
            diagnostic = event.diagnostic_event
            self.failures.append(Failure(diagnostic.message.strip(), urn=diagnostic.urn or ""))

    def _add(self, step: StepEventMetadata) -> None:
        op = _word(step.op)
        if op in ("same", "read", "refresh") or step.type.startswith("pulumi:providers:"):
            return
        detailed = step.detailed_diff or {}
        replacing = {_top(path) for path, diff in detailed.items() if _word(diff.diff_kind).endswith("replace")}
        self.changes.append(
            Change(
                op=op,
                type=step.type,
                name=step.urn.rpartition("::")[2],
                keys=tuple(sorted(step.diffs or ())),
                replacing=tuple(sorted(replacing)),
            )
        )


def _run(operation: str, stack: str, environment: Mapping[str, str], on_output: OnOutput, root: Path) -> StackResult:
    from pulumi import automation

    record = _Record()
    with tempfile.TemporaryDirectory(prefix="tpu-stack-") as folder:
        errors_file = Path(folder, "errors.json")
        try:
            chosen = _select(stack, {**environment, ERRORS_VARIABLE: str(errors_file)}, root, make=operation != "down")
            call = getattr(chosen, {"down": "destroy"}.get(operation, operation))
            call(on_event=record.on_event, on_output=_quietly(on_output), color="never")
            outputs = _outputs(chosen) if operation in ("up", "refresh") else {}
        except automation.StackNotFoundError:
            return StackResult(stack, operation)
        except automation.CommandError as error:
            raise error_of(
                stack, operation, str(error), record.failures, errors_file, local=bool(environment)
            ) from error
    return StackResult(stack, operation, tuple(record.changes), outputs, record.summary)


def _select(stack: str, environment: Mapping[str, str], root: Path, *, make: bool) -> automation.Stack:
    from pulumi import automation

    from commands.pulumi_command import PinnedPulumi

    options = automation.LocalWorkspaceOptions(
        work_dir=str(root),
        pulumi_home=environment.get("PULUMI_HOME") or os.environ.get("PULUMI_HOME"),
        pulumi_command=PinnedPulumi(paths.load().pulumi / "pulumi"),
        env_vars={"PULUMI_SKIP_UPDATE_CHECK": "true", **environment},
    )
    choose = automation.create_or_select_stack if make else automation.select_stack
    return choose(stack, work_dir=str(root), opts=options)


def _outputs(stack: automation.Stack) -> dict[str, Any]:
    return {name: output.value for name, output in stack.outputs().items() if not output.secret}


def _quietly(on_output: OnOutput) -> OnOutput:
    """Leave out what only shows that the engine is alive."""

    def pass_on(line: str) -> None:
        text = line.rstrip()
        if text and not text.startswith("@ "):
            with suppress(BrokenPipeError):
                on_output(text)

    return pass_on


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]
