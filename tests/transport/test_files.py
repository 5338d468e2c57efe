"""Folders brought to a worker: what is there with the same content is not sent again."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.transport import Connection
from runtime.transport.files import sync_folder
from stack.errors import BadInput
from tests.transport.sshd import Sshd


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub/weights with blank").write_bytes(b"w" * 500_000)
    return folder


def test_only_what_is_missing_or_other_is_sent(sshd: Sshd, connection: Connection, model: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = sync_folder(connection, model, "models/m", progress=lambda done, total: seen.append((done, total)))
    assert (first.sent_files, first.sent_bytes, first.kept_files) == (2, 500_002, 0)
    assert seen[-1] == (500_002, 500_002)
    there = sshd.home / "models/m"
    assert (there / "sub/weights with blank").read_bytes() == b"w" * 500_000
    assert sync_folder(connection, model, "models/m").sent_files == 0

    (model / "config.json").write_text("[]")  # the same size, other content
    assert sync_folder(connection, model, "models/m").sent_files == 1
    assert (there / "config.json").read_text() == "[]"

    (there / "sub/weights with blank").unlink()
    assert sync_folder(connection, model, "models/m").sent_files == 1
    (there / "config.json").write_text("cut off")
    assert sync_folder(connection, model, "models/m").sent_files == 1
    assert (there / "config.json").read_text() == "[]"


def test_a_sync_that_was_cut_goes_on_where_it_was(sshd: Sshd, connection: Connection, model: Path) -> None:
    def cut_once(done: int, total: int) -> None:
        if done < total:
            sshd.cut()

    assert sync_folder(connection, model, "m", progress=cut_once).sent_files == 2
    assert sync_folder(connection, model, "m").kept_files == 2
    names = sorted(path.name for path in (sshd.home / "m").rglob("*") if path.is_file())
    assert names == [".tpu-stack-digests", "config.json", "weights with blank"]


def test_a_folder_that_is_none_is_bad_input(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no folder"):
        sync_folder(connection, tmp_path / "none", "m")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/a\nb").touch()
    with pytest.raises(BadInput, match="line's end"):
        sync_folder(connection, tmp_path / "odd", "m")
