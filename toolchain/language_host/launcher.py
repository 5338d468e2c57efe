"""Installs ``pulumi-language-python``, the file that the CLI looks for beside itself. Standard library only."""

from __future__ import annotations

from pathlib import Path

NAME = "pulumi-language-python"

LAUNCHER = Path(__file__).with_name("launcher.sh")


def install_launcher(folder: Path, project: Path) -> Path:
    """Put the launcher into ``folder``, that of the ``pulumi`` binary, and return its path.

    ``project`` is the clone whose environment it falls back to; a run inside another clone uses that
    clone's own, so a folder shared by several clones is fine.
    """
    target = folder / NAME
    text = LAUNCHER.read_text(encoding="utf-8").replace("@PROJECT@", str(project))
    if not target.is_file() or target.read_text(encoding="utf-8") != text:
        fresh = target.with_name(f".{NAME}.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(target)
    return target
