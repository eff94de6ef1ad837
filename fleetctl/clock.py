"""The one place that asks what time it is. Deciding code gets instants as arguments and never imports this."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from fleetctl.model.instant import Instant


class Clock(Protocol):
    """Time, as the engine sees it: the system's, or a test's."""

    def now(self) -> Instant: ...

    def wall(self) -> float:
        """Seconds since the epoch: for people and records, never for deciding."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> Instant:
        return Instant(time.clock_gettime(BOOTTIME))

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


BOOTTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # a Mac has no CLOCK_BOOTTIME
