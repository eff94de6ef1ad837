"""A deploy's new release, brought out under the budget: for free where nothing is up, by surge where a second copy
fits, else stop-first on its own host. Only jobs that this command deploys are rolled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetctl.model.desired import WantedJob
from fleetctl.model.plan import HeldKind
from fleetctl.model.replica import ReplicaName
from fleetctl.plan.budget import Budget
from fleetctl.plan.missing import place_homeless
from fleetctl.plan.place import Wanted, best_host, obstacle, why_nowhere
from fleetctl.plan.running import is_outdated
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
    """Outdated instances of replicas that are down anyway: replaced all at once, outside any budget. Says whether
    there were any for which there is room."""
    replaced = False
    for job, live, wanted in _outdated_and_down(draft):
        host = _host_once_gone(draft, live, wanted)
        if host is not None:
            for copy in live:
                draft.stop(job, copy, f"{copy} is not ready, and release {job.release.number} is wished")
            draft.start(wanted, host, _why_replaced(job, live[0]))
            replaced = True
    return replaced


def _outdated_and_down(draft: Draft) -> Iterator[tuple[WantedJob, tuple[Copy, ...], Wanted]]:
    for job in draft.scene.jobs:
        for replica in replicas_of(job) if job.rolls else ():
            live = draft.live(replica)
            free = replica in draft.down and replica not in draft.crossing
            if live and free and is_outdated(draft.scene, job, live[0]):
                yield job, live, Wanted(replica, job, job.release, own=live[0].host)


def roll_forward(draft: Draft) -> None:
    """Rounds of replacements, each finished before the next begins, as many as it takes."""
    lanes = [Lane(job, _queue(draft, job)) for job in draft.scene.jobs if job.rolls]
    for lane in lanes:
        _stall(draft, lane)
    while True:
        draft.next_round()
        rolled = [_roll_some(draft, lane) for lane in lanes]
        if not any((*rolled, replace_what_is_down(draft), place_homeless(draft))):
            break
    for lane in lanes:
        _hold_rest(draft, lane)
    for _, _, wanted in _outdated_and_down(draft):
        reason = f"{wanted.replica} keeps what it has: {why_nowhere(draft.scene, draft.board, wanted)}"
        draft.hold(wanted.replica, HeldKind.NO_ROOM, reason)


def _queue(draft: Draft, job: WantedJob) -> list[ReplicaName]:
    return [
        replica
        for replica in replicas_of(job)
        if (live := draft.live(replica))
        and any(copy.is_ready for copy in live)
        and replica not in draft.crossing
        and is_outdated(draft.scene, job, live[0])
    ]


def _stall(draft: Draft, lane: Lane) -> None:
    """One instance of the new release that does not get ready is enough: the others keep what works."""
    job = lane.job
    for replica in replicas_of(job):
        for copy in draft.scene.of_replica(replica):
            failed = str(copy.name) in draft.scene.failed.gates and copy.standing is Standing.ORDERLY
            if failed and not copy.row.ever_ready and runs_like(job, copy.row, job.release):
                draft.stalled.setdefault(job.name, f"{copy} of release {copy.row.release} did not get ready")
    if job.name in draft.stalled and lane.queue:
        draft.hold(
            job.name,
            HeldKind.STALLED_ROLLOUT,
            f"{_names(lane.queue)} of {job.name} keep what they run: {draft.stalled[job.name]}",
        )
        lane.queue.clear()


def _roll_some(draft: Draft, lane: Lane) -> bool:
    """Books as many replacements as may be in transition at a time; says whether there were any."""
    job, scene = lane.job, draft.scene
    budget = Budget.of(job, draft.down_of(job.name))
    crossing = sum(replica.job == job.name for replica in draft.crossing)
    moving = stopped_first = 0
    for replica in tuple(lane.queue):
        if moving + crossing >= budget.width:
            lane.why_not.setdefault(replica, (HeldKind.BUDGET, _used_by(draft, job, budget)))
            continue
        live = draft.live(replica)
        if not all(draft.can_stop(copy) for copy in live):
            lane.why_not[replica] = HeldKind.STUCK, "its instance could not be stopped in this run"
            continue
        wanted = Wanted(replica, job, job.release, own=live[0].host)
        if (host := best_host(scene, draft.board, wanted)) is not None:
            draft.start(wanted, host, _why_replaced(job, live[0]))
            for copy in live:
                draft.retire(job, copy, f"replaced by {replica}@{scene.generation} once that is ready")
        elif (why := _why_not_stop_first(draft, live, wanted, budget, stopped_first)) is not None:
            lane.why_not[replica] = why
            continue
        else:
            stopped_first += 1
            for copy in live:
                draft.stop(job, copy, f"makes room for release {job.release.number}: a second copy fits nowhere")
            draft.start(wanted, live[0].host, _why_replaced(job, live[0]))
        moving += 1
        lane.queue.remove(replica)
    return moving > 0


def _why_not_stop_first(
    draft: Draft, live: tuple[Copy, ...], wanted: Wanted, budget: Budget, stopped_first: int
) -> tuple[HeldKind, str] | None:
    """Why its own host can't take the new instance after the old has gone, within the budget; or nothing."""
    nowhere = why_nowhere(draft.scene, draft.board, wanted)
    if budget.allowed == 0:
        return HeldKind.REFUSED, f"no host has room for a second copy ({nowhere}), and max_unavailable allows none down"
    for copy in live:
        draft.give_back(copy)
    short = obstacle(draft.scene, draft.board, wanted, live[0].host)
    for copy in live:
        draft.take_again(copy)
    if short:
        return HeldKind.NO_ROOM, f"a second copy fits nowhere ({nowhere}), nor one instead of it on {live[0].host}"
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
    """What is left in the lane, one line for each cause."""
    job = lane.job
    causes: dict[tuple[HeldKind, str], list[ReplicaName]] = {}
    for replica in lane.queue:
        causes.setdefault(lane.why_not[replica], []).append(replica)
    for (kind, why), replicas in causes.items():
        hint = _hint(kind, job)
        draft.hold(job.name, kind, f"{_names(replicas)} can't get release {job.release.number}: {why}{hint}")


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


def _why_replaced(job: WantedJob, copy: Copy) -> str:
    if runs_like(job, copy.row, job.release):
        return f"{copy} may not be there any more: hosts {job.release.spec.hosts!r} and constraints have changed"
    return f"{copy} runs release {copy.row.release}, release {job.release.number} is wished"


def _names(replicas: list[ReplicaName]) -> str:
    return ", ".join(str(replica) for replica in sorted(replicas))
