"""What keeps crashing where it is: moved to another host once, and left where it is where that did not help.

For heals alone: a deploy stops at the first copy that does not get ready, and forgets how its jobs failed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.plan.failures import BAD_FROM_HOSTS, failed_hosts
from fleetctl.plan.scene import release_of, release_to_start, replicas_of, runs_like

if TYPE_CHECKING:
    from fleetctl.model.desired import WantedJob
    from fleetctl.model.job import Release
    from fleetctl.model.replica import ReplicaName
    from fleetctl.plan.scene import Copy, Scene

STILL_CRASHING_S = 600.0  # since its last failure: twice the longest pause between two restarts


def is_avoided_there(scene: Scene, job: WantedJob, release: Release, host: str) -> bool:
    """Whether what this release runs keeps failing there, under whatever number it was released."""
    if not scene.avoided:
        return False
    return any((job.name, number, host) in scene.avoided for number in _numbers(job, release))


def moves_off(scene: Scene, job: WantedJob, replica: ReplicaName) -> bool:
    """Whether a replica is to be moved to another host, for its newest copy keeps crashing and none serves.

    Not while the job crashes on other hosts too: that is no host's fault, and those that are left would get it all.
    """
    return _keeps_crashing(scene, job, replica) and not _crashes_elsewhere(scene, job, scene.live(replica)[0].host)


def crashes_with_others(scene: Scene, job: WantedJob, replica: ReplicaName) -> bool:
    """Whether it is not moved for just that: what the job needs may be down, and nothing is won by waiting for it."""
    return _keeps_crashing(scene, job, replica) and _crashes_elsewhere(scene, job, scene.live(replica)[0].host)


def _keeps_crashing(scene: Scene, job: WantedJob, replica: ReplicaName) -> bool:
    """What runs another release than a heal starts is left of a rollout: a person's next deploy goes on with that."""
    live = scene.live(replica)
    if job.rolls or not scene.avoided or not live or any(copy.is_ready for copy in live):
        return False
    newest = live[0]
    release = release_of(job, newest.row)
    return (
        release is not None
        and runs_like(job, newest.row, release_to_start(job))
        and is_avoided_there(scene, job, release, newest.host)
        and not bad_on(scene, job, newest.replica, release)
        and _still_crashes(scene, job, newest, release)
    )


def bad_on(scene: Scene, job: WantedJob, replica: ReplicaName, release: Release | None) -> tuple[str, ...]:
    """The hosts, two or more, on which this replica of the release failed; none where it is not a bad one."""
    if job.rolls or release is None or not scene.memory.failures:
        return ()
    numbers = _numbers(job, release)
    hosts = sorted({host for number in numbers for host in failed_hosts(scene.memory, replica, number)})
    return tuple(hosts) if len(hosts) >= BAD_FROM_HOSTS else ()


def bad_release(job: WantedJob, replica: ReplicaName, release: Release | None, hosts: tuple[str, ...]) -> str:
    number = release.number if release is not None else job.release.number
    where = f"{', '.join(hosts[:-1])} and {hosts[-1]}"
    return (
        f"{replica} of release {number} failed on {where}: a bad release is not moved any more: "
        f"deploy another (see fleetctl logs {job.name})"
    )


def _crashes_elsewhere(scene: Scene, job: WantedJob, host: str) -> bool:
    """Whether a copy of the job that is not ready is on another host on which what it runs keeps failing."""
    return any(
        copy.host != host
        and not copy.is_ready
        and (release := release_of(job, copy.row)) is not None
        and is_avoided_there(scene, job, release, copy.host)
        for replica in replicas_of(job)
        for copy in scene.live(replica)
    )


def _still_crashes(scene: Scene, job: WantedJob, copy: Copy, release: Release) -> bool:
    """It is this very replica that failed there, and not long ago: what starts again after a reboot has time."""
    numbers = _numbers(job, release)
    if not any(copy.host in failed_hosts(scene.memory, copy.replica, number) for number in numbers):
        return False
    latest = max(
        failure.at
        for failure in scene.memory.failures
        if failure.replica == copy.replica and failure.host == copy.host and failure.release in numbers
    )
    return scene.now - latest <= STILL_CRASHING_S


def _numbers(job: WantedJob, release: Release) -> frozenset[int]:
    """Of all releases that run just this: a change of replicas or constraints makes a number, not another program."""
    return frozenset({release.number, *(known.number for known in job.known if known.runs_like(release))})
