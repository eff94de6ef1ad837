"""Instants that outlive a boot. CLOCK_BOOTTIME starts anew with each, so what is stored says in which it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.model.instant import Instant

if TYPE_CHECKING:
    from fleetctl.clock import Clock


@dataclass(frozen=True, slots=True)
class Timebase:
    """Which boot instants count in, and the wall clock's time at their zero, as it was when this was looked at."""

    boot: str  # empty: not known, and then never the same as another
    wall_at_zero: float

    @classmethod
    def now(cls, clock: Clock, boot: str) -> Timebase:
        return cls(boot, clock.wall() - clock.now())


def translated(instant: Instant, written: Timebase, here: Timebase, now: Instant) -> Instant:
    """`instant`, written down by `written`, in this boot's time: it may lie before this boot, never after `now`.

    Within one boot it is exact, whatever the wall clock does. Over a reboot the wall clock is all there is: an age is
    wrong by as much as that clock was set in between.
    """
    same_boot = written.boot != "" and written.boot == here.boot
    shift = 0.0 if same_boot else written.wall_at_zero - here.wall_at_zero
    return Instant(min(instant + shift, now))
