"""What a command wants, laid over what is remembered: pure, and the one place where wishes and memory meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetctl.errors import UsageError
from fleetctl.model.desired import Desired, WantedJob
from fleetctl.model.job import Digest, JobSpec, Release
from fleetctl.model.memory import Cordon, JobMemory, Memory, Wish

if TYPE_CHECKING:
    from fleetctl.model.host import HostSpec, Inventory
    from fleetctl.model.replica import Generation

Eligible = Callable[[str], tuple[str, ...]]  # a play's pattern -> the names of the hosts it matches now


@dataclass(frozen=True, slots=True)
class Build:
    """A job of a playbook with the digest of what it runs."""

    spec: JobSpec
    artifact: Digest | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a command changes; nothing at all for a heal.

    `owner` is the playbook of `deploys`. `prune` stops what is gone from it, `adopt` takes jobs that another owns.
    """

    deploys: tuple[Build, ...] = ()
    stops: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    restarts: tuple[str, ...] = ()
    scales: tuple[tuple[str, int], ...] = ()
    cordons: tuple[tuple[str, Cordon], ...] = ()  # drains among them
    uncordons: tuple[str, ...] = ()
    owner: str = ""
    prune: bool = False
    adopt: bool = False
    limit: frozenset[str] | None = None
    allow_unreachable: int = 0
    force: bool = False
    take_over: bool = False

    @property
    def rolls(self) -> frozenset[str]:
        return frozenset(build.spec.name for build in self.deploys)

    @property
    def forgives(self) -> frozenset[str]:
        """Jobs that a person gives another try: how they failed before counts no more."""
        return self.rolls | {*self.starts, *self.restarts}


@dataclass(frozen=True, slots=True)
class Wished:
    """Memory with the change laid over it, and what of it is new: all of it is written down with the first plan."""

    memory: Memory
    wishes: tuple[Wish, ...]
    releases: tuple[Release, ...]
    cordons: tuple[tuple[str, Cordon], ...] = ()
    uncordons: tuple[str, ...] = ()
    notices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by job: what of the old wish is undone
    forgiven: frozenset[str] = frozenset()  # jobs whose remembered failures count no more

    @property
    def is_new(self) -> bool:
        return bool(self.wishes or self.releases or self.cordons or self.uncordons or self.forgiven)


def lay_over(memory: Memory, change: Change) -> Wished:
    """Raises UsageError where a job that is named is not known, or is another playbook's, or is stopped and to be
    restarted."""
    jobs = dict(memory.jobs)
    notices: dict[str, list[str]] = {}
    releases = _deploy(jobs, change, notices)
    for job in change.stops:
        _rewish(jobs, job, stopped=True)
    for job in change.starts:
        _rewish(jobs, job, stopped=False)
    for job in change.restarts:
        _rewish(jobs, job)
        if jobs[job].wish.stopped:
            raise UsageError(f"{job} is stopped: there is nothing to restart", hint=f"fleetctl start {job}")
    for job, replicas in change.scales:
        _rewish(jobs, job, replicas=replicas, scaled=True)
    wishes = tuple(
        job.wish for name, job in sorted(jobs.items()) if name not in memory.jobs or memory.jobs[name].wish != job.wish
    )
    cordons, uncordons = _cordons(memory, change)
    cordoned = {**memory.cordons, **dict(cordons)}
    laid = replace(
        memory,
        jobs=jobs,
        cordons={name: cordon for name, cordon in sorted(cordoned.items()) if name not in uncordons},
        failures=tuple(failure for failure in memory.failures if failure.replica.job not in change.forgives),
    )
    said = {job: tuple(lines) for job, lines in notices.items()}
    forgiven = change.forgives & {failure.replica.job for failure in memory.failures}
    return Wished(laid, wishes, tuple(releases), cordons, uncordons, said, forgiven)


def _deploy(jobs: dict[str, JobMemory], change: Change, notices: dict[str, list[str]]) -> list[Release]:
    releases: list[Release] = []
    for build in change.deploys:
        name, known = build.spec.name, jobs.get(build.spec.name)
        _refuse_foreign(known, change)
        release, is_new = _release_for(build, known)
        if is_new:
            releases.append(release)
        wish = Wish(name, release.number, build.spec.replicas, owner=change.owner)
        said = notices.setdefault(name, [])
        if known is not None and known.wish.stopped and known.wish.orphan:
            said.append(f"{name} is back in {change.owner or 'a playbook'}: this deploy starts it")
        elif known is not None and known.wish.stopped:
            said.append(f"{name} was stopped by a person: this deploy starts it")
        if known is not None and known.wish.scaled and known.wish.replicas != wish.replicas:
            said.append(f"{name} was scaled to {known.wish.replicas} by a person: this deploy sets {wish.replicas}")
        all_releases = {**(known.releases if known else {}), release.number: release}
        jobs[name] = JobMemory(wish, all_releases, known.good if known else frozenset())
    if change.owner:
        _see_orphans(jobs, change)
    return releases


def _refuse_foreign(known: JobMemory | None, change: Change) -> None:
    """Raises UsageError for a job that another playbook owns. One that is gone from its own is free to be taken."""
    if known is None or change.adopt or known.wish.orphan or known.wish.owner in ("", change.owner):
        return
    raise UsageError(
        f"{known.wish.job}: this job is {known.wish.owner}'s, and {change.owner} has one of the same name",
        hint="give one of them another name; to move it over, or where this is the same playbook at a new place: "
        "deploy --adopt",
    )


def _see_orphans(jobs: dict[str, JobMemory], change: Change) -> None:
    """Jobs that this playbook deployed earlier and has no more."""
    for name, job in jobs.items():
        if job.wish.owner == change.owner and name not in change.rolls:
            stopped = job.wish.stopped or change.prune
            jobs[name] = replace(job, wish=replace(job.wish, orphan=True, stopped=stopped))


def _rewish(jobs: dict[str, JobMemory], job: str, **values: object) -> None:
    if job not in jobs:
        names = ", ".join(sorted(jobs)) or "none"
        raise UsageError(f"{job}: no such job in fleet; known are: {names}", hint="see: fleetctl status")
    jobs[job] = replace(jobs[job], wish=replace(jobs[job].wish, **values))  # type: ignore[arg-type]


def _cordons(memory: Memory, change: Change) -> tuple[tuple[tuple[str, Cordon], ...], tuple[str, ...]]:
    """What of them is new: a second cordon of the same kind changes nothing, one that drains adds to one that does
    not."""
    new = []
    for name, cordon in change.cordons:
        known = memory.cordons.get(name)
        if known is None or (cordon.drains and not known.drains):
            new.append((name, cordon))
    return tuple(new), tuple(sorted(name for name in change.uncordons if name in memory.cordons))


def _release_for(build: Build, known: JobMemory | None) -> tuple[Release, bool]:
    """The wished release where nothing changed, else a new one. Going back to an older content is a new release too."""
    if known is None:
        return Release(1, build.spec, build.artifact), True
    wished = known.releases[known.wish.release]
    if wished.spec == build.spec and wished.artifact == build.artifact:
        return wished, False
    return Release(max(known.releases) + 1, build.spec, build.artifact), True


def desired(
    wished: Wished, inventory: Inventory, eligible: Eligible, change: Change, fresh_from: Generation
) -> Desired:
    """The wishes of memory on the hosts of `inventory`, and on those that are gone from it and not forgotten.

    `fresh_from` is the first generation of this run: a restart replaces what is older.
    """
    jobs = []
    for name, job in sorted(wished.memory.jobs.items()):
        release = job.releases[job.wish.release]
        jobs.append(
            WantedJob(
                release=release,
                fallback=job.newest_good(),
                known=tuple(known for _, known in sorted(job.releases.items())),
                replicas=job.wish.replicas,
                stopped=job.wish.stopped,
                rolls=name in change.rolls,
                eligible=eligible(release.spec.hosts),
                fresh_from=fresh_from if name in change.restarts else None,
                orphan=job.wish.orphan,
                notices=wished.notices.get(name, ()),
                owner=job.wish.owner,
            )
        )
    gone = _gone(wished.memory, inventory)
    return Desired(
        inventory.fleet,
        (*inventory.hosts, *gone),
        tuple(jobs),
        change.force,
        frozenset(host.name for host in gone),
        change.limit,
        change.allow_unreachable,
    )


def _gone(memory: Memory, inventory: Inventory) -> tuple[HostSpec, ...]:
    """Hosts that are known, and how they were reached, but are in the inventory no more."""
    names = {host.name for host in inventory.hosts}
    return tuple(host.spec for name, host in sorted(memory.hosts.items()) if name not in names and host.spec)
