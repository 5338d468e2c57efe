"""The evidence folder: what a verdict was drawn from, kept where the caller works."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.verdict import Verdict


def evidence_folder(root: Path, stack: str, job: str, attempt: str) -> Path:
    """Where the evidence of an attempt lies: ``evidence/<stack>/<job>-<attempt>`` under ``root``."""
    return root / "evidence" / stack / f"{job}-{attempt}"


def write_evidence(
    folder: Path, verdict: Verdict, *, plan: Mapping[str, Any], slice_: Mapping[str, Any], logs: Mapping[int, str]
) -> Verdict:
    """Write verdict, plan, slice and log tails; the verdict that names the folder.

    Args:
        logs: the end of each worker's log, by worker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = replace(verdict, evidence=str(folder))
    for name, document in (("verdict", kept.as_dict()), ("plan", plan), ("slice", slice_)):
        text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    for index, text in sorted(logs.items()):
        (folder / f"worker-{index}.log").write_text(text, encoding="utf-8")
    return kept
