"""What already runs, replica by replica: who is up, who is awaited, who keeps others waiting. Starts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from fleetctl.model.plan import HeldKind
from fleetctl.model.snapshot import Phase
from fleetctl.plan.crashing import bad_on, bad_release, crashes_with_others, moves_off
from fleetctl.plan.draft import ready_for_s
from fleetctl.plan.due import Cause, cause_of, due, is_outdated
from fleetctl.plan.scene import release_of, replicas_of, runs_like

if TYPE_CHECKING:
    from fleetctl.model.desired import WantedJob
    from fleetctl.model.replica import ReplicaName
    from fleetctl.plan.draft import Draft
    from fleetctl.plan.scene import Copy, Scene


def keep_running(draft: Draft) -> None:
    """Notes where each replica is and whether it is up; awaits what is starting, then stops what that replaced."""
    for job in draft.scene.jobs:
        for replica in replicas_of(job):
            live = _without_useless(draft, job, draft.live(replica))
            unknown = tuple(copy for copy in draft.scene.of_replica(replica) if copy.is_unknown)
            if live:
                _keep(draft, job, replica, live, unknown)
            elif unknown:
                draft.board.settle(replica, unknown[0].host)
                draft.miss(job, replica, f"unknown: {unknown[0].host} {_why_unknown(draft.scene, unknown[0].host)}")


def _why_unknown(scene: Scene, host: str) -> str:
    return "is driven by a newer fleetctl" if host in scene.snapshot.refusing() else "is suspect"


def _without_useless(draft: Draft, job: WantedJob, live: tuple[Copy, ...]) -> tuple[Copy, ...]:
    """Stops what is to be replaced and is not ready, beside an older copy that is ready, or of the wished release."""
    while (
        len(live) > 1
        and not live[0].is_ready
        and (cause := cause_of(draft, job, live[0])) is not None
        and any(
            copy.is_ready or (cause is Cause.RELEASE and not is_outdated(draft.scene, job, copy)) for copy in live[1:]
        )
        and draft.can_stop(live[0])
    ):
        draft.stop(job, live[0], f"it is not ready, {_beside(cause, job)}")
        live = live[1:]
    return live


def _beside(cause: Cause, job: WantedJob) -> str:
    match cause:
        case Cause.RELEASE | Cause.BEHIND:
            return f"and release {job.release.number} is wished now"
        case Cause.DRAIN:
            return "its host is drained, and an older copy serves"
        case Cause.RESTART:
            return "its job is restarted, and an older copy serves"
        case _:
            assert_never(cause)


def _keep(
    draft: Draft, job: WantedJob, replica: ReplicaName, live: tuple[Copy, ...], unknown: tuple[Copy, ...]
) -> None:
    newest = live[0]
    draft.board.settle(replica, newest.host)
    if (found := due(draft, job, live)) is not None:
        draft.due[replica] = found
    newer_unknown = [copy for copy in unknown if copy.name.epoch > newest.name.epoch]
    if newer_unknown:
        draft.crossing[replica] = f"unknown: {newer_unknown[0]}"
    if newest.is_ready:
        if _settles_goodness(draft, job, newest):
            draft.gate(job, job.release, newest.host, newest.name, job.release.spec.update.deadline_s)
        return
    if not any(copy.is_ready for copy in live):
        draft.down[replica] = f"{newest} is not ready"
    frozen = any(draft.scene.is_frozen(copy.host) for copy in live)
    if found is None and (frozen or not moves_off(draft.scene, job, replica)):  # else replaced, by a later phase
        _await_or_tell(draft, job, live)


def _await_or_tell(draft: Draft, job: WantedJob, live: tuple[Copy, ...]) -> None:
    newest, older = live[0], live[1:]
    up = any(copy.is_ready for copy in live)
    patience_s, release = _patience_s(draft.scene, job, newest), release_of(job, newest.row)
    if not up and (bad := bad_on(draft.scene, job, newest.replica, release)):
        draft.hold(newest.replica, HeldKind.BAD_RELEASE, bad_release(job, newest.replica, release, bad))
        return
    if crashes_with_others(draft.scene, job, newest.replica):
        what = f"{newest} keeps crashing ({_state(newest)}), and {job.name} on other hosts too, so it is not moved"
        draft.hold(newest.name, HeldKind.NOT_READY, f"{what}: does something it needs fail? fleetctl logs {job.name}")
        return
    if patience_s > 0:
        # Ready at its last moment, it still has to stay so for a while.
        draft.gate(job, release, newest.host, newest.name, patience_s + ready_for_s(job, release))
        draft.rises(newest.replica)
        for copy in older:
            draft.retire(job, copy, f"superseded by {newest} once that is ready")
        return
    _hold_not_ready(draft, job, newest, older if up else ())


def _hold_not_ready(draft: Draft, job: WantedJob, newest: Copy, serving: tuple[Copy, ...]) -> None:
    row = newest.row
    what = f"{newest} is not ready ({_state(newest)})"
    if serving:
        draft.crossing[newest.replica] = f"{newest} is not ready"
        what += f"; {', '.join(str(copy) for copy in serving)} keeps running beside it"
    draft.hold(newest.name, HeldKind.NOT_READY, f"{what}: see fleetctl logs {job.name}")
    if not newest.was_ready and runs_like(job, row, job.release):
        draft.stalled.setdefault(job.name, f"{newest} of release {row.release} does not get ready")


def _state(copy: Copy) -> str:
    row = copy.row
    parts = [row.phase.value, row.last_exit or "", row.problem.detail if row.problem else row.reason]
    if not copy.was_ready:
        parts.insert(1, f"never ready in {row.age_s:.0f} s")
    return ", ".join(part for part in parts if part)


def _patience_s(scene: Scene, job: WantedJob, copy: Copy) -> float:
    """How long it is still awaited: a new one until its deadline; one that was ready before and starts again, as
    after its host's reboot, for as long as a new one."""
    deadline_s = job.release.spec.update.deadline_s
    if str(copy.name) in scene.failed.gates:
        return 0.0
    if not copy.was_ready:
        return max(0.0, deadline_s - copy.row.age_s)
    starts_again = copy.row.phase in (Phase.STARTING, Phase.WAITING) and copy.row.problem is None
    return deadline_s if starts_again else 0.0


def _settles_goodness(draft: Draft, job: WantedJob, copy: Copy) -> bool:
    """Whether awaiting a ready instance finishes what an interrupted deploy began: to know that its release is good."""
    remembered = draft.scene.memory.jobs.get(job.name)
    if remembered is None or job.release.number in remembered.good or str(copy.name) in draft.scene.failed.gates:
        return False
    if (copy.row.ready_for_s or 0.0) >= ready_for_s(job, job.release) or not runs_like(job, copy.row, job.release):
        return False
    newest = [live[0] for replica in replicas_of(job) if (live := draft.live(replica))]
    return job.rolls or all(runs_like(job, other.row, job.release) for other in newest)
