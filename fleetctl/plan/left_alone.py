"""What a plan leaves alone, and why: for whoever asks at 3 a.m. why nothing happens. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.plan import Held, HeldKind
from fleetctl.model.snapshot import Phase
from fleetctl.plan.behind import is_left_behind, is_trusted
from fleetctl.plan.leaving import truncated
from fleetctl.plan.scene import Standing, replicas_of, runs_like
from fleetctl.plan.verdicts import common_causes

if TYPE_CHECKING:
    from fleetctl.model.desired import WantedJob
    from fleetctl.plan.draft import Draft
    from fleetctl.plan.scene import Copy, Scene


def tell_what_is_left_alone(draft: Draft) -> None:
    scene = draft.scene
    draft.held += common_causes(scene.desired, scene.verdicts, scene.memory, scene.now)
    copies = [copy for some in scene.copies.values() for copy in some]
    _tell_unknown(draft, copies)
    _tell_stuck(draft, copies)
    for job in scene.jobs:
        _tell_frozen(draft, job)
        _tell_stalled(draft, job)
        _tell_owner(draft, job)
    _tell_drains(draft)
    _tell_unwished(draft, copies)


def _tell_unknown(draft: Draft, copies: list[Copy]) -> None:
    scene = draft.scene
    draft.held += who_refuse_us(scene)
    unknown = {host for host, standing in scene.standing.items() if standing is Standing.UNKNOWN}
    for host in sorted(unknown - set(scene.snapshot.refusing())):
        there = [str(copy.name) for copy in copies if copy.host == host and copy.is_unknown]
        if there:
            draft.hold(host, HeldKind.SUSPECT, _why_suspect(scene, host, ", ".join(there)))
    for host in sorted(host for host, standing in scene.standing.items() if standing is Standing.FOREIGN):
        fleet = scene.report(host).report.fleet
        draft.hold(host, HeldKind.FAILED, f"{host}'s root belongs to the fleet {fleet!r}: nothing is done there")


def who_refuse_us(scene: Scene) -> list[Held]:
    """One for each host that a newer fleetctl drives, whatever runs there: it is theirs to heal."""
    held = []
    for host, seen in scene.snapshot.refusing().items():
        copies = [copy for some in scene.copies.values() for copy in some if copy.host == host and copy.is_unknown]
        names = ", ".join(str(copy.name) for copy in copies)
        there = f": {names} there left alone, and not replaced" if names else ""
        held.append(Held(host, HeldKind.NEWER, f"{host} is {seen.error}{there}; {seen.hint}"))
    return held


def _why_suspect(scene: Scene, host: str, there: str) -> str:
    if host in scene.specs and host not in scene.desired.gone:
        return f"{host} is suspect: {scene.evidence(host)}: {there} there left alone, and not replaced"
    seen = f"suspect: {scene.evidence(host)}" if host in scene.specs else "not looked at"
    return (
        f"{host} is gone from the inventory and {seen}: {there} may still run there, and is not replaced: "
        f"if it is no more: fleetctl hosts --forget {host}"
    )


def _tell_stuck(draft: Draft, copies: list[Copy]) -> None:
    for copy in copies:
        if copy.standing is Standing.ORDERLY and copy.row.phase is Phase.STUCK:
            pids = ", ".join(str(stuck.pid) for stuck in copy.row.stuck) or "unknown"
            reason = f"{copy} can't be ended (pids {pids}): it keeps its room and ports; reboot {copy.host}"
            draft.hold(copy.name, HeldKind.STUCK, reason)


def _tell_frozen(draft: Draft, job: WantedJob) -> None:
    names = ", ".join(str(replica) for replica in sorted(draft.frozen) if replica.job == job.name)
    if names:
        draft.hold(job.name, HeldKind.LIMIT, f"{names} stay as they are: outside --limit")


def _tell_stalled(draft: Draft, job: WantedJob) -> None:
    """A heal that finds or starts another release than the wished: a person's next deploy has to go on. What was left
    behind on a silent host is brought up to date without one."""
    if job.rolls or job.stopped:
        return
    another = [
        replica
        for replica in replicas_of(job)
        if any(
            not runs_like(job, copy.row, job.release) and not _will_catch_up(draft, job, copy)
            for copy in draft.live(replica)
        )
    ]
    brought_back = [
        start.instance.replica
        for each in draft.rounds
        for start in each.starts
        if start.instance.job == job.name and start.release not in _like_the_wished(job)
    ]
    if another or brought_back:
        names = ", ".join(str(replica) for replica in sorted({*another, *brought_back}))
        reason = f"release {job.release.number} of {job.name} is wished, but another runs for {names}: deploy again"
        draft.hold(job.name, HeldKind.STALLED_ROLLOUT, reason)


def _will_catch_up(draft: Draft, job: WantedJob, copy: Copy) -> bool:
    """Left behind on a silent host, or on one that is brought up to date now."""
    silent = copy.standing is not Standing.ORDERLY
    return is_left_behind(draft, job, copy) and (silent or is_trusted(draft, job, copy.replica))


def _like_the_wished(job: WantedJob) -> set[int]:
    return {known.number for known in (*job.known, job.release) if known.runs_like(job.release)}


def _tell_owner(draft: Draft, job: WantedJob) -> None:
    if job.orphan and not job.stopped:
        owner = job.owner or "its playbook"
        draft.hold(
            job.name, HeldKind.ORPHAN, f"{job.name} is gone from {owner} and still runs: deploy --prune stops it"
        )
    for notice in job.notices:
        draft.hold(job.name, HeldKind.NOTICE, notice)


def _tell_drains(draft: Draft) -> None:
    """For each copy that a drained host still has after the plan: why."""
    scene, wished = draft.scene, {job.name for job in draft.scene.jobs}
    if (why := truncated(scene.desired)) and not scene.desired.force:
        reason = f"{why}: that looks like half an inventory, so nothing is drained; if it is right: --force"
        draft.hold(scene.desired.fleet, HeldKind.TOO_MUCH_LOST, reason)
    for replica in scene.copies:
        live = draft.live(replica) if replica.job in wished else ()
        for copy in live:
            if copy.host in scene.left and replica not in draft.frozen:
                draft.hold(copy.host, HeldKind.CORDON, f"{copy.host} still has {copy.name}: {_why_stays(draft, copy)}")


def _why_stays(draft: Draft, copy: Copy) -> str:
    replica = copy.replica
    waits = draft.crossing.get(replica) or draft.down.get(replica)
    return draft.blocked.get(replica) or waits or "a newer copy of it is not ready yet"


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
