"""What is free where, as the plan so far leaves it: CPU, memory, disk and ports of each host, and where replicas are.

The one thing in planning that changes while it goes on: phases take from it what they place and give back what they
stop, in the order in which the plan will.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from fleetctl.model.job import Digest
from fleetctl.model.replica import ReplicaName
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.snapshot import ProblemKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetctl.model.host import HostSpec
    from fleetctl.model.job import PortRequest
    from fleetctl.model.replica import InstanceName
    from fleetctl.model.snapshot import HostReport, InstanceReport
    from fleetctl.plan.scene import Scene

PORT_FIRST, PORTS = 20000, 10000  # handed out from here: below the kernel's ephemeral range, 32768 and up


@dataclass(slots=True)
class Room:
    """One host's free resources and held ports."""

    capacity: Resources  # without what is reserved
    free: Resources
    disk_free: Bytes | None  # what the file system still has, where the inventory gives no capacity for disk
    ports: Counter[int] = field(default_factory=Counter)
    instances: int = 0

    def shortages(self, asked: Resources) -> tuple[str, ...]:
        short = asked.missing(self.free)
        if self.disk_free is not None and 0 < asked.disk > self.disk_free and "disk" not in short:
            short = (*short, "disk")
        return short

    def take(self, resources: Resources, ports: Iterable[int]) -> None:
        self.free -= resources
        if self.disk_free is not None:
            self.disk_free = Bytes(self.disk_free - resources.disk)
        self.ports.update(ports)
        self.instances += 1

    def give_back(self, resources: Resources, ports: Iterable[int]) -> None:
        """What was written stays on the disk: of a stopped instance's files only the claim is free again."""
        self.free += resources
        self.ports.subtract(ports)
        self.instances -= 1

    def fixed_taken(self, ports: tuple[PortRequest, ...]) -> tuple[int, ...]:
        return tuple(port.fixed for port in ports if port.fixed is not None and self.ports[port.fixed] > 0)

    def hand_out(self, asked: tuple[PortRequest, ...], instance: InstanceName) -> tuple[tuple[str, int], ...]:
        """A number for each port; fixed ones as they are. Each instance's search begins elsewhere, so that a
        successor on the same host does not get the port just left. Raises LookupError when all are held."""
        taken = {port for port, holders in self.ports.items() if holders > 0}
        taken |= {port.fixed for port in asked if port.fixed is not None}
        numbers: list[tuple[str, int]] = []
        for port in asked:
            number = port.fixed if port.fixed is not None else _next_free(f"{instance} {port.name}", taken)
            taken.add(number)
            numbers.append((port.name, number))
        return tuple(numbers)

    def clone(self) -> Room:
        return Room(self.capacity, self.free, self.disk_free, Counter(self.ports), self.instances)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where copies of one job may be at all, sorted, and the failure domain of each such host."""

    hosts: tuple[str, ...]
    domains: Mapping[str, str]


@dataclass(slots=True)
class Board:
    """The rooms of the hosts that may get work, what artifacts they will have, and where each replica is at home."""

    rooms: dict[str, Room]
    artifacts: set[tuple[str, Digest]]  # host, digest
    homes: dict[ReplicaName, str] = field(default_factory=dict)
    crowd: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # job -> host -> homes

    grounds: dict[str, Ground] = field(default_factory=dict)  # by job; found out once, when first asked for
    overdue: Mapping[str, frozenset[ReplicaName]] = field(default_factory=dict)  # brought up to date before all else

    def settle(self, replica: ReplicaName, host: str) -> None:
        """From now on the replica counts as being on `host` where copies are spread."""
        self.unsettle(replica)
        self.homes[replica] = host
        self.crowd[replica.job][host] += 1

    def unsettle(self, replica: ReplicaName) -> None:
        if (host := self.homes.pop(replica, None)) is not None:
            self.crowd[replica.job][host] -= 1

    def clone(self) -> Board:
        rooms = {name: room.clone() for name, room in self.rooms.items()}
        crowd = defaultdict(Counter, {job: Counter(homes) for job, homes in self.crowd.items()})
        return Board(rooms, set(self.artifacts), dict(self.homes), crowd, self.grounds, self.overdue)


def board_of(scene: Scene) -> Board:
    """What is free on the hosts that answered, everything taken off that holds room there, whosever it is."""
    rooms, artifacts = {}, set()
    for name, seen in scene.snapshot.reachable().items():
        if name in scene.specs:
            rooms[name] = _room(scene.specs[name], seen.report)
            artifacts |= {(name, digest) for digest in seen.report.artifacts}
    return Board(rooms, artifacts)


def _room(spec: HostSpec, report: HostReport) -> Room:
    facts, given = report.facts, spec.capacity
    whole = Resources(
        MilliCpu(facts.cpu if given.cpu is None else given.cpu),
        Bytes(facts.memory if given.memory is None else given.memory),
        Bytes(facts.disk_total if given.disk is None else given.disk),
    )
    capacity = whole - spec.reserved
    room = Room(capacity, capacity, None)
    for row in report.instances:
        if row.phase.holds_room:
            room.take(row.resources, _numbers(row))
    if given.disk is None:
        room.disk_free = facts.disk_free
    others = report.ports_in_use - {port for row in report.instances if row.phase.holds_room for port in _numbers(row)}
    room.ports.update(others)
    room.ports.update(_found_taken(report))
    return room


def _found_taken(report: HostReport) -> set[int]:
    """Handed-out ports that turned out to be somebody else's: not given again while the failed instance is known.

    A fixed port is not among them: it may be free by now, and `ports_in_use` says so.
    """
    found: set[int] = set()
    for row in report.instances:
        problem = row.problem
        if problem is not None and problem.kind is ProblemKind.PORT_TAKEN and not row.phase.holds_room:
            found |= set(_numbers(row)) if problem.port is None else {problem.port}
    return {port for port in found if PORT_FIRST <= port < PORT_FIRST + PORTS} - report.ports_in_use


def _numbers(row: InstanceReport) -> tuple[int, ...]:
    return tuple(number for _, number in row.ports)


def _next_free(key: str, taken: set[int]) -> int:
    begin = crc32(key.encode())
    for step in range(PORTS):
        number = PORT_FIRST + (begin + step) % PORTS
        if number not in taken:
            return number
    raise LookupError(key)
