"""What all tests share: fair settings for a busy two-core machine, and the folder of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machine is shared with real servers while tests run: time says nothing about the code under test here.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


LONGEST_FIRST = ("tests/serving/test_deploy.py", "tests/infra/test_engine.py", "tests/provider/test_replay.py")
"""Files whose tests wait for real servers and engines. Files are dealt out whole, so the longest must not come last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file, and of the rest, stays."""

    def place(item: pytest.Item) -> int:
        name = item.nodeid.split("::")[0]
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).resolve().parent.parent
