"""Replicas that run nowhere are placed, all at once: what is down can't be made worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.plan import HeldKind
from fleetctl.model.snapshot import Phase, ProblemKind
from fleetctl.plan.crashing import bad_on, bad_release, moves_off
from fleetctl.plan.place import Wanted, place_all, uncordoned, why_nowhere
from fleetctl.plan.room import PORT_FIRST, PORTS
from fleetctl.plan.scene import Standing, release_of, release_to_start, replicas_of, runs_like

if TYPE_CHECKING:
    from fleetctl.model.desired import WantedJob
    from fleetctl.model.job import Release
    from fleetctl.model.replica import ReplicaName
    from fleetctl.plan.draft import Draft
    from fleetctl.plan.scene import Copy

HOPELESS = (ProblemKind.EXIT_125, ProblemKind.NOT_EXECUTABLE)  # starting the same again gives the same


def place_missing(draft: Draft) -> None:
    """Starts what is missing; what finds no host is left in `draft.homeless`, for when a rollout has made room."""
    for job in draft.scene.jobs:
        for replica in replicas_of(job):
            if replica in draft.due or not nothing_works(draft, job, replica):
                continue
            if any(copy.is_unknown for copy in draft.scene.of_replica(replica)):
                continue
            if any(draft.scene.is_frozen(copy.host) for copy in draft.live(replica)):
                draft.freeze(replica)
                continue
            release = release_to_start(job)
            draft.board.unsettle(replica)
            draft.miss(job, replica, "keeps crashing" if draft.live(replica) else "not running")
            failed = _failed(draft, replica)
            if bad := bad_on(draft.scene, job, replica, release):
                draft.hold(replica, HeldKind.BAD_RELEASE, bad_release(job, replica, release, bad))
            elif failed is not None and (why := _why_not_again(draft, job, failed, release)):
                kind, reason = why
                draft.hold(replica, kind, reason)
                draft.down[replica] = f"{failed} failed"
            else:
                draft.homeless.append(Wanted(replica, job, release, own=failed.host if failed else None))
    place_homeless(draft)


def place_homeless(draft: Draft) -> bool:
    """Starts those of them that now find a host; says whether any did."""
    placement = place_all(draft.scene, draft.board, draft.homeless)
    for wanted, host in placement.placed:
        live = draft.live(wanted.replica)
        draft.start(wanted, host, _why_missing(draft, wanted.replica))
        for copy in live:
            draft.retire(
                wanted.job, copy, f"superseded by {wanted.replica}@{draft.scene.generation} once that is ready"
            )
    draft.homeless = sorted(placement.unplaced, key=lambda wanted: wanted.replica)
    return bool(placement.placed)


def hold_homeless(draft: Draft) -> None:
    for wanted in draft.homeless:
        nowhere = why_nowhere(draft.scene, draft.board, wanted)
        failed = _failed(draft, wanted.replica)
        why = f" ({failed} failed: {_detail(failed)})" if failed is not None else ""
        cordons = uncordoned(draft.scene, draft.board, wanted)
        kind, hint = HeldKind.NO_ROOM, "take one replica off, or bring back or add a host with room"
        if cordons:
            kind, hint = HeldKind.CORDON, f"fleetctl uncordon {cordons[0]}, or bring back or add a host with room"
        draft.hold(wanted.replica, kind, f"{wanted.replica} has no host: {nowhere}{why}: {hint}")


def nothing_works(draft: Draft, job: WantedJob, replica: ReplicaName) -> bool:
    """Whether nothing runs of it, or only what a stalled rollout left there: never ready within its deadline, while
    the older one that served beside it is lost. That one is brought back; a heal replaces nothing else that runs."""
    scene, target = draft.scene, release_to_start(job)
    live = draft.live(replica)
    if not live or moves_off(scene, job, replica):
        return True
    served = [copy for copy in scene.of_replica(replica) if copy.standing is Standing.LOST]
    if job.rolls or not any(runs_like(job, copy.row, target) for copy in served):
        return False
    deadline_s = job.release.spec.update.deadline_s
    return not any(
        copy.is_ready
        or copy.row.ever_ready
        or runs_like(job, copy.row, target)
        or (copy.row.age_s < deadline_s and str(copy.name) not in scene.failed.gates)
        for copy in live
    )


def _failed(draft: Draft, replica: ReplicaName) -> Copy | None:
    """The replica's newest instance where that ended for good by itself."""
    seen = [copy for copy in draft.scene.of_replica(replica) if copy.standing is not Standing.UNKNOWN]
    newest = seen[0] if seen else None
    ended = newest is not None and newest.standing is Standing.ORDERLY and newest.row.phase is Phase.FAILED
    return newest if ended else None


def _why_not_again(draft: Draft, job: WantedJob, failed: Copy, release: Release) -> tuple[HeldKind, str] | None:
    """Why a failed instance is not simply replaced, or nothing."""
    problem, detail = failed.row.problem, _detail(failed)
    if str(failed.name) in draft.scene.failed.gates and not _another_port_may_help(failed):
        return HeldKind.FAILED_BEFORE, f"{failed} failed in this run ({detail}): see fleetctl logs {job.name}"
    before = release_of(job, failed.row)
    same = before is not None and before.runs_like(release)
    if not job.rolls and same and problem is not None and problem.kind in HOPELESS:
        return HeldKind.FAILED, f"{failed} failed for good ({detail}): mend it, then deploy"
    return None


def _detail(failed: Copy) -> str:
    row = failed.row
    return row.problem.detail if row.problem else row.last_exit or row.reason


def _another_port_may_help(failed: Copy) -> bool:
    problem = failed.row.problem
    if problem is None or problem.kind is not ProblemKind.PORT_TAKEN:
        return False
    handed_out = range(PORT_FIRST, PORT_FIRST + PORTS)
    ports = [problem.port] if problem.port is not None else [number for _, number in failed.row.ports]
    return all(port in handed_out for port in ports)


def _why_missing(draft: Draft, replica: ReplicaName) -> str:
    copies = draft.scene.of_replica(replica)
    lost = sorted({copy.host for copy in copies if copy.standing is Standing.LOST})
    if lost:
        return f"{replica} was on {lost[0]}, which is lost: {draft.scene.evidence(lost[0])}"
    if copies and copies[0].row.phase is Phase.FAILED:
        return f"{copies[0]} failed: {_detail(copies[0])}"
    if live := draft.live(replica):
        return f"{live[0]} keeps crashing there ({_detail(live[0])})"
    return f"{replica} is wished and runs nowhere"
