"""Property paths in Pulumi's notation: ``labels.a``, ``metadata["ssh-keys"]``, ``tags[0]``."""

from __future__ import annotations

import re

SIMPLE = re.compile(r"^[A-Za-z_$][\w$]*$")
PART = re.compile(r'\.?([A-Za-z_$][\w$]*)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]')


def parse_path(path: str) -> list[str | int]:
    """The parts of ``path``; one that cannot be read counts as a single name."""
    parts: list[str | int] = []
    position = 0
    while position < len(path):
        match = PART.match(path, position)
        if match is None:
            return [path]
        name, quoted, index = match.groups()
        if name is not None:
            parts.append(name)
        else:
            parts.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else int(index))
        position = match.end()
    return parts or [path]


def join(path: str, part: str | int) -> str:
    """``path`` with one more part."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    if SIMPLE.match(part):
        return f"{path}.{part}"
    escaped = part.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{escaped}"]'
