"""The language host's answers, each call made as the engine makes it, over gRPC to a host in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import language_pb2 as messages
from pulumi.runtime.proto import language_pb2_grpc

SECONDS = 20.0

EXECUTOR = """\
import json, os, pathlib, sys
seen = {"argv": sys.argv[1:], "config": os.environ["PULUMI_CONFIG"], "secrets": os.environ["PULUMI_CONFIG_SECRET_KEYS"]}
pathlib.Path("seen.json").write_text(json.dumps(seen))
sys.exit(int(pathlib.Path("exit-code").read_text()))
"""
"""Takes the place of the SDK's program runner: writes down how it was started, and exits as it is told."""


@dataclass
class Host:
    """A running language host, as the engine has it."""

    process: subprocess.Popen[str]
    stub: language_pb2_grpc.LanguageRuntimeStub


def command(beside: Path) -> list[str]:
    """What the launcher that set-up writes (toolchain/install/launchers.py) runs."""
    return [sys.executable, "-I", "-m", "toolchain.language_host", "--launcher", str(beside / "pulumi-language-python")]


@contextmanager
def running_host(beside: Path) -> Iterator[Host]:
    """A host started as its launcher in ``beside`` would; it is gone afterwards."""
    (beside / "pulumi-language-python-exec").write_text(EXECUTOR)
    with subprocess.Popen(
        [*command(beside), "-v=3", "--tracing", "http://127.0.0.1:9", "127.0.0.1:9"],
        cwd=beside,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Host(process, language_pb2_grpc.LanguageRuntimeStub(channel))
        process.kill()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with running_host(tmp_path_factory.mktemp("bin")) as host:
        yield host


@pytest.fixture
def mortal_host(tmp_path: Path) -> Iterator[Host]:
    """One that a test may end."""
    beside = tmp_path / "bin"
    beside.mkdir()
    with running_host(beside) as host:
        yield host


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project without a program."""
    return tmp_path


def info(folder: Path, virtualenv: str = sys.prefix, entry_point: str = ".") -> messages.ProgramInfo:
    options = Struct()
    options.update({"virtualenv": virtualenv})
    return messages.ProgramInfo(
        root_directory=str(folder), program_directory=str(folder), entry_point=entry_point, options=options
    )


def until(condition: Callable[[], bool]) -> bool:
    """Whether ``condition`` comes true before the deadline."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_says_who_it_is_and_asks_nothing(host: Host, folder: Path) -> None:
    host.stub.Handshake(messages.LanguageHandshakeRequest(engine_address="127.0.0.1:9"))
    assert host.stub.GetPluginInfo(Empty()).version == "3.259.0"
    about = host.stub.About(messages.AboutRequest(info=info(folder)))
    assert Path(about.executable) == Path(sys.prefix, "bin", "python")
    assert about.version.startswith("3.12.")
    assert not host.stub.RuntimeOptionsPrompts(messages.RuntimeOptionsRequest(info=info(folder))).prompts


def test_it_names_the_plugins_and_packages_of_the_environment(host: Host, folder: Path) -> None:
    found = host.stub.GetRequiredPackages(messages.GetRequiredPackagesRequest(info=info(folder))).packages
    assert [(item.name, item.kind, item.version) for item in found] == [("gcp", "resource", "9.35.0")]

    def names(*, transitive: bool) -> set[str]:
        request = messages.GetProgramDependenciesRequest(info=info(folder), transitiveDependencies=transitive)
        return {item.name.lower() for item in host.stub.GetProgramDependencies(request).dependencies}

    assert {"pulumi-gcp", "grpcio"} <= {name.replace("_", "-") for name in names(transitive=True)}
    assert "grpcio" not in names(transitive=False)


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [
        (0, messages.RunResponse()),
        (32, messages.RunResponse(bail=True)),
        (1, messages.RunResponse(error="Program exited with non-zero exit code: 1")),
    ],
)
def test_a_program_is_run_with_what_the_engine_says_and_its_end_is_reported(
    host: Host, folder: Path, exit_code: int, expected: messages.RunResponse
) -> None:
    (folder / "exit-code").write_text(str(exit_code))
    request = messages.RunRequest(
        project="p",
        stack="s",
        pwd=str(folder),
        config={"p:key": "value"},
        configSecretKeys=["p:key"],
        dryRun=True,
        parallel=4,
        monitor_address="127.0.0.1:8",
        organization="o",
        info=info(folder),
    )
    assert host.stub.Run(request, timeout=SECONDS) == expected
    seen = json.loads((folder / "seen.json").read_text())
    arguments = dict(zip(seen["argv"][:-1:2], seen["argv"][1:-1:2], strict=True))
    assert arguments == {
        "--monitor": "127.0.0.1:8",
        "--engine": "127.0.0.1:9",
        "--project": "p",
        "--stack": "s",
        "--pwd": str(folder),
        "--parallel": "4",
        "--organization": "o",
        "--root_directory": str(folder),
        "--dry_run": "true",
    }
    assert seen["argv"][-1] == "."
    assert json.loads(seen["config"]) == {"p:key": "value"}
    assert json.loads(seen["secrets"]) == ["p:key"]


def test_a_missing_virtual_environment_is_one_line_with_its_cure(host: Host, folder: Path) -> None:
    request = messages.RunRequest(pwd=str(folder), info=info(folder, virtualenv="no-such-venv"))
    error = host.stub.Run(request, timeout=SECONDS).error
    assert "no-such-venv" in error
    assert "make setup" in error
    with pytest.raises(grpc.RpcError) as caught:
        host.stub.About(messages.AboutRequest(info=info(folder, virtualenv="no-such-venv")))
    assert "make setup" in caught.value.details()


def test_a_provider_is_run_and_its_output_and_end_come_back(host: Host, folder: Path) -> None:
    (folder / "__main__.py").write_text(
        "import os, sys\nprint(os.environ['GIVEN'], *sys.argv[1:])\nprint('bad', file=sys.stderr)\nsys.exit(7)\n"
    )
    request = messages.RunPluginRequest(
        pwd="/", args=["127.0.0.1:9"], env=["GIVEN=yes", "PATH=/usr/bin:/bin"], info=info(folder), kind="resource"
    )
    answers = list(host.stub.RunPlugin(request, timeout=SECONDS))
    assert b"".join(item.stdout for item in answers) == b"yes 127.0.0.1:9\n"
    assert b"".join(item.stderr for item in answers) == b"bad\n"
    assert answers[-1].exitcode == 7


def test_a_policy_pack_is_run_by_its_own_environment_in_its_own_folder(host: Host, folder: Path) -> None:
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PWD $*"\n')
    python.chmod(0o755)
    request = messages.RunPluginRequest(
        pwd="/", args=["127.0.0.1:9"], info=info(folder, virtualenv="venv"), kind="analyzer"
    )
    answers = list(host.stub.RunPlugin(request, timeout=SECONDS))
    said = b"".join(item.stdout for item in answers).decode()
    assert said == f"{folder} -u -m pulumi.policy 127.0.0.1:9 {folder}\n"


def start_sleeper(host: Host, folder: Path) -> tuple[grpc.Call, int]:
    """A provider that would never end: the call that runs it, and its pid."""
    (folder / "__main__.py").write_text("import os, time\nprint(os.getpid())\ntime.sleep(3600)\n")
    call = host.stub.RunPlugin(messages.RunPluginRequest(pwd="/", info=info(folder), kind="resource"))
    return call, int(next(call).stdout)


def test_a_plugin_ends_with_the_call_that_runs_it(host: Host, folder: Path) -> None:
    call, pid = start_sleeper(host, folder)
    call.cancel()
    assert until(lambda: not lives(pid))
    assert host.stub.GetPluginInfo(Empty()).version


def test_cancel_ends_what_runs_and_the_host_lives_on(host: Host, folder: Path) -> None:
    _, pid = start_sleeper(host, folder)
    host.stub.Cancel(Empty(), timeout=SECONDS)
    assert until(lambda: not lives(pid))
    assert host.stub.GetPluginInfo(Empty()).version


def interrupt(host: Host) -> None:
    os.killpg(host.process.pid, signal.SIGINT)


def close_input(host: Host) -> None:
    assert host.process.stdin is not None
    host.process.stdin.close()


@pytest.mark.parametrize("end", [interrupt, close_input])
def test_it_ends_quietly_with_the_engine_and_takes_its_children_along(
    mortal_host: Host, folder: Path, end: Callable[[Host], None]
) -> None:
    host = mortal_host
    _, pid = start_sleeper(host, folder)
    started = time.monotonic()
    end(host)
    assert host.process.wait(SECONDS) == 0
    assert time.monotonic() - started < 5, "the engine kills a plugin after five seconds"
    assert until(lambda: not lives(pid))
    assert host.process.stderr is not None
    assert host.process.stderr.read() == ""


def test_nothing_is_installed_where_nothing_is_asked_for(host: Host, folder: Path) -> None:
    request = messages.InstallDependenciesRequest(directory=str(folder), info=info(folder))
    assert list(host.stub.InstallDependencies(request, timeout=SECONDS)) == []


@pytest.mark.long
def test_a_missing_virtual_environment_is_made(host: Host, folder: Path) -> None:
    request = messages.InstallDependenciesRequest(directory=str(folder), info=info(folder, virtualenv="fresh"))
    assert all(not item.stderr for item in host.stub.InstallDependencies(request, timeout=120))
    assert (folder / "fresh" / "bin" / "python").exists()


def test_without_the_sdk_s_runner_it_says_what_to_do(tmp_path: Path) -> None:
    alone = {"PATH": str(tmp_path)}
    ended = subprocess.run([*command(tmp_path), "127.0.0.1:9"], capture_output=True, text=True, env=alone)
    assert ended.returncode == 1
    assert "make setup" in ended.stderr
    assert ended.stdout == ""
