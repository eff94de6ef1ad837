"""What a command wants, laid over what is remembered: pure, and the one place where wishes and memory meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleetctl.errors import UsageError
from fleetctl.model.desired import Desired, WantedJob
from fleetctl.model.job import Digest, JobSpec, Release
from fleetctl.model.memory import JobMemory, Memory, Wish

if TYPE_CHECKING:
    from fleetctl.model.host import Inventory

Eligible = Callable[[str], tuple[str, ...]]  # a play's pattern -> the names of the hosts it matches now


@dataclass(frozen=True, slots=True)
class Build:
    """A job of a playbook with the digest of what it runs."""

    spec: JobSpec
    artifact: Digest | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a command changes: jobs deployed, jobs stopped; nothing at all for a heal."""

    deploys: tuple[Build, ...] = ()
    stops: tuple[str, ...] = ()
    force: bool = False

    @property
    def rolls(self) -> frozenset[str]:
        return frozenset(build.spec.name for build in self.deploys)


@dataclass(frozen=True, slots=True)
class Wished:
    """Memory with the change laid over it, and what of it is new: both are written down with the first plan."""

    memory: Memory
    wishes: tuple[Wish, ...]
    releases: tuple[Release, ...]


def lay_over(memory: Memory, change: Change) -> Wished:
    """Raises UsageError where a job that should stop is not known."""
    jobs = dict(memory.jobs)
    releases: list[Release] = []
    for build in change.deploys:
        known = jobs.get(build.spec.name)
        release, is_new = _release_for(build, known)
        wish = Wish(build.spec.name, release.number, build.spec.replicas)
        if is_new:
            releases.append(release)
        all_releases = {**(known.releases if known else {}), release.number: release}
        jobs[build.spec.name] = JobMemory(wish, all_releases, known.good if known else frozenset())
    for job in change.stops:
        if job not in jobs:
            names = ", ".join(sorted(jobs)) or "none"
            raise UsageError(f"{job}: no such job in fleet; known are: {names}", hint="see: fleetctl status")
        jobs[job] = replace(jobs[job], wish=replace(jobs[job].wish, stopped=True))
    wishes = tuple(
        job.wish for name, job in sorted(jobs.items()) if name not in memory.jobs or memory.jobs[name].wish != job.wish
    )
    return Wished(replace(memory, jobs=jobs), wishes, tuple(releases))


def _release_for(build: Build, known: JobMemory | None) -> tuple[Release, bool]:
    """The wished release where nothing changed, else a new one. Going back to an older content is a new release too."""
    if known is None:
        return Release(1, build.spec, build.artifact), True
    wished = known.releases[known.wish.release]
    if wished.spec == build.spec and wished.artifact == build.artifact:
        return wished, False
    return Release(max(known.releases) + 1, build.spec, build.artifact), True


def desired(memory: Memory, inventory: Inventory, eligible: Eligible, change: Change) -> Desired:
    """The wishes of `memory` on the hosts of `inventory`. Raises UsageError where a job's pattern matches nothing."""
    jobs = []
    for name, job in sorted(memory.jobs.items()):
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
            )
        )
    return Desired(inventory.fleet, inventory.hosts, tuple(jobs), change.force)
