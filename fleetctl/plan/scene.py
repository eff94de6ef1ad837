"""What is where: desired state, snapshot, verdicts and memory, looked at replica by replica. Decides nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fleetctl.model.desired import Desired, WantedJob
from fleetctl.model.host import HostSpec
from fleetctl.model.instant import Instant
from fleetctl.model.memory import Memory
from fleetctl.model.replica import Generation, ReplicaName
from fleetctl.model.snapshot import InstanceReport, Phase, Reachable, Snapshot
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.plan.failures import Pair, avoided_pairs
from fleetctl.plan.leaving import closed, left
from fleetctl.plan.verdicts import is_another_root

if TYPE_CHECKING:
    from fleetctl.model.job import Digest, Release
    from fleetctl.model.replica import InstanceName


class Standing(Enum):
    """What may be done on a host, and what to make of what was last seen there."""

    ORDERLY = "answers, and may be given orders"
    UNKNOWN = "may live: what is there holds its place, and is left alone"
    LOST = "its work moves"
    FOREIGN = "its root belongs to another fleet: none of our business"


@dataclass(frozen=True, slots=True)
class Copy:
    """One instance at its place, as its host tells it or last told it."""

    host: str
    row: InstanceReport
    standing: Standing

    @property
    def name(self) -> InstanceName:
        return self.row.name

    @property
    def replica(self) -> ReplicaName:
        return self.row.name.replica

    @property
    def is_live(self) -> bool:
        """Seen to run, or about to, without any order of ours."""
        return self.standing is Standing.ORDERLY and self.row.phase.wants_to_run

    @property
    def is_ready(self) -> bool:
        return self.standing is Standing.ORDERLY and self.row.phase is Phase.READY

    @property
    def was_ready(self) -> bool:
        """Once, at least."""
        return self.row.ever_ready or self.is_ready

    @property
    def is_unknown(self) -> bool:
        """May run, for all we know."""
        return self.standing is Standing.UNKNOWN and self.row.phase.wants_to_run

    def __str__(self) -> str:
        return f"{self.name} on {self.host}"


@dataclass(frozen=True, slots=True)
class FailedSteps:
    """What failed in this run, by what it forbids."""

    starts: frozenset[tuple[str, str]]  # replica, host
    uploads: frozenset[tuple[str, str]]  # artifact, host
    gates: frozenset[str]  # instances
    stops: frozenset[str]  # instances


@dataclass(frozen=True, slots=True)
class Scene:
    """One sweep's input, indexed. Every listing is sorted: the order of the input does not matter."""

    desired: Desired
    snapshot: Snapshot
    verdicts: Mapping[str, HostVerdict]
    memory: Memory
    now: Instant
    generation: Generation
    specs: Mapping[str, HostSpec]
    standing: Mapping[str, Standing]
    jobs: tuple[WantedJob, ...]
    copies: Mapping[ReplicaName, tuple[Copy, ...]]  # newest epoch first
    failed: FailedSteps
    avoided: frozenset[Pair]  # releases that keep failing on a host
    closed: Mapping[str, str]  # hosts that take no new work, and why: "cordoned", "gone from the inventory"
    left: Mapping[str, str]  # those of them that are drained, and why

    @classmethod
    def of(
        cls,
        desired: Desired,
        snapshot: Snapshot,
        verdicts: Mapping[str, HostVerdict],
        memory: Memory,
        now: Instant,
    ) -> Scene:
        names = sorted({*snapshot.hosts, *memory.hosts, *(host.name for host in desired.hosts)})
        specs = {host.name: host for host in desired.hosts}
        standing = {name: _standing(name, desired, specs, snapshot, verdicts, memory) for name in names}
        found: defaultdict[ReplicaName, list[Copy]] = defaultdict(list)
        for name in names:
            if standing[name] is not Standing.FOREIGN:
                for row in _rows(name, desired.fleet, snapshot, memory):
                    found[row.name.replica].append(Copy(name, row, standing[name]))
        return cls(
            desired=desired,
            snapshot=snapshot,
            verdicts=verdicts,
            memory=memory,
            now=now,
            generation=Generation(memory.generation + 1),
            specs=specs,
            standing=standing,
            jobs=tuple(sorted(desired.jobs, key=lambda job: job.name)),
            copies={replica: tuple(sorted(found[replica], key=_newest_first)) for replica in sorted(found)},
            failed=_failed(memory),
            avoided=avoided_pairs(memory.failures),
            closed=closed(desired, memory),
            left=left(desired, memory),
        )

    def of_replica(self, replica: ReplicaName) -> tuple[Copy, ...]:
        return self.copies.get(replica, ())

    def live(self, replica: ReplicaName) -> tuple[Copy, ...]:
        """Newest first."""
        return tuple(copy for copy in self.of_replica(replica) if copy.is_live)

    def report(self, host: str) -> Reachable:
        """Raises KeyError where the host gave none: only hosts that answered are asked for it."""
        seen = self.snapshot.hosts[host]
        if not isinstance(seen, Reachable):
            raise KeyError(host)
        return seen

    def is_frozen(self, host: str) -> bool:
        """Outside the limit: nothing is started or stopped there."""
        return self.desired.limit is not None and host not in self.desired.limit

    def evidence(self, host: str) -> str:
        verdict = self.verdicts.get(host)
        return verdict.evidence if verdict is not None else "not looked at"

    def lacks(self, host: str, artifact: Digest | None) -> bool:
        return artifact is not None and artifact not in self.report(host).report.artifacts


def _newest_first(copy: Copy) -> tuple[int, bool, str]:
    return -copy.name.epoch, not copy.is_ready, copy.host


def release_of(job: WantedJob, row: InstanceReport) -> Release | None:
    """The release an instance runs; absent where nothing is known of that number."""
    return next((release for release in job.known if release.number == row.release), None)


def runs_like(job: WantedJob, row: InstanceReport, target: Release) -> bool:
    """Whether the instance need not be replaced to be one of `target`."""
    release = release_of(job, row)
    return row.release == target.number or (release is not None and release.runs_like(target))


def release_to_start(job: WantedJob) -> Release:
    """Heal never rolls: it starts what is missing with the newest good release, or the only one there is."""
    return job.release if job.rolls or job.fallback is None else job.fallback


def replicas_of(job: WantedJob) -> tuple[ReplicaName, ...]:
    """Those that should run."""
    return () if job.stopped else tuple(ReplicaName(job.name, index) for index in range(job.replicas))


def _standing(
    name: str,
    desired: Desired,
    specs: Mapping[str, HostSpec],
    snapshot: Snapshot,
    verdicts: Mapping[str, HostVerdict],
    memory: Memory,
) -> Standing:
    seen, verdict = snapshot.hosts.get(name), verdicts.get(name)
    if seen is None and name not in specs:
        verdict = memory.hosts[name].verdict  # gone from the inventory, so not looked at: the last judgement stands
    if isinstance(seen, Reachable):
        if is_another_root(seen.report, memory.hosts.get(name), desired.fleet):
            return Standing.UNKNOWN
        if not seen.report.is_open_to(desired.fleet):
            return Standing.FOREIGN
        suspect = verdict is not None and verdict.health in (Health.SUSPECT, Health.LOST)
        return Standing.UNKNOWN if suspect else Standing.ORDERLY
    lost = verdict is not None and verdict.health is Health.LOST
    return Standing.LOST if lost else Standing.UNKNOWN


def _rows(name: str, fleet: str, snapshot: Snapshot, memory: Memory) -> tuple[InstanceReport, ...]:
    seen, known = snapshot.hosts.get(name), memory.hosts.get(name)
    remembered = tuple(row for row in known.instances if row.phase.holds_room) if known else ()
    if not isinstance(seen, Reachable):
        return remembered
    rows = seen.report.instances if seen.report.is_open_to(fleet) else ()
    if not is_another_root(seen.report, known, fleet):
        return rows
    there = {row.name for row in rows}  # what ran on the root that we knew may run on, wherever that is
    return rows + tuple(row for row in remembered if row.name not in there)


def _failed(memory: Memory) -> FailedSteps:
    keys = memory.failed_steps
    return FailedSteps(
        starts=frozenset((key.replica, key.host) for key in keys if key.action == "Start"),
        uploads=frozenset((key.replica, key.host) for key in keys if key.action == "Upload"),
        gates=frozenset(key.replica for key in keys if key.action == "AwaitReady"),
        stops=frozenset(key.replica for key in keys if key.action == "Stop"),
    )
