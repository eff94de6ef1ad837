"""What the store remembers between runs, as the deciding code sees it. Only recording writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetctl.model.host import HostSpec
from fleetctl.model.instant import Instant
from fleetctl.model.job import Release
from fleetctl.model.plan import StepKey
from fleetctl.model.replica import Generation, ReplicaName
from fleetctl.model.snapshot import InstanceReport
from fleetctl.model.verdict import HostVerdict


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What is known of a host from earlier runs. `instances` is its last report's, minus what was stopped since."""

    last_address: str = ""
    silent_runs: int = 0  # runs in a row, before this one, in which it gave no answer
    silent_since: Instant | None = None  # when the first of them looked
    verdict: HostVerdict | None = None
    instances: tuple[InstanceReport, ...] = ()
    spec: HostSpec | None = None  # how it was last reached: for when it is gone from the inventory
    host_id: str = ""  # of its root, when it last answered
    answered: bool | None = None  # at the last look; absent before the first
    turns: tuple[Instant, ...] = ()  # when it began or ceased to answer, of the last ten minutes, oldest first
    behind: frozenset[str] = frozenset()  # jobs deployed while it was silent: brought up to date before all else there


@dataclass(frozen=True, slots=True)
class Cordon:
    """A person's word that a host takes no new work; where it `drains`, also that what runs there moves off."""

    by: str
    at_wall: float
    why: str = ""
    drains: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """One time that a replica of a release failed on a host: a crash, or, where `final`, that it did not get ready
    within its deadline or ended for good."""

    replica: ReplicaName
    release: int
    host: str
    at: Instant
    final: bool = False


@dataclass(frozen=True, slots=True)
class Incident:
    """One host's, job's or fleet's trouble from its first sign to the all clear. Told once, and once at its end."""

    subject: str  # a host, a job, or the fleet's name for what befell many at once
    kind: str  # "host", "job" or "fleet"
    what: str  # for people: what is believed, and why
    since_wall: float
    told: bool = False
    members: tuple[str, ...] = ()  # of a fleet's incident: the hosts and jobs it stands for


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job should be now. A stopped job keeps its release and replicas for its next deploy."""

    job: str
    release: int
    replicas: int
    stopped: bool = False
    owner: str = ""  # the playbook that deployed it last, by its whole path; empty: not known
    orphan: bool = False  # its owner was deployed without it since
    scaled: bool = False  # the replicas are a person's, by `scale`, not the playbook's


@dataclass(frozen=True, slots=True)
class JobMemory:
    wish: Wish
    releases: Mapping[int, Release]
    good: frozenset[int] = frozenset()  # numbers of releases whose replicas were all ready for min_healthy together

    def newest_good(self) -> Release | None:
        return self.releases[max(self.good)] if self.good else None


@dataclass(frozen=True, slots=True)
class Memory:
    generation: Generation  # the newest plan's; the next plan gets one more
    hosts: Mapping[str, HostMemory] = field(default_factory=dict)
    jobs: Mapping[str, JobMemory] = field(default_factory=dict)
    failed_steps: frozenset[StepKey] = frozenset()  # in this run: not planned again
    cordons: Mapping[str, Cordon] = field(default_factory=dict)  # by host
    failures: tuple[Failure, ...] = ()  # of releases that are still known, of the last hour, oldest first
    incidents: tuple[Incident, ...] = ()  # open ones, sorted
