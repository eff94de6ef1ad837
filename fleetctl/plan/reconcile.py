"""From what is and what should be to a plan that leaves no choices, and says what it holds back.

The phases, in the order in which they matter; no phase reaches back. Pure: the same input gives the same plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.plan import Held, HeldKind, Plan
from fleetctl.model.snapshot import Phase
from fleetctl.plan.draft import Draft
from fleetctl.plan.fence import fence
from fleetctl.plan.missing import hold_homeless, place_missing
from fleetctl.plan.rollout import replace_what_is_down, roll_forward
from fleetctl.plan.running import keep_running
from fleetctl.plan.scene import Scene, Standing, release_to_start, replicas_of, runs_like
from fleetctl.plan.surplus import stop_surplus
from fleetctl.plan.verdicts import common_causes, too_much_lost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired, WantedJob
    from fleetctl.model.instant import Instant
    from fleetctl.model.memory import Memory
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict
    from fleetctl.plan.scene import Copy


def make_plan(
    desired: Desired, snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], memory: Memory, now: Instant
) -> Plan:
    """What to do so that the fleet is as desired, in stages, and what is not done and why."""
    scene = Scene.of(desired, snapshot, verdicts, memory, now)
    excess = too_much_lost(desired, verdicts, snapshot)
    if excess and not desired.force:
        return _nothing(scene, excess)
    draft = Draft.of(scene)
    fence(draft)
    stop_surplus(draft)
    keep_running(draft)
    place_missing(draft)
    replace_what_is_down(draft)
    roll_forward(draft)
    hold_homeless(draft)
    _tell_what_is_left_alone(draft)
    return draft.plan()


def refusals(
    desired: Desired, snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], memory: Memory
) -> tuple[str, ...]:
    """Why the wish can't be kept at all, for a command to refuse before it touches anything."""
    tight = [job for job in desired.jobs if job.rolls and job.release.spec.update.budget(job.replicas) == 0]
    if not tight:
        return ()
    plan = make_plan(desired, snapshot, verdicts, memory, snapshot.at)
    return tuple(held.reason for held in plan.held if held.kind is HeldKind.REFUSED)


def _nothing(scene: Scene, excess: str) -> Plan:
    reason = (
        f"{excess}: that looks like a common cause, or our own network, so nothing is moved; "
        "if they are really gone: --force"
    )
    held = Held(scene.desired.fleet, HeldKind.TOO_MUCH_LOST, reason)
    return Plan(scene.generation, (), (held,), dict(sorted(scene.verdicts.items())))


def _tell_what_is_left_alone(draft: Draft) -> None:
    scene = draft.scene
    draft.held += common_causes(scene.desired, scene.verdicts, scene.memory, scene.now)
    copies = [copy for some in scene.copies.values() for copy in some]
    for host in sorted(host for host, standing in scene.standing.items() if standing is Standing.UNKNOWN):
        there = [str(copy.name) for copy in copies if copy.host == host and copy.is_unknown]
        if there:
            draft.hold(host, HeldKind.SUSPECT, _why_suspect(scene, host, ", ".join(there)))
    for host in sorted(host for host, standing in scene.standing.items() if standing is Standing.FOREIGN):
        fleet = scene.report(host).report.fleet
        draft.hold(host, HeldKind.FAILED, f"{host}'s root belongs to the fleet {fleet!r}: nothing is done there")
    for copy in copies:
        if copy.standing is Standing.ORDERLY and copy.row.phase is Phase.STUCK:
            pids = ", ".join(str(pid) for pid in copy.row.stuck_pids) or "unknown"
            reason = f"{copy} can't be ended (pids {pids}): it keeps its room and ports; reboot {copy.host}"
            draft.hold(copy.name, HeldKind.STUCK, reason)
    for job in scene.jobs:
        _tell_stalled(draft, job)
    _tell_unwished(draft, copies)


def _why_suspect(scene: Scene, host: str, there: str) -> str:
    if host not in scene.specs:
        return (
            f"{host} is gone from the inventory and not looked at: {there} may still run there, and is not replaced: "
            f"put {host} back, exclude it from the play's hosts and deploy; then take it out"
        )
    return f"{host} is suspect: {scene.evidence(host)}: {there} there left alone, and not replaced"


def _tell_stalled(draft: Draft, job: WantedJob) -> None:
    """A heal that finds or starts another release than the wished: a person's next deploy has to go on."""
    if job.rolls or job.stopped:
        return
    behind = [
        replica
        for replica in replicas_of(job)
        if any(not runs_like(job, copy.row, job.release) for copy in draft.live(replica))
    ]
    brought_back = [
        start.instance.replica
        for each in draft.rounds
        for start in each.starts
        if start.instance.job == job.name and not release_to_start(job).runs_like(job.release)
    ]
    if behind or brought_back:
        names = ", ".join(str(replica) for replica in sorted({*behind, *brought_back}))
        reason = f"release {job.release.number} of {job.name} is wished, but another runs for {names}: deploy again"
        draft.hold(job.name, HeldKind.STALLED_ROLLOUT, reason)


def _tell_unwished(draft: Draft, copies: list[Copy]) -> None:
    wished = {job.name for job in draft.scene.jobs}
    hosts: dict[str, set[str]] = {}
    for copy in copies:
        if copy.is_live and copy.replica.job not in wished:
            hosts.setdefault(copy.replica.job, set()).add(copy.host)
    for job, where in sorted(hosts.items()):
        draft.hold(
            job, HeldKind.UNWISHED, f"{job} runs on {', '.join(sorted(where))}, but no wish names it: left alone"
        )
