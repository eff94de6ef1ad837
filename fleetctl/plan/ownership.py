"""Whose hosts these are: which of them may be given orders, and when somebody else, or nobody, can drive them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.errors import StaleOrderError, UsageError

if TYPE_CHECKING:
    from fleetctl.model.replica import Generation
    from fleetctl.model.snapshot import Reachable, Snapshot


def own_hosts(fleet: str, snapshot: Snapshot) -> dict[str, Reachable]:
    """The hosts that may be given orders: a root that belongs to another fleet is none of our business."""
    return {name: seen for name, seen in snapshot.reachable().items() if seen.report.is_open_to(fleet)}


def refuse_foreign_driver(fleet: str, snapshot: Snapshot, generation: Generation, author: str) -> None:
    """Raises StaleOrderError where a host was driven by somebody whose generation is not behind ours."""
    for name, seen in own_hosts(fleet, snapshot).items():
        guard = seen.report.guard
        if guard.generation > generation or (guard.generation == generation and guard.author not in ("", author)):
            raise StaleOrderError(name, guard.generation, guard.author)


def refuse_shared_roots(snapshot: Snapshot) -> None:
    """Raises UsageError where two names lead to one root: each instance would be counted, and stopped, twice."""
    names: dict[str, str] = {}
    for name, seen in snapshot.reachable().items():
        first = names.setdefault(seen.report.host_id, name)
        if first != name and seen.report.host_id:
            raise UsageError(
                f"{first} and {name} of the inventory have the same root: one machine with two names, or a copied disk",
                hint=f"take one of them out of the inventory, or give {name} a fleet_root of its own",
            )
