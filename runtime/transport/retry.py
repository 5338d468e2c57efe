"""Trying again: backoff under a deadline, clock and sleep as parameters."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Backoff:
    """Pauses that double from ``first`` to ``most`` seconds, each shortened by up to a fourth.

    The shortening is random so that 64 workers that lost one switch do not come back in step.
    """

    first: float = 0.1
    most: float = 4.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = field(default=random.random)

    def attempts(self, seconds: float) -> Iterator[float]:
        """Yield the seconds left, once for each try; at least one try, none after the deadline."""
        end = self.clock() + seconds
        pause = self.first
        left = seconds
        while True:
            yield max(left, 0.0)
            left = end - self.clock()
            if left <= 0:
                return
            self.sleep(min(left, pause * (1 - self.jitter() / 4)))
            pause = min(self.most, pause * 2)
            left = end - self.clock()
            if left <= 0:
                return
