"""The tool's own login key."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from runtime.keys import LoginKey, login_key
from stack.errors import BadInput


def test_it_is_made_once_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new/id"
    first = login_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert first.public.startswith("ssh-ed25519 AAAA")
    assert login_key(path) == first
    assert first.private().get_base64() == first.public.split()[1]
    assert [item.name for item in path.parent.iterdir()] == ["id"]


def test_it_lives_in_the_configuration_folder_unless_the_environment_says_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TPU_STACK_SSH_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert login_key().path == tmp_path / "config/tpu-stack/id_ed25519"
    monkeypatch.setenv("TPU_STACK_SSH_KEY", str(tmp_path / "other"))
    assert login_key().path == tmp_path / "other"


def test_callers_at_once_end_with_one_key(tmp_path: Path) -> None:
    found: list[LoginKey] = []
    threads = [threading.Thread(target=lambda: found.append(login_key(tmp_path / "id"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({key.public for key in found}) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "id"
    login_key(path)
    path.chmod(mode)
    with pytest.raises(BadInput, match=f"open to others .mode {mode:04o}.*chmod 600"):
        login_key(path)


def test_what_is_no_key_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_text("nonsense")
    path.chmod(0o600)
    with pytest.raises(BadInput, match="no ed25519 private key"):
        login_key(path)
    assert path.read_text() == "nonsense"
