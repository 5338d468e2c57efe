"""Runs a piece of the program as the engine would: an event loop of its own, every request answered at the end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pulumi
import pytest
from pulumi.runtime import Mocks
from pulumi.runtime.stack import run_pulumi_func


class AsProgram(Protocol):
    def __call__[Result](self, mocks: Mocks, body: Callable[[], Result], *, preview: bool = False) -> Result: ...


@pytest.fixture
def as_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[AsProgram]:
    """Runs a body with a mocked cloud and returns its result; an output counts as its value, None if unknown."""
    loops: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def make_and_remember() -> asyncio.AbstractEventLoop:
        loops.append(make())
        return loops[-1]

    def run(mocks: Mocks, body: Callable[[], Any], *, preview: bool = False) -> Any:
        return contextvars.copy_context().run(_run, mocks, body, preview)

    # The SDK makes a loop in each of its worker threads, and closes none.
    monkeypatch.setattr(asyncio, "new_event_loop", make_and_remember)
    yield run
    asyncio.set_event_loop(None)
    for loop in loops:
        loop.close()


def _run(mocks: Mocks, body: Callable[[], Any], preview: bool) -> Any:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    results: list[Any] = []
    try:
        pulumi.runtime.set_mocks(mocks, project="tpu-stack", stack="test", preview=preview)
        loop.run_until_complete(run_pulumi_func(lambda: results.append(body())))
        (result,) = results
        return loop.run_until_complete(result.future()) if isinstance(result, pulumi.Output) else result
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
