"""Whose wall clock is wrong: hosts are compared with each other, never with ours, which may be the wrong one."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetctl.model.snapshot import Snapshot

CLOCKS_NEEDED = 3
CLOCK_OFF_S = 60.0  # the reports of one look lie up to 40 s apart, where a host is slow
_AMOUNTS = ((365 * 86400, "a year"), (86400, "a day"), (3600, "an hour"), (600, "10 min"), (60, "a minute"))


def wrong_clocks(snapshot: Snapshot) -> dict[str, str]:
    """By host: by how much its clock is off against the median of the hosts that answer, in words that stay the same
    from look to look. Nothing where fewer than three tell their time, or where most of them disagree."""
    told = {name: seen.report.wallclock_s for name, seen in snapshot.reachable().items() if seen.report.wallclock_s > 0}
    if len(told) < CLOCKS_NEEDED:
        return {}
    middle = median(told.values())
    off = {name: wall - middle for name, wall in told.items() if abs(wall - middle) > CLOCK_OFF_S}
    if len(off) * 2 >= len(told):
        return {}
    return {name: _told(by_s) for name, by_s in off.items()}


def _told(by_s: float) -> str:
    amount = next(text for least_s, text in _AMOUNTS if abs(by_s) >= least_s)
    return f"its clock is more than {amount} {'ahead of' if by_s > 0 else 'behind'} the other hosts'"
