"""The run lock's lease, kept alive while a command works."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from fleetctl.errors import StateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleetctl.state.store import RunLock

RENEW_EVERY_S = 5.0  # six times within the lease of 30 s


@asynccontextmanager
async def renewed(lock: RunLock) -> AsyncIterator[None]:
    """Renews the lease for as long as the block lasts."""
    renewal = asyncio.create_task(_renew(lock))
    try:
        yield
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)


async def _renew(lock: RunLock) -> None:
    """Where that fails for good, `assert_held` speaks before the next order."""
    while True:
        await asyncio.sleep(RENEW_EVERY_S)
        with suppress(StateError):  # a busy disk: five more tries until the lease ends
            lock.renew()
