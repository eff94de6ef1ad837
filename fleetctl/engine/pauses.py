"""Whether this process stood still: asleep with its machine, stopped, or starved. What it knew may be true no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from fleetctl.clock import Clock

TICK_S = 1.0


class Pauses:
    """While it is entered: the longest time for which nothing was done.

    Timers don't count the time of a suspended machine, and all ring at once after a stop; CLOCK_BOOTTIME tells both.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._last, self._longest_s = clock, clock.now(), 0.0
        self._ticking: asyncio.Task[None] | None = None

    def longest_s(self) -> float:
        """Up to now: a pause counts as soon as it is over, whoever asks first."""
        now = self._clock.now()
        self._longest_s, self._last = max(self._longest_s, now - self._last), now
        return self._longest_s

    async def __aenter__(self) -> Self:
        self._last = self._clock.now()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.longest_s()
