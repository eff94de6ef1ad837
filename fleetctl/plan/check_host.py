"""What the checker asks of one host before something is started there: may it be there, and is there room and a port?

Part of the checker, so it shares no helper with the planner either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.model.plan import Violation
from fleetctl.model.replica import InstanceName
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.snapshot import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetctl.model.desired import WantedJob
    from fleetctl.model.host import HostSpec
    from fleetctl.model.job import Release
    from fleetctl.model.plan import Start
    from fleetctl.model.snapshot import HostReport, InstanceReport, Reachable


@dataclass(slots=True)
class Thing:
    """One instance as the plan so far leaves it."""

    host: str
    name: InstanceName
    release: int
    resources: Resources
    ports: tuple[int, ...]
    phase: Phase
    ready: bool
    was_ready: bool
    ran: bool  # before the plan
    ours: bool = False  # started by this plan

    @classmethod
    def seen(cls, host: str, row: InstanceReport) -> Thing:
        ports = tuple(number for _, number in row.ports)
        ready = row.phase is Phase.READY
        return cls(
            host=host,
            name=row.name,
            release=row.release,
            resources=row.resources,
            ports=ports,
            phase=row.phase,
            ready=ready,
            was_ready=row.ever_ready or ready,
            ran=row.phase.wants_to_run,
        )

    @property
    def runs(self) -> bool:
        return self.phase.wants_to_run


def placement(start: Start, job: WantedJob, spec: HostSpec, seen: Reachable) -> Iterator[Violation]:
    """Whether the wish lets it be there, under the address at which that host is reached."""
    if start.host not in job.eligible:
        yield Violation("placement", f"{start.instance} may not be on {start.host}")
    for constraint in job.release.spec.constraints:
        same = spec.label(constraint.label) == constraint.value
        if same != (constraint.operator == "=="):
            yield Violation("placement", f"{start.instance} on {start.host}: {constraint}")
    if seen.address != start.address:
        yield Violation("placement", f"{start.instance} is told the address {start.address!r}")


def capacity(
    start: Start, release: Release, spec: HostSpec, report: HostReport, here: list[Thing]
) -> Iterator[Violation]:
    """Whether it fits beside everything that holds room there, whosever that is."""
    facts, given = report.facts, spec.capacity
    room = Resources(
        MilliCpu(facts.cpu if given.cpu is None else given.cpu),
        Bytes(facts.memory if given.memory is None else given.memory),
        Bytes(facts.disk_total if given.disk is None else given.disk),
    )
    room -= spec.reserved
    for thing in here:
        if thing.phase.holds_room:
            room -= thing.resources
    if short := release.spec.resources.missing(room):
        yield Violation("capacity", f"{start.instance} on {start.host}: {', '.join(short)}")


def ports(
    start: Start, release: Release, report: HostReport, here: list[Thing], freed: set[int]
) -> Iterator[Violation]:
    """Whether it gets the ports it asks for, and nobody else has them. `freed`: left by what the plan stopped."""
    numbers = [number for _, number in start.ports]
    asked = {port.name: port.fixed for port in release.spec.ports}
    if len(set(numbers)) != len(numbers) or {name for name, _ in start.ports} != set(asked):
        yield Violation("ports", f"{start.instance} gets {start.ports}")
    for name, number in start.ports:
        right = 20000 <= number <= 29999 if asked.get(name) is None else number == asked[name]
        if not right:
            yield Violation("ports", f"{start.instance} gets {number} for {name}")
    held = {port for thing in here if thing.phase.holds_room for port in thing.ports}
    if taken := set(numbers) & (held | (report.ports_in_use - freed)):
        yield Violation("ports", f"{start.instance} on {start.host}: {sorted(taken)} already held")
