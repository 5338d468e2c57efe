"""An engine's environment on a worker: built once, checked each time, mended when broken.

Two small wheels stand for an engine; uv is the real one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from runtime.jobs.bootstrap import LOCKS, Environment, check_on, ensure_environment, locked_environment
from runtime.scripts import check_environment
from runtime.transport import Connection, Fleet
from stack.errors import BadInput, NotVerified
from tests.transport.sshd import Sshd


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> str:
    """Write a wheel and return its line in a lock."""
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in contents.items():
            archive.writestr(file, text)
        record = [f"{file},{_digest(text)},{len(text)}\n" for file, text in contents.items()]
        archive.writestr(f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]))
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture(scope="module")
def uv_wheel() -> Path:
    """The pinned uv, from the wheelhouse that set-up filled."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tpu-stack/wheelhouse"
    version = (LOCKS / "uv.txt").read_text().split()[0].split("==")[1]
    found = next(iter(sorted(cache.glob(f"uv-{version}-*.whl"))), None)
    if found is None:
        pytest.skip("the wheelhouse has no uv (make setup fills it)")
    return found


@pytest.fixture
def environment(tmp_path: Path, uv_wheel: Path) -> Environment:
    house = tmp_path / "wheels"
    house.mkdir()
    (house / uv_wheel.name).symlink_to(uv_wheel)
    lock = wheel(
        house,
        "engine_of_test",
        "1.2",
        {"engine_of_test/__init__.py": "import part\n", "engine_of_test/data.txt": "x" * 99},
    )
    lock += wheel(house, "part", "0.1", {"part.py": "VALUE = 1\n"})
    return Environment("test-env", lock.encode(), (LOCKS / "uv.txt").read_bytes(), str(house), ("engine_of_test",))


@pytest.fixture(scope="module")
def uv_program(uv_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with zipfile.ZipFile(uv_wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
        program = Path(archive.extract(member, tmp_path_factory.mktemp("uv")))
    program.chmod(0o700)
    return program


@pytest.fixture
def with_uv(worker: Sshd, uv_program: Path) -> None:
    """A worker that has uv already: unpacking it is one test's matter."""
    version = uv_program.parent.parent.name.removeprefix("uv-").removesuffix(".data")
    tools = worker.home / f".tpu-stack/tools/uv-{version}"
    tools.mkdir(parents=True)
    (tools / "uv").hardlink_to(uv_program)


def site(server: Sshd, environment: Environment) -> Path:
    return server.home / ".tpu-stack/envs" / environment.folder / "lib/python3.12/site-packages"


def test_it_is_built_once_and_then_only_checked(worker: Sshd, connection: Connection, environment: Environment) -> None:
    fleet = Fleet({0: connection})
    assert check_on(connection, environment).why == "missing"
    first = ensure_environment(fleet, environment)[0].get()
    assert (first.ready, first.built, first.why) == (True, True, "missing")
    assert first.python == str(worker.home / ".tpu-stack/envs" / environment.folder / "bin/python")
    done = json.loads((Path(first.python).parent.parent / ".deps_done").read_text())
    assert done["lock_sha256"] == hashlib.sha256(environment.lock).hexdigest()
    ran = connection.run([first.python, "-c", "import engine_of_test, part; print(part.VALUE)"])
    assert ran.check().text == "1\n"
    second = ensure_environment(fleet, environment)[0].get()
    assert (second.ready, second.built) == (True, False)
    leftovers = [path.name for path in (worker.home / ".tpu-stack/envs").iterdir()]
    assert sorted(leftovers) == [".lock", environment.folder]


@pytest.mark.usefixtures("with_uv")
def test_every_damage_is_noticed_and_mended(worker: Sshd, connection: Connection, environment: Environment) -> None:
    fleet = Fleet({0: connection})
    ensure_environment(fleet, environment)[0].get()
    packages = site(worker, environment)
    python = packages.parents[2] / "bin/python"
    damages = {
        "part.py has 0 bytes, its RECORD says 10": lambda: (packages / "part.py").write_text(""),
        "engine_of_test/data.txt is missing": lambda: (packages / "engine_of_test/data.txt").unlink(),
        "its python does not run": python.unlink,
    }
    for why, damage in damages.items():
        damage()
        assert why in check_on(connection, environment).why
    mended = ensure_environment(fleet, environment)[0].get()
    assert (mended.ready, mended.built) == (True, True)
    (packages.parents[2] / ".deps_done").unlink()
    assert "never finished" in check_on(connection, environment).why
    shutil.rmtree(packages / "part-0.1.dist-info")
    (packages.parents[2] / ".deps_done").touch()
    assert check_on(connection, environment).why == "part 0.1 is not installed"


def test_another_lock_is_another_environment(connection: Connection, environment: Environment) -> None:
    other = Environment(environment.name, environment.lock + b"\n", b"", None)
    assert other.folder != environment.folder
    assert check_on(connection, other).why == "missing"


@pytest.mark.usefixtures("with_uv")
def test_a_wheel_with_another_hash_is_not_installed(
    worker: Sshd, connection: Connection, environment: Environment
) -> None:
    broken = environment.lock.decode().splitlines()
    name, _, digest = broken[1].partition("sha256:")
    lock = f"{broken[0]}\n{name}sha256:{digest[::-1]}\n".encode()
    bad = Environment("test-env", lock, environment.uv_lock, environment.wheelhouse)
    with pytest.raises(
        NotVerified, match=r"worker=0: its environment cannot be built: uv pip install did not succeed \(.*[Hh]ash"
    ):
        ensure_environment(Fleet({0: connection}), bad)[0].get()
    assert not (worker.home / ".tpu-stack/envs" / bad.folder).exists()


@pytest.mark.usefixtures("with_uv")
def test_a_wheel_that_is_not_there_is_the_one_reason(connection: Connection, environment: Environment) -> None:
    lock = environment.lock + b"absent==1.0 --hash=sha256:" + b"0" * 64 + b"\n"
    bad = Environment("test-env", lock, environment.uv_lock, environment.wheelhouse)
    with pytest.raises(NotVerified, match="absent"):
        ensure_environment(Fleet({0: connection}), bad)[0].get()


def test_a_wheelhouse_without_uv_is_said(tmp_path: Path, connection: Connection, environment: Environment) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bad = Environment("test-env", environment.lock, environment.uv_lock, str(empty))
    with pytest.raises(NotVerified, match=rf"no wheel of uv [0-9.]+ in {empty}"):
        ensure_environment(Fleet({0: connection}), bad)[0].get()


@pytest.mark.usefixtures("with_uv")
def test_an_import_that_fails_is_damage(connection: Connection, environment: Environment) -> None:
    bad = Environment("test-env", environment.lock, environment.uv_lock, environment.wheelhouse, ("no_such_module",))
    with pytest.raises(NotVerified, match="import no_such_module: ModuleNotFoundError"):
        ensure_environment(Fleet({0: connection}), bad)[0].get()


def test_an_environment_we_have_no_lock_of_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"serve\.environment=nonesuch.*sglang-jax-0\.0\.2-cpu"):
        locked_environment("nonesuch")
    with pytest.raises(BadInput):
        locked_environment("../../etc/passwd")


def test_the_locks_of_the_product_can_be_read_by_the_check() -> None:
    for path in LOCKS.glob("sglang-jax-*.txt"):
        text = path.read_text()
        assert ";" not in text, "a marker: check_environment reads none"
        wanted = check_environment.pins(text)
        assert "sglang-jax" in wanted
        assert len(wanted) == sum("==" in line and not line.startswith((" ", "#")) for line in text.splitlines())
