"""What the API says about a slice at one moment: frozen data, never kept over commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class LiveWorker:
    """One TPU VM of a slice.

    Attributes:
        index: its place in ``networkEndpoints``, which is its worker number (source: gcloud 556 ssh.py).
        hostname: the Compute Engine instance name that IAP tunnels ask for; from guest attributes, None where
            an organisation policy hides them.
        host_keys: as sshd on the worker published them, each ``TYPE BASE64``; empty where hidden.
    """

    index: int
    internal_ip: str
    external_ip: str | None = None
    hostname: str | None = None
    host_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveSlice:
    """A node of the Cloud TPU API with its workers.

    Attributes:
        node_id: the short name; ``name`` is the full resource name.
        id: the API's own number of this very resource; another one after a replacement, so pins and
            attempts are bound to it.
        project, zone: as the slice was asked for, and as tunnels need them.
    """

    node_id: str
    name: str
    id: str
    state: str
    health: str
    create_time: datetime | None
    runtime_version: str
    accelerator_type: str
    workers: tuple[LiveWorker, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    zone: str = ""

    def same_as(self, other: LiveSlice) -> bool:
        """Whether ``other`` is this very slice: not replaced, its workers and their keys unchanged."""
        return (self.id, self.create_time, self.workers) == (other.id, other.create_time, other.workers)
