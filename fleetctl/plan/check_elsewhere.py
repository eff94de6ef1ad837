"""The checker's own view of what can't be seen: instances that may run where no orders can be given, or that a lost
host took along, and the silent hosts that a deploy was told not to wait for.

Shares no helper with the planner, as `check` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.snapshot import Reachable, Unreachable
from fleetctl.model.verdict import Health

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory
    from fleetctl.model.replica import ReplicaName
    from fleetctl.model.snapshot import InstanceReport, Snapshot
    from fleetctl.model.verdict import HostVerdict


def in_doubt(
    desired: Desired,
    snapshot: Snapshot,
    verdicts: Mapping[str, HostVerdict],
    memory: Memory,
    seen_well: set[str],
) -> Iterator[tuple[str, InstanceReport]]:
    """What may run, for all we know, on hosts that may be given no orders and are not lost."""
    specs = {spec.name for spec in desired.hosts}
    for host in sorted({*memory.hosts, *snapshot.hosts} - seen_well):
        seen, known, verdict = snapshot.hosts.get(host), memory.hosts.get(host), verdicts.get(host)
        if verdict is None and known is not None and host not in specs:
            verdict = known.verdict  # gone from the inventory: the last judgement stands
        rows = known.instances if known is not None else ()
        if isinstance(seen, Reachable):
            another = known is not None and known.host_id not in ("", seen.report.host_id)
            ours = seen.report.instances if seen.report.fleet in (None, desired.fleet) else ()
            rows = (*ours, *rows) if another else ours
        elif verdict is not None and verdict.health is Health.LOST:
            rows = ()
        yield from ((host, row) for row in rows if row.phase.wants_to_run)


def lost(
    snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], memory: Memory
) -> dict[ReplicaName, list[tuple[str, int]]]:
    """Replicas whose newest instance was on a lost host."""
    newest: dict[ReplicaName, tuple[int, str, InstanceReport]] = {}
    for host in sorted({*memory.hosts, *snapshot.hosts}):
        seen, known = snapshot.hosts.get(host), memory.hosts.get(host)
        rows = seen.report.instances if isinstance(seen, Reachable) else known.instances if known else ()
        for row in rows:
            if row.name.replica not in newest or row.name.epoch > newest[row.name.replica][0]:
                newest[row.name.replica] = row.name.epoch, host, row
    gone = {host for host, verdict in verdicts.items() if verdict.health is Health.LOST}
    return {
        replica: [(host, epoch)]
        for replica, (epoch, host, row) in newest.items()
        if host in gone and row.phase.wants_to_run
    }


def missed(
    desired: Desired,
    snapshot: Snapshot,
    elsewhere: Mapping[ReplicaName, list[tuple[str, int]]],
    ran: set[ReplicaName],
) -> dict[ReplicaName, frozenset[str]]:
    """The silent hosts, and only those, on which replicas that are deployed now may be or were, and nowhere else."""
    found = {}
    for job in desired.jobs:
        for replica in elsewhere if job.rolls and not job.stopped else ():
            hosts = frozenset(host for host, _ in elsewhere[replica])
            silent = all(isinstance(snapshot.hosts.get(host), Unreachable) for host in hosts)
            if replica.job == job.name and replica.index < job.replicas and silent and replica not in ran:
                found[replica] = hosts
    return found
