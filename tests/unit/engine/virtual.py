"""Virtual time: an event loop whose clock jumps to the next timer as soon as nothing else is left to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from fleetctl.model.instant import Instant


class _Jump(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the clock on to it."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def run_in_executor(self, _executor, work, *arguments):
        """What is given to a thread is done at once: it takes no virtual time."""
        done = self.create_future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 (a thread hands over whatever was raised)
            done.set_exception(error)
        return done


class LoopClock:
    """The loop's time as the engine's clock."""

    def now(self) -> Instant:
        return Instant(asyncio.get_running_loop().time())

    def wall(self) -> float:
        return 1.7e9 + self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run_virtually(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
