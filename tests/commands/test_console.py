"""What a command prints, and with which code it leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands.console import Console, Outcome, run_command
from commands.progress import LiveProgress, PlainProgress
from stack.errors import BadInput, BadInputs, CloudFailed, NotVerified, TpuStackError

ROOT = Path(__file__).resolve().parents[2]


def leave(error: BaseException | None, *, as_json: bool) -> int:
    """The exit code of a command that raises ``error``, or is done without one."""

    def command(_: Console) -> Outcome:
        if error is not None:
            raise error
        return Outcome({"answer": 42}, ("done",))

    with pytest.raises(SystemExit) as caught:
        run_command(command, as_json=as_json)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (NotVerified("no token"), 1),
        (BadInput("is wrong"), 2),
        (CloudFailed("is gone"), 3),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_each_kind_of_end_has_its_exit_code(
    error: BaseException | None, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(error, as_json=False) == code
    assert bool(capsys.readouterr().err) == (error is not None)


def test_json_is_one_document_whatever_happens(capsys: pytest.CaptureFixture[str]) -> None:
    faults = (BadInput("is wrong", key="a", value=1, cure="Mend it"), BadInput("too", key="b"))
    assert leave(BadInputs(faults), as_json=True) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["errors"] == [
        {"key": "a", "value": 1, "why": "is wrong", "cure": "Mend it"},
        {"key": "b", "value": None, "why": "too", "cure": ""},
    ]
    assert leave(None, as_json=True) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"schema": 1, "ok": True, "errors": [], "answer": 42}
    assert captured.err == "done\n"


def test_a_defect_shows_its_traceback_and_is_not_swallowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(ZeroDivisionError("x"), as_json=False) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "a defect of tpu-stack: ZeroDivisionError" in text


def test_an_error_is_one_line_with_key_value_and_cure() -> None:
    error = TpuStackError("is not known", key="zone", value="mars-1", cure="Use another")
    assert str(error) == "zone=mars-1: is not known. Use another"
    assert str(TpuStackError("what?", cure="That")) == "what? That"


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (["deploy", "--nonsense"], "--nonsense"),
        (["nosuchtask"], "nosuchtask"),
        (["plan"], "model"),
        (["logs", "--lines", "many"], "many"),
        (["up", "--stack", "nosuch"], "nosuch"),
    ],
)
def test_bad_usage_exits_2_and_keeps_to_json(line: list[str], part: str) -> None:
    invoke = [str(Path(sys.executable).parent / "invoke"), *line, "--json"]
    result = subprocess.run(invoke, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert part in json.dumps(document["errors"])


def test_plain_progress_writes_a_line_a_change_with_times() -> None:
    lines: list[str] = []
    now = iter([0.0, 1.0, 2.5, 3.0])
    progress = PlainProgress(lines.append, clock=lambda: next(now))
    progress.step("connect")
    progress.worker(2, "environment", "building")
    progress.worker(2, "environment", "building")
    progress.worker(2, "environment", "ready")
    assert lines == [
        "[   1.0 s] connect",
        "[   2.5 s] worker 2  environment  building",
        "[   3.0 s] worker 2  environment  ready",
    ]


def test_live_progress_leaves_the_steps_and_never_reads_markup(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("w") as stream, LiveProgress(stream) as progress:
        progress.step("[red]connect[/red]")
        progress.worker(0, "http", "[bold]waiting")
        progress.step("launch")
    assert "[red]connect[/red]" in out.read_text()
    assert "launch" in out.read_text()
