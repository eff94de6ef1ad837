"""First of all: what is superseded is stopped, at first contact, before anything else is done on its host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.snapshot import Phase
from fleetctl.plan.scene import Standing

if TYPE_CHECKING:
    from fleetctl.plan.draft import Draft
    from fleetctl.plan.scene import Copy


def fence(draft: Draft) -> None:
    """Stops every instance that a newer one of its replica has superseded, and sees ordered stops to their end."""
    jobs = {job.name: job for job in draft.scene.jobs}
    for replica, copies in draft.scene.copies.items():
        if (job := jobs.get(replica.job)) is None:
            continue
        for copy in copies:
            ordered = copy.standing is Standing.ORDERLY and copy.row.phase is Phase.STOPPING
            if ordered and not draft.scene.is_frozen(copy.host):
                draft.stop(job, copy, "its stop was ordered before: see it end")
        for copy, successor in superseded(draft.live(replica)):
            draft.stop(job, copy, f"superseded by {successor}, which was ready")


def superseded(live: tuple[Copy, ...]) -> list[tuple[Copy, Copy]]:
    """Which of a replica's living copies, newest first, are superseded, and by which.

    A newer one must have been ready, and be seen alive. While it is not ready and the older one is, the older keeps
    serving: it would be the only one.
    """
    found = []
    for copy in live:
        newer = [other for other in live if other.name.epoch > copy.name.epoch and other.was_ready]
        successor = next((other for other in newer if other.is_ready or not copy.is_ready), None)
        if successor is not None:
            found.append((copy, successor))
    return found
