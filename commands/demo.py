"""``demo``: the main job on this machine, and how long each part took."""

from __future__ import annotations

import time

from commands import infrastructure, serve
from commands.console import Console, Outcome

STACK = "local"


def demo(console: Console) -> Outcome:
    """Cloud and slice by the real Pulumi engine, then the server on every worker. Safe to run again."""
    started = time.monotonic()
    console.line("== invoke up: the embedded cloud, and a v6e-16 declared with Pulumi")
    made = infrastructure.up(console, STACK)
    for line in made.lines:
        console.line(line)
    up_seconds = time.monotonic() - started
    console.line("== invoke deploy-qwen: a model on all four workers")
    outcome = serve.deploy(console, serve.DeployOptions(STACK))
    total = time.monotonic() - started
    console.line(f"== up {up_seconds:.1f} s, deploy {total - up_seconds:.1f} s")
    console.line("   next: invoke status, invoke logs, invoke verify, invoke down, invoke cloud.stop")
    return outcome
