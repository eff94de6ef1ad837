"""What the store remembers between runs, as the deciding code sees it. Only recording writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetctl.model.instant import Instant
from fleetctl.model.job import Release
from fleetctl.model.plan import StepKey
from fleetctl.model.replica import Generation
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


@dataclass(frozen=True, slots=True)
class Wish:
    """What a job should be now. A stopped job keeps its release and replicas for its next deploy."""

    job: str
    release: int
    replicas: int
    stopped: bool = False


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
