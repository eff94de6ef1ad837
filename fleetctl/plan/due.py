"""Which replicas that run are to be replaced, by which release and why. How and when is the rollout's business."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fleetctl.model.job import Release
from fleetctl.plan.behind import is_left_behind, is_trusted
from fleetctl.plan.crashing import bad_on
from fleetctl.plan.missing import nothing_works
from fleetctl.plan.place import is_allowed
from fleetctl.plan.scene import release_of, release_to_start, runs_like

if TYPE_CHECKING:
    from fleetctl.model.desired import WantedJob
    from fleetctl.plan.draft import Draft
    from fleetctl.plan.scene import Copy, Scene


class Cause(Enum):
    """Why a replica is replaced; the first that applies counts."""

    RELEASE = "a deploy of its job"
    BEHIND = "its host was silent when its job was deployed"
    DRAIN = "its host is drained"
    RESTART = "a restart of its job"


@dataclass(frozen=True, slots=True)
class Due:
    """What replaces a replica's copies."""

    cause: Cause
    release: Release
    why: str  # "web.1@41 on h3 runs release 1, release 2 is wished"


def is_outdated(scene: Scene, job: WantedJob, copy: Copy) -> bool:
    """Whether a deploy replaces it: another release, or a host where the wish does not let it be. While the inventory
    is in doubt, what is on hosts gone from it stays."""
    if copy.host in scene.desired.gone and copy.host not in scene.left:
        return False
    return not runs_like(job, copy.row, job.release) or not is_allowed(scene, job, copy.host)


def due(draft: Draft, job: WantedJob, live: tuple[Copy, ...]) -> Due | None:
    """What the replica with these living copies, newest first, is to be replaced by, if at all. What the limit
    freezes is not: its older copy could not be stopped."""
    found = _due(draft, job, live)
    if found is not None and any(draft.scene.is_frozen(copy.host) for copy in live):
        draft.freeze(live[0].replica)
        return None
    return found


def cause_of(draft: Draft, job: WantedJob, copy: Copy) -> Cause | None:
    """Why this copy, were it the newest of its replica, would be replaced."""
    scene = draft.scene
    if job.rolls and is_outdated(scene, job, copy):
        return Cause.RELEASE
    if is_left_behind(draft, job, copy) and is_trusted(draft, job, copy.replica):
        return Cause.BEHIND
    if copy.host in scene.left:
        return Cause.DRAIN
    if job.fresh_from is not None and copy.name.epoch < job.fresh_from:
        return Cause.RESTART
    return None


def _due(draft: Draft, job: WantedJob, live: tuple[Copy, ...]) -> Due | None:
    newest = live[0]
    cause, number = cause_of(draft, job, newest), job.release.number
    if cause is None:
        return None
    if cause is Cause.RELEASE:
        return Due(cause, job.release, _why_released(job, newest))
    if cause is Cause.BEHIND:
        runs = f"{newest} runs release {newest.row.release}, left behind while {newest.host} was silent"
        return Due(cause, job.release, f"{runs}: release {number} is wished")
    if nothing_works(draft, job, newest.replica):
        return None  # what a good release, or another host, is to bring back
    release = _running(job, live)
    if not any(copy.is_ready for copy in live) and bad_on(draft.scene, job, newest.replica, release):
        return None
    if cause is Cause.DRAIN:
        return Due(cause, release, f"{newest} leaves its host, {draft.scene.left[newest.host]}")
    return Due(cause, release, f"{newest} is restarted")


def _running(job: WantedJob, live: tuple[Copy, ...]) -> Release:
    """What replaces a copy without rolling: the release that serves, else what runs, where that is known."""
    if job.rolls:
        return job.release
    serving = next((copy for copy in live if copy.is_ready), live[0])
    return release_of(job, serving.row) or release_to_start(job)


def _why_released(job: WantedJob, copy: Copy) -> str:
    if runs_like(job, copy.row, job.release):
        return f"{copy} may not be there any more: hosts {job.release.spec.hosts!r} and constraints have changed"
    return f"{copy} runs release {copy.row.release}, release {job.release.number} is wished"
