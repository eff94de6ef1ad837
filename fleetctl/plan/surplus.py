"""What runs though its wish is gone: replicas beyond the wished number, and jobs that a person stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.plan.scene import replicas_of

if TYPE_CHECKING:
    from fleetctl.plan.draft import Draft


def stop_surplus(draft: Draft) -> None:
    for job in draft.scene.jobs:
        wished = set(replicas_of(job))
        reason = f"{job.name} is stopped" if job.stopped else f"surplus: {job.replicas} of {job.name} are wished"
        for replica in draft.scene.copies:
            if replica.job == job.name and replica not in wished:
                for copy in draft.live(replica):
                    draft.stop(job, copy, reason)
