"""Names and labels that tie cloud resources to their stack."""

from __future__ import annotations

PROJECT = "tpu-stack"

STACK_LABEL = "tpu-stack"
"""Label on every resource of a stack; its value is the stack's name. The runtime finds its slice by it."""


def stack_labels(stack: str, labels: dict[str, str]) -> dict[str, str]:
    """The labels of a resource of ``stack``: the user's own, and ours, which wins."""
    return {**labels, STACK_LABEL: stack}


def default_slice_name(stack: str) -> str:
    """The node id of a stack's slice where the config gives none."""
    return f"{PROJECT}-{stack}"
