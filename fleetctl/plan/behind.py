"""Silent hosts that a deploy was told not to wait for: which they are, and what has to be done once they answer again.

A host is behind with a job while a copy of another release than the wished one is there, or was when last seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.snapshot import Unreachable
from fleetctl.plan.crashing import bad_on
from fleetctl.plan.scene import Standing, replicas_of, runs_like

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fleetctl.model.desired import WantedJob
    from fleetctl.model.replica import ReplicaName
    from fleetctl.plan.draft import Draft
    from fleetctl.plan.scene import Copy, Scene


def excused(draft: Draft) -> frozenset[str]:
    """The silent hosts, by name, at most so many as were allowed, that don't count against the budget of a deploy: of
    those alone that some replica is down for after the plan so far."""
    missed = {host for replica in draft.down for host in draft.missed.get(replica, ())}
    return frozenset(sorted(missed)[: draft.scene.desired.allow_unreachable])


def missed_on(scene: Scene, replica: ReplicaName) -> frozenset[str]:
    """The silent hosts for which a replica is down: where it may run, or the lost one that took it along, which had its
    newest copy. None where anything else is known of it."""
    copies = scene.of_replica(replica)
    unknown = frozenset(copy.host for copy in copies if copy.is_unknown)
    lost = copies and copies[0].standing is Standing.LOST and copies[0].row.phase.wants_to_run
    hosts = unknown or (frozenset({copies[0].host}) if lost else frozenset())
    silent = all(isinstance(scene.snapshot.hosts.get(host), Unreachable) for host in hosts)
    return hosts if silent and not any(copy.is_live for copy in copies) else frozenset()


def left_behind(scene: Scene, spared: Collection[str] = ()) -> dict[str, frozenset[str]]:
    """By host, the jobs that are to be brought up to date there: those that a deploy did not wait for, now or before,
    and of which something else than the wished release is there still. The whole truth after this look: a host
    without an entry is behind with nothing. `spared` are the silent hosts that this deploy does not wait for."""
    marked = {name for known in scene.memory.hosts.values() for name in known.behind}
    found: dict[str, set[str]] = {}
    for job in scene.jobs:
        if job.name not in marked and not (job.rolls and spared):
            continue
        for copy in _outdated(scene, job):
            known = scene.memory.hosts.get(copy.host)
            remembered = known is not None and job.name in known.behind
            if remembered or (job.rolls and copy.host in spared):
                found.setdefault(copy.host, set()).add(job.name)
    return {host: frozenset(found[host]) for host in sorted(found)}


def overdue(draft: Draft) -> dict[str, frozenset[ReplicaName]]:
    """By host, the replicas that have to be brought up to date there before anything else is started there. What a
    rollout that does not get on left behind, holds nothing up."""
    scene = draft.scene
    found: dict[str, set[ReplicaName]] = {}
    for job in scene.jobs:
        if not any(job.name in jobs for jobs in draft.behind.values()):
            continue
        for copy in _outdated(scene, job):
            there = copy in draft.live(copy.replica) and job.name in draft.behind.get(copy.host, ())
            if there and is_trusted(draft, job, copy.replica):
                found.setdefault(copy.host, set()).add(copy.replica)
    return {host: frozenset(found[host]) for host in sorted(found)}


def is_trusted(draft: Draft, job: WantedJob, replica: ReplicaName) -> bool:
    """Whether a heal may bring a replica up to date with the wished release: it is good, or its rollout came through
    everywhere else, and nothing of it fails."""
    if job.rolls:
        return True
    if job.name in draft.stalled or bad_on(draft.scene, job, replica, job.release):
        return False
    remembered = draft.scene.memory.jobs.get(job.name)
    if remembered is not None and job.release.number in remembered.good:
        return True
    newest = [live[0] for replica in replicas_of(job) if (live := draft.scene.live(replica))]
    return all(runs_like(job, copy.row, job.release) or job.name in draft.behind.get(copy.host, ()) for copy in newest)


def is_left_behind(draft: Draft, job: WantedJob, copy: Copy) -> bool:
    return job.name in draft.behind.get(copy.host, ()) and copy in _outdated(draft.scene, job)


def _outdated(scene: Scene, job: WantedJob) -> Iterator[Copy]:
    """Copies of its wished replicas that run, or may, are not like the wished release, and older than all of that: what
    a heal brought back since, it brought back with another release for good reason."""
    copies = [copy for replica in replicas_of(job) for copy in scene.of_replica(replica)]
    first = min((copy.name.epoch for copy in copies if copy.row.release == job.release.number), default=None)
    for copy in copies:
        older = first is None or copy.name.epoch < first
        if older and copy.row.phase.wants_to_run and not runs_like(job, copy.row, job.release):
            yield copy
