"""Which releases fail where, by what is remembered of the last hour: pairs to avoid, releases that are bad.

Counts and compares; what follows from it for a plan is in `crashing`. DESIGN section 6, last line of Budgets.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fleetctl.model.instant import Instant
from fleetctl.model.memory import Failure, HostMemory
from fleetctl.model.snapshot import Phase, ProblemKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory
    from fleetctl.model.replica import InstanceName, ReplicaName
    from fleetctl.model.snapshot import InstanceReport, Snapshot

FAILURES_AVOIDED = 5  # of one release on one host, of any replica, within the window
WINDOW_S = 300.0
BAD_FROM_HOSTS = 2
PER_LOOK_MAX = 10  # of one instance: twice what it takes, so that a store never fills with one crash loop
NOT_ITS_FAULT = (ProblemKind.PORT_TAKEN, ProblemKind.ARTIFACT_MISSING)

Pair = tuple[str, int, str]  # job, release, host


def new_failures(
    memory: Memory, snapshot: Snapshot, failed_gates: Collection[InstanceName], desired: Desired, now: Instant
) -> tuple[Failure, ...]:
    """What failed since the rows that `memory` has of the same instances, each event once.

    `failed_gates` are the instances that were awaited in vain since the last look. Each restart is a crash, and its
    time the last moment at which it can have been: now, or when its instance got ready. Of an instance that is not
    remembered, only a young one's restarts are counted: of an older one's nobody knows when they were. A host that
    does not answer says nothing of a release.
    """
    known = {(job.name, release.number) for job in desired.jobs for release in job.known}
    found: list[Failure] = []
    for host, seen in snapshot.reachable().items():
        if not seen.report.is_open_to(desired.fleet):
            continue
        before = {row.name: row for row in memory.hosts.get(host, HostMemory()).instances}
        for row in sorted(seen.report.instances, key=lambda row: row.name):
            if (row.name.job, row.release) not in known or _is_excused(row):
                continue
            at = Instant(now - (row.ready_for_s or 0.0))
            crashes = min(_crashes(row, before.get(row.name)), PER_LOOK_MAX)
            found += [Failure(row.name.replica, row.release, host, at)] * crashes
            if _ended_now(row, before.get(row.name)) or (row.name in failed_gates and row.phase is not Phase.READY):
                found.append(Failure(row.name.replica, row.release, host, now, final=True))
    return tuple(sorted(found, key=lambda failure: failure.at))


def not_overcome(memory: Memory, snapshot: Snapshot, fleet: str, now: Instant) -> tuple[Failure, ...]:
    """Those that still count: not what was before the release got ready there and stayed so for five minutes; nor
    those of a replica on a host that does not answer, where it was ready when last seen: that host is what failed."""
    if not memory.failures:
        return ()
    answers = snapshot.reachable()
    served = {
        (row.name.replica, row.release, host)
        for host, known in memory.hosts.items()
        for row in (known.instances if host not in answers else ())
        if row.phase is Phase.READY
    }
    well_since: dict[Pair, Instant] = {}
    for host, seen in answers.items():
        for row in seen.report.instances if seen.report.is_open_to(fleet) else ():
            if row.phase is Phase.READY and row.ready_for_s is not None and row.ready_for_s >= WINDOW_S:
                pair, since = (row.name.job, row.release, host), Instant(now - row.ready_for_s)
                well_since[pair] = max(since, well_since.get(pair, since))
    return tuple(
        failure
        for failure in memory.failures
        if failure.at > well_since.get((failure.replica.job, failure.release, failure.host), float("-inf"))
        and (failure.replica, failure.release, failure.host) not in served
    )


def is_avoided(memory: Memory, job: str, release: int, host: str) -> bool:
    """Whether this release failed there five times within five minutes of the remembered hour, whichever replica.

    A final failure counts as one. It alone keeps no other replica away: that is a matter of `is_bad`.
    """
    return (job, release, host) in avoided_pairs(memory.failures)


def avoided_pairs(failures: Iterable[Failure]) -> frozenset[Pair]:
    """All of them at once, for a plan that asks about many hosts."""
    times: defaultdict[Pair, list[Instant]] = defaultdict(list)
    for failure in failures:
        times[failure.replica.job, failure.release, failure.host].append(failure.at)
    return frozenset(pair for pair, some in times.items() if _is_burst(some))


def failed_hosts(memory: Memory, replica: ReplicaName, release: int) -> tuple[str, ...]:
    """The hosts where this replica failed for good, or five times within five minutes. Sorted."""
    there: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in memory.failures:
        if failure.replica == replica and failure.release == release:
            there[failure.host].append(failure)
    return tuple(
        host
        for host, some in sorted(there.items())
        if any(failure.final for failure in some) or _is_burst([failure.at for failure in some])
    )


def is_bad(memory: Memory, replica: ReplicaName, release: int) -> bool:
    """Whether it failed on so many hosts that another host will not help: the release is bad, not the machines."""
    return len(failed_hosts(memory, replica, release)) >= BAD_FROM_HOSTS


def _is_burst(times: list[Instant]) -> bool:
    ordered = sorted(times)
    ends = ordered[FAILURES_AVOIDED - 1 :]
    return any(last - first <= WINDOW_S for first, last in zip(ordered, ends, strict=False))


def _is_excused(row: InstanceReport) -> bool:
    """What somebody ended, and what failed for want of something that we had to see to."""
    ended = row.phase in (Phase.STOPPING, Phase.STOPPED, Phase.STUCK)
    return ended or (row.problem is not None and row.problem.kind in NOT_ITS_FAULT)


def _crashes(row: InstanceReport, before: InstanceReport | None) -> int:
    if before is not None:
        return max(0, row.restarts - before.restarts)
    return row.restarts if row.age_s <= WINDOW_S and row.phase is not Phase.FAILED else 0


def _ended_now(row: InstanceReport, before: InstanceReport | None) -> bool:
    """What had ended before the last look is remembered no more, and was counted then."""
    return row.phase is Phase.FAILED and before is not None and before.phase is not Phase.FAILED
