"""Which Pulumi is used; and a build that is made once, whole or not at all.

The real build takes four minutes and is exercised by `make test` itself on a fresh machine: here ``go`` is a script
that leaves a ``pulumi`` where it is told to.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.toolchain.conftest import ROOT, MakeProgram
from toolchain import paths
from toolchain.install import golang
from toolchain.install.context import Context, beside, version_of
from toolchain.install.problems import Missing, StepFailed
from toolchain.install.processes import Processes
from toolchain.install.pulumi_cli import EXEC_SCRIPT, HOST, PulumiCli

GO = """
echo "$*" >> {log}
case $1 in
  version) echo "go version go1.26.8 linux/amd64" ;;
  list) echo {sdk} ;;
  build)
    while [ "$1" != -o ]; do shift; done
    {before}
    printf '#!/bin/sh\\necho {says}\\n' > "$2"; chmod 755 "$2" ;;
esac
"""


@pytest.fixture
def go(program: MakeProgram, tmp_path: Path) -> GoMaker:
    return GoMaker(program, tmp_path)


class GoMaker:
    """A ``go`` on PATH, and how often it built."""

    def __init__(self, program: MakeProgram, folder: Path) -> None:
        self._program = program
        self._log = folder / "go.log"
        self._sdk = folder / "sdk"
        (self._sdk / "python/cmd").mkdir(parents=True)
        (self._sdk / "python/cmd" / EXEC_SCRIPT).write_text("#!/usr/bin/env python\n")

    def install(self, *, says: str = "v3.259.0", before: str = ":") -> None:
        self._program("go", GO.format(log=self._log, sdk=self._sdk, says=says, before=before))

    def builds(self) -> int:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return sum(line.startswith("build") for line in lines)


def installed(program: MakeProgram, folder: Path, version: str, *, host: bool = True) -> Path:
    program("pulumi", f"echo {version}", folder)
    if host:
        program(HOST, "exit 0", folder)
    return folder


def on_path(machine: Context, folder: Path) -> Context:
    return dataclasses.replace(
        machine, environment={**machine.environment, "PATH": f"{folder}:{machine.environment['PATH']}"}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v3.259.0", (3, 259, 0)),
        ("v3.1000.0", (3, 1000, 0)),
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("v3.260.0-alpha.1+dirty", (3, 260, 0)),
        ("warning: a new release\nv3.259.1", (3, 259, 1)),
        ("", ()),
        ("command not found", ()),
    ],
)
def test_versions_are_read_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert version_of(text) == expected


@pytest.mark.parametrize("version", ["v3.259.0", "v3.1000.0", "v4.0.0"])
def test_an_installed_pulumi_that_is_new_enough_is_used(
    machine: Context, program: MakeProgram, tmp_path: Path, version: str
) -> None:
    folder = installed(program, tmp_path / "opt/pulumi", version)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/pulumi").symlink_to(folder / "pulumi")
    step = PulumiCli(on_path(machine, tmp_path / "links"))
    assert step.done()
    assert step.cli().folder == folder
    assert not step.cli().own_host


@pytest.mark.parametrize(
    ("version", "host", "why"),
    [
        ("v3.258.9", True, "older than 3.259"),
        ("v3.99.0", True, "older than 3.259"),
        ("v3.260.0", False, f"no {HOST} beside it"),
        ("Segmentation fault", True, "no Pulumi that runs"),
    ],
)
def test_an_installed_pulumi_that_will_not_do_is_passed_over_aloud(
    machine: Context,
    program: MakeProgram,
    tmp_path: Path,
    go: GoMaker,
    capsys: pytest.CaptureFixture[str],
    version: str,
    host: bool,
    why: str,
) -> None:
    go.install()
    step = PulumiCli(on_path(machine, installed(program, tmp_path / "opt/pulumi", version, host=host)))
    assert not step.done()
    step.run()
    assert why in capsys.readouterr().out
    assert step.cli().own_host


def test_a_pulumi_that_set_up_laid_out_is_not_taken_for_an_installed_one(
    machine: Context, program: MakeProgram, tmp_path: Path
) -> None:
    other_clone = installed(program, tmp_path / "other-clone/.cache/bin", "v3.259.0", host=False)
    program(HOST, 'exec python -I -m toolchain.language_host "$@"', other_clone)
    assert not PulumiCli(on_path(machine, other_clone)).done()


def test_a_build_is_kept_with_its_exec_script_and_not_made_again(machine: Context, go: GoMaker) -> None:
    go.install()
    PulumiCli(machine).run()
    second = PulumiCli(machine)
    assert second.done()
    assert second.cached.parent.name.startswith("3.259.0-")
    assert os.access(second.cached / EXEC_SCRIPT, os.X_OK)
    assert go.builds() == 1


def test_another_pin_is_another_build(machine: Context, go: GoMaker) -> None:
    go.install()
    PulumiCli(machine).run()
    sums = machine.root / "toolchain/go.sum"
    sums.write_text(sums.read_text() + "example.com/x v1.0.0 h1:abc=\n")
    assert not PulumiCli(machine).done()


def test_a_cli_that_calls_itself_otherwise_is_not_kept(machine: Context, go: GoMaker) -> None:
    go.install(says="v3.0.0")
    with pytest.raises(StepFailed, match=r"calls itself v3\.0\.0, not v3\.259\.0"):
        PulumiCli(machine).run()
    assert not PulumiCli(machine).done()


def test_two_set_ups_at_once_build_once(machine: Context, go: GoMaker, tmp_path: Path) -> None:
    go.install(before=f"touch {tmp_path}/started; while [ ! -e {tmp_path}/go-on ]; do sleep 0.05; done")
    first = threading.Thread(target=PulumiCli(machine).run)
    first.start()
    wait_for(tmp_path / "started")
    said: list[str] = []
    other = dataclasses.replace(machine, processes=Processes())
    second = threading.Thread(target=lambda: said.append(PulumiCli(other).run()))
    second.start()
    (tmp_path / "go-on").touch()
    first.join(20)
    second.join(20)
    assert said == ["v3.259.0 was built by another set-up meanwhile"]
    assert go.builds() == 1


def test_a_killed_build_leaves_nothing_that_looks_finished(machine: Context, go: GoMaker, tmp_path: Path) -> None:
    # The build writes its binary before it is killed: that is the dangerous moment.
    hang = f'printf "#!/bin/sh\\n" > "$2"; chmod 755 "$2"; echo $$ > {tmp_path}/started; exec sleep 60'
    go.install(before=hang)
    script = (
        "import json, sys; from pathlib import Path; from toolchain.install.context import Context;"
        "from toolchain.install.pulumi_cli import PulumiCli;"
        "PulumiCli(Context(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), False)).run()"
    )
    arguments = [str(machine.root), str(machine.caches), json.dumps(dict(machine.environment))]
    with subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL) as set_up:
        wait_for(tmp_path / "started")
        set_up.kill()
    os.kill(int((tmp_path / "started").read_text()), signal.SIGKILL)

    assert not PulumiCli(machine).done()
    go.install()
    PulumiCli(machine).run()
    assert PulumiCli(machine).done()


def test_a_set_up_that_ends_stops_waiting_for_the_other_one(machine: Context, go: GoMaker) -> None:
    go.install()
    step = PulumiCli(machine)
    threading.Timer(0.2, machine.processes.end_all).start()
    # A second handle on the same file: flock() tells them apart, as it does two processes.
    other = dataclasses.replace(machine, processes=Processes())
    lock = beside(step.cached.parent, ".lock")
    with other.locked("pulumi", lock), pytest.raises(StepFailed, match="set-up ended"):
        step.run()


def test_go_that_vanished_since_the_check_is_told_as_missing(
    machine: Context, go: GoMaker, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golang, "USUAL_PLACE", bin_folder / "nowhere")
    go.install()
    step = PulumiCli(machine)
    (bin_folder / "go").unlink()
    with pytest.raises(Missing):
        step.run()


def test_the_cli_of_this_project_runs_and_has_a_language_host_beside_its_own_file() -> None:
    folder = paths.load(ROOT).pulumi
    said = subprocess.run([folder / "pulumi", "version"], capture_output=True, text=True, check=True).stdout
    assert version_of(said) >= (3, 259)
    assert os.access(Path(os.path.realpath(folder / "pulumi")).parent / HOST, os.X_OK)


def wait_for(path: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not (path.exists() and (path.stat().st_size or path.name == "started")):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
