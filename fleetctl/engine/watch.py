"""Healing round after round. Each round is a run of its own, so that others get the run lock in between.

It decides when the next round begins, and nothing about the fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from fleetctl.errors import ExitCode, LiveRunError, UsageError, YieldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fleetctl.clock import Clock

JITTER = 0.1  # of the interval, up or down: controllers that were started together drift apart
BACK_OFF_MAX_S = 300.0
BACK_OFF_MAX_INTERVALS = 30  # a short interval is a wish to know soon, after errors too


async def watch(
    one_round: Callable[[], Awaitable[ExitCode]],
    *,
    interval_s: float,
    clock: Clock,
    random: Callable[[], float],
    tell_error: Callable[[Exception], None],
) -> NoReturn:
    """Goes on until it is cancelled. `random` gives numbers from 0 to 1.

    After a round that failed, by an error or an operation, it waits twice as long as before it, and the interval again
    after a good one. A live run of somebody else is waited out without a word. Raises UsageError of the first round:
    what is wrong then is wrong in what was typed; later, it is told and may be mended meanwhile.
    """
    wait_s, is_first = interval_s, True
    while True:
        try:
            failed = await one_round() is ExitCode.FAILED
        except LiveRunError:
            failed = False
        except YieldError as error:
            tell_error(error)
            failed = False
        except Exception as error:
            if is_first and isinstance(error, UsageError):
                raise
            tell_error(error)
            failed = True
        is_first = False
        wait_s = min(2 * wait_s, longest_wait_s(interval_s)) if failed else interval_s
        await clock.sleep(wait_s * (1 - JITTER + 2 * JITTER * random()))


def longest_wait_s(interval_s: float) -> float:
    """Between two rounds, after many errors in a row."""
    return max(interval_s, min(BACK_OFF_MAX_S, BACK_OFF_MAX_INTERVALS * interval_s))
