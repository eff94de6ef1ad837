"""What runs and is due to be replaced, for whatever cause, under the job's one budget: for free where nothing is up, by
surge where a second copy fits, else stop-first on its own host."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from fleetctl.model.desired import WantedJob
from fleetctl.model.plan import HeldKind
from fleetctl.model.replica import ReplicaName
from fleetctl.plan.budget import Budget
from fleetctl.plan.crashing import bad_on, bad_release
from fleetctl.plan.due import Cause, Due
from fleetctl.plan.missing import place_homeless
from fleetctl.plan.place import Wanted, best_host, obstacle, why_nowhere
from fleetctl.plan.scene import Standing, replicas_of, runs_like

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetctl.plan.draft import Draft
    from fleetctl.plan.scene import Copy


@dataclass(slots=True)
class Lane:
    """One job's rollout: those of its replicas that are up and still to be replaced."""

    job: WantedJob
    queue: list[ReplicaName]
    why_not: dict[ReplicaName, tuple[HeldKind, str]] = field(default_factory=dict)


def replace_what_is_down(draft: Draft) -> bool:
    """What is due of replicas that are down anyway: replaced all at once, outside any budget. Says whether there was
    any for which there is room."""
    replaced = False
    for job, live, due, wanted in _due_and_down(draft):
        host = _host_once_gone(draft, live, wanted)
        if host is not None:
            for copy in live:
                draft.stop(job, copy, f"{copy} is not ready, and {_wish(due)}")
            draft.start(wanted, host, due.why)
            replaced = True
    return replaced


def _due_and_down(draft: Draft) -> Iterator[tuple[WantedJob, tuple[Copy, ...], Due, Wanted]]:
    for job in draft.scene.jobs:
        for replica in replicas_of(job):
            live, due = draft.live(replica), draft.due.get(replica)
            if due is not None and live and replica in draft.down and replica not in draft.crossing:
                yield job, live, due, _wanted(job, due, live)


def roll_forward(draft: Draft) -> None:
    """Rounds of replacements, each finished before the next begins, as many as it takes."""
    lanes = [Lane(job, queue) for job in draft.scene.jobs if (queue := _queue(draft, job)) or job.rolls]
    for lane in lanes:
        _stall(draft, lane)
        _leave_what_failed(draft, lane)
    while True:
        draft.next_round()
        rolled = [_roll_some(draft, lane) for lane in lanes]
        if not any((*rolled, replace_what_is_down(draft), place_homeless(draft))):
            break
    for lane in lanes:
        _hold_rest(draft, lane)
    for _, _, due, wanted in _due_and_down(draft):
        why = why_nowhere(draft.scene, draft.board, wanted)
        draft.blocked[wanted.replica] = f"no host has room ({why})"
        if due.cause is not Cause.DRAIN:
            draft.hold(wanted.replica, HeldKind.NO_ROOM, f"{wanted.replica} keeps what it has: {why}")


def _queue(draft: Draft, job: WantedJob) -> list[ReplicaName]:
    """Those that are up. What was left behind comes first: nothing else is started on its host before."""
    found = [
        replica
        for replica in replicas_of(job)
        if replica in draft.due and any(copy.is_ready for copy in draft.live(replica)) and replica not in draft.crossing
    ]
    return sorted(found, key=lambda replica: (draft.due[replica].cause is not Cause.BEHIND, replica))


def _stall(draft: Draft, lane: Lane) -> None:
    """One new instance of the wished release, or of a restart, that does not get ready is enough: the others keep
    what works."""
    job, scene = lane.job, draft.scene
    restarted = None
    for replica in replicas_of(job):
        for copy in scene.of_replica(replica):
            failed = str(copy.name) in scene.failed.gates and copy.standing is Standing.ORDERLY
            if not failed or copy.row.ever_ready:
                continue
            if runs_like(job, copy.row, job.release):
                draft.stalled.setdefault(job.name, f"{copy} of release {copy.row.release} did not get ready")
            if job.fresh_from is not None and copy.name.epoch >= job.fresh_from:
                restarted = f"{copy} did not get ready"
    wished = [r for r in lane.queue if job.rolls or draft.due[r].cause is Cause.BEHIND]
    if job.name in draft.stalled and wished:
        _leave(draft, lane, wished, f"{_names(wished)} of {job.name} keep what they run", draft.stalled[job.name])
    fresh = [r for r in lane.queue if draft.due[r].cause is Cause.RESTART]
    if restarted is not None and fresh:
        _leave(draft, lane, fresh, f"{_names(fresh)} of {job.name} are not restarted", restarted)


def _leave(draft: Draft, lane: Lane, replicas: list[ReplicaName], what: str, why: str) -> None:
    draft.hold(lane.job.name, HeldKind.STALLED_ROLLOUT, f"{what}: {why}")
    draft.blocked.update(dict.fromkeys(replicas, why))
    lane.queue = [replica for replica in lane.queue if replica not in replicas]


def _leave_what_failed(draft: Draft, lane: Lane) -> None:
    """What is moved off a drained host for nobody's new release is tried once a run, and not at all where its release
    is known to be bad."""
    for replica in [r for r in lane.queue if draft.due[r].cause is Cause.DRAIN]:
        newest = draft.live(replica)[0]
        release = draft.due[replica].release
        failed = [
            copy
            for copy in draft.scene.of_replica(replica)
            if copy.name.epoch > newest.name.epoch and str(copy.name) in draft.scene.failed.gates
        ]
        bad = bad_on(draft.scene, lane.job, replica, release)
        if failed or bad:
            lane.queue.remove(replica)
            draft.blocked[replica] = (
                f"{failed[0]} did not get ready" if failed else bad_release(lane.job, replica, release, bad)
            )


def _roll_some(draft: Draft, lane: Lane) -> bool:
    """Books as many replacements as may be in transition at a time; says whether there were any."""
    job, scene = lane.job, draft.scene
    budget = Budget.of(job, draft.down_of(job.name))
    crossing = sum(replica.job == job.name for replica in draft.crossing)
    moving = stopped_first = 0
    for replica in tuple(lane.queue):
        live, due = draft.live(replica), draft.due[replica]
        if moving + crossing >= budget.width:
            lane.why_not.setdefault(replica, (HeldKind.BUDGET, _used_by(draft, job, budget)))
            continue
        if not all(draft.can_stop(copy) for copy in live):
            lane.why_not[replica] = HeldKind.STUCK, "its instance could not be stopped in this run"
            continue
        wanted = _wanted(job, due, live)
        if (host := best_host(scene, draft.board, wanted)) is not None:
            draft.start(wanted, host, due.why)
            for copy in live:
                draft.retire(job, copy, f"replaced by {replica}@{scene.generation} once that is ready")
        elif (why := _why_not_stop_first(draft, live, due, wanted, budget, stopped_first)) is not None:
            lane.why_not[replica] = why
            continue
        else:
            stopped_first += 1
            for copy in live:
                draft.stop(job, copy, f"makes room for {_successor(due)}: a second copy fits nowhere")
            draft.start(wanted, live[0].host, due.why)
        moving += 1
        lane.queue.remove(replica)
    return moving > 0


def _why_not_stop_first(
    draft: Draft, live: tuple[Copy, ...], due: Due, wanted: Wanted, budget: Budget, stopped_first: int
) -> tuple[HeldKind, str] | None:
    """Why its own host can't take the new instance after the old has gone, within the budget; or nothing."""
    nowhere, own = why_nowhere(draft.scene, draft.board, wanted), live[0].host
    if due.cause is Cause.DRAIN:
        return HeldKind.CORDON, f"no host has room ({nowhere})"
    if budget.allowed == 0:
        return HeldKind.REFUSED, f"no host has room for a second copy ({nowhere}), and max_unavailable allows none down"
    for copy in live:
        draft.give_back(copy)
    short = obstacle(draft.scene, draft.board, wanted, own)
    for copy in live:
        draft.take_again(copy)
    if own in draft.scene.closed and own not in draft.scene.left:
        return (
            HeldKind.CORDON,
            f"a second copy fits nowhere ({nowhere}), and {own} takes no new one: fleetctl uncordon {own}",
        )
    if short:
        return HeldKind.NO_ROOM, f"a second copy fits nowhere ({nowhere}), nor one instead of it on {own}"
    if stopped_first >= budget.left:
        return HeldKind.BUDGET, _used_by(draft, wanted.job, budget)
    return None


def _host_once_gone(draft: Draft, live: tuple[Copy, ...], wanted: Wanted) -> str | None:
    """The best host if these copies were stopped. The board is left as it was."""
    if not all(draft.can_stop(copy) for copy in live):
        return None
    for copy in live:
        draft.give_back(copy)
    host = best_host(draft.scene, draft.board, wanted)
    for copy in live:
        draft.take_again(copy)
    return host


def _hold_rest(draft: Draft, lane: Lane) -> None:
    """What is left in the lane, one line for each cause. What a drain waits for is told of its host."""
    job = lane.job
    causes: dict[tuple[HeldKind, str, str], list[ReplicaName]] = {}
    for replica in lane.queue:
        (kind, why), due = lane.why_not[replica], draft.due[replica]
        draft.blocked[replica] = why
        if due.cause is not Cause.DRAIN:
            causes.setdefault((kind, _cant(due), why), []).append(replica)
    for (kind, cant, why), replicas in causes.items():
        draft.hold(job.name, kind, f"{_names(replicas)} {cant}: {why}{_hint(kind, job)}")


def _hint(kind: HeldKind, job: WantedJob) -> str:
    more = job.release.spec.update.budget(job.replicas) + 1
    if kind is HeldKind.REFUSED:
        return ": set update.max_unavailable to 1, or give it a host with room"
    return f": bring those back first, or set update.max_unavailable to {more}" if kind is HeldKind.BUDGET else ""


def _used_by(draft: Draft, job: WantedJob, budget: Budget) -> str:
    causes = {
        **{r: draft.down[r] for r in budget.down},
        **{r: w for r, w in draft.crossing.items() if r.job == job.name},
    }
    listed = ", ".join(f"{replica} ({why})" for replica, why in sorted(causes.items()))
    return f"{budget} by {listed}" if listed else str(budget)


def _wanted(job: WantedJob, due: Due, live: tuple[Copy, ...]) -> Wanted:
    return Wanted(live[0].replica, job, due.release, own=live[0].host, stays=due.cause is Cause.RESTART)


def _wish(due: Due) -> str:
    match due.cause:
        case Cause.RELEASE | Cause.BEHIND:
            return f"release {due.release.number} is wished"
        case Cause.DRAIN:
            return "its host is drained"
        case Cause.RESTART:
            return "its job is restarted"
        case _:
            assert_never(due.cause)


def _successor(due: Due) -> str:
    return "its successor" if due.cause is Cause.RESTART else f"release {due.release.number}"


def _cant(due: Due) -> str:
    return "can't be restarted" if due.cause is Cause.RESTART else f"can't get release {due.release.number}"


def _names(replicas: list[ReplicaName]) -> str:
    return ", ".join(str(replica) for replica in sorted(replicas))
