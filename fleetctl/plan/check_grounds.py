"""The checker's own view of where nothing may be done, and of what may be replaced though no deploy wishes it: limits,
cordons, drains, restarts, and what was left behind on silent hosts.

Shares no helper with the planner, as `check` does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.model.plan import Start, Stop, Upload, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fleetctl.model.desired import Desired, WantedJob
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Plan
    from fleetctl.model.snapshot import InstanceReport
    from fleetctl.plan.check_host import Thing


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a person, the inventory and earlier deploys say of hosts."""

    limit: frozenset[str] | None
    closed: frozenset[str]  # nothing is started there
    left: frozenset[str]  # what is there moves off
    kept: frozenset[str]  # gone from an inventory that may be half a file: what is there stays
    behind: Mapping[str, frozenset[str]]  # host -> jobs
    since: Mapping[str, int]  # job -> the first epoch of its wished release: what is newer was not left behind

    @classmethod
    def of(cls, desired: Desired, memory: Memory, rows: Iterable[InstanceReport]) -> Grounds:
        known = {spec.name for spec in desired.hosts}
        share = len(desired.gone & known) / len(known) if known else 0.0
        doubtful = (share == 1.0 or (len(known) >= 3 and share >= 0.55)) and not desired.force
        drained = {name for name, cordon in memory.cordons.items() if cordon.drains}
        return cls(
            limit=desired.limit,
            closed=frozenset({*memory.cordons, *desired.gone}),
            left=frozenset() if doubtful else frozenset({*drained, *desired.gone}),
            kept=desired.gone if doubtful else frozenset(),
            behind={name: known.behind for name, known in memory.hosts.items() if known.behind},
            since=_first_epochs(desired, rows),
        )

    def is_open(self, host: str) -> bool:
        return self.limit is None or host in self.limit

    def trespasses(self, plan: Plan) -> Iterator[Violation]:
        """Orders where nothing is to be started or stopped. To wait for something there changes nothing."""
        for action in plan.actions:
            if isinstance(action, Start | Stop | Upload) and not self.is_open(action.host):
                yield Violation("limit", f"{action.host} is outside the limit: {action}")
            if isinstance(action, Start) and action.host in self.closed:
                yield Violation("cordon", f"{action.host} takes no new work: {action}")

    def is_left(self, job: WantedJob, thing: Thing) -> bool:
        """Whether a copy may be replaced though its job is not deployed: by what runs, or where it is behind."""
        restarted = job.fresh_from is not None and thing.name.epoch < job.fresh_from
        return restarted or thing.host in self.left or self.is_behind(job, thing)

    def is_behind(self, job: WantedJob, thing: Thing) -> bool:
        older = thing.name.epoch < self.since.get(job.name, thing.name.epoch + 1)
        return older and job.name in self.behind.get(thing.host, ()) and not is_like(job, thing.release)

    def releases(self, job: WantedJob, ran: list[Thing]) -> set[int]:
        """Which releases may replace the running copies of a replica, beside the one that a heal or deploy starts."""
        allowed = set()
        if any(thing.host in self.left or self.is_left(job, thing) for thing in ran) and not job.rolls:
            allowed |= {thing.release for thing in ran}
        if any(self.is_behind(job, thing) for thing in ran):
            allowed.add(job.release.number)
        return allowed

    def overdue(self, host: str, jobs: Mapping[str, WantedJob], things: Iterable[Thing], memory: Memory) -> set[str]:
        """The replicas that are brought up to date on a host before anything else is started there: of jobs that are
        deployed now, or whose wished release is good and fails nowhere."""
        some = list(things)
        found = set()
        for thing in some:
            job = jobs.get(thing.name.job)
            if job is None or job.stopped or thing.name.replica.index >= job.replicas:
                continue
            if thing.host != host or not thing.runs or not self.is_behind(job, thing):
                continue
            fails = any(failure.replica == thing.name.replica for failure in memory.failures) and not job.rolls
            if not fails and _is_proven(job, some, memory):
                found.add(str(thing.name.replica))
        return found


def _first_epochs(desired: Desired, rows: Iterable[InstanceReport]) -> dict[str, int]:
    first: dict[str, int] = {}
    wished = {job.name: job for job in desired.jobs}
    for row in rows:
        job = wished.get(row.name.job)
        if job is not None and row.release == job.release.number and row.name.replica.index < job.replicas:
            first[job.name] = min(row.name.epoch, first.get(job.name, row.name.epoch))
    return first


def is_like(job: WantedJob, number: int) -> bool:
    """Whether what runs as that release is what is wished."""
    release = next((release for release in job.known if release.number == number), None)
    return number == job.release.number or (release is not None and release.runs_like(job.release))


def _is_proven(job: WantedJob, things: list[Thing], memory: Memory) -> bool:
    if job.rolls:
        return True
    remembered = memory.jobs.get(job.name)
    fails = any(
        thing.name.job == job.name and is_like(job, thing.release) and not thing.ready and not thing.ours
        for thing in things
    )
    return remembered is not None and job.release.number in remembered.good and not fails
