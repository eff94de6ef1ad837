"""Hosts that take no new work, and those of them that are drained: what a person said, and what the inventory says.

Says why, and for how long nothing is drained at all; moves nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory

TRUNCATED_PERCENT = 55  # as for hosts that are lost: so much at once is no person's doing
TRUNCATED_FROM_HOSTS = 3


def closed(desired: Desired, memory: Memory) -> dict[str, str]:
    """Hosts that take no new work, with the reason in a word or two: "cordoned"."""
    return {
        **dict.fromkeys(sorted(memory.cordons), "cordoned"),
        **dict.fromkeys(sorted(desired.gone), "gone from the inventory"),
    }


def left(desired: Desired, memory: Memory) -> dict[str, str]:
    """Hosts that are drained, with the reason: "which is drained by anna". None while the inventory is in doubt."""
    if truncated(desired) and not desired.force:
        return {}
    drains = {name: cordon for name, cordon in sorted(memory.cordons.items()) if cordon.drains}
    return {
        **{name: f"which is drained by {cordon.by}" for name, cordon in drains.items()},
        **dict.fromkeys(sorted(desired.gone), "which is gone from the inventory"),
    }


def truncated(desired: Desired) -> str:
    """Why the inventory may be half a file, or one of another fleet, or nothing."""
    gone, known = sorted(desired.gone), len({host.name for host in desired.hosts})
    many = known >= TRUNCATED_FROM_HOSTS and len(gone) * 100 >= TRUNCATED_PERCENT * known
    if not gone or not (many or len(gone) == known):
        return ""
    return f"{len(gone)} of {known} known hosts are gone from the inventory ({', '.join(gone)})"
