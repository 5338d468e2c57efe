"""The Pulumi CLI at a known path, for the Automation API."""

from __future__ import annotations

from pathlib import Path

from pulumi import automation
from semver import VersionInfo

ENGINE_VERSION = VersionInfo(3, 259, 0)
"""The CLI that set-up builds, and the oldest that it accepts from the machine."""


class PinnedPulumi(automation.PulumiCommand):
    """The CLI that set-up recorded.

    The Automation API's own class wants a folder called ``bin`` and starts the CLI once more, for its
    version, before every operation; set-up has checked it already.
    """

    def __init__(self, binary: Path) -> None:
        self.command = str(binary)
        self.version = ENGINE_VERSION
