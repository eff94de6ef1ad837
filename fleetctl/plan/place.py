"""Where a replica goes: first what is possible, then what is best. DESIGN section 6, "Placement".

Spread comes before packing: never two copies in one domain while another has room. Ties break on names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.model.desired import WantedJob
from fleetctl.model.job import Release
from fleetctl.model.replica import InstanceName, ReplicaName
from fleetctl.model.verdict import Health
from fleetctl.plan.crashing import is_avoided_there
from fleetctl.plan.room import Ground
from fleetctl.plan.scene import Standing

if TYPE_CHECKING:
    from fleetctl.model.job import Constraint
    from fleetctl.model.resources import Resources
    from fleetctl.plan.room import Board, Room
    from fleetctl.plan.scene import Scene

PORTFOLIO_STEPS_MAX = 20_000  # replicas x hosts: beyond, one pass has to do, for the sake of time


@dataclass(frozen=True, slots=True)
class Wanted:
    """A copy that needs a host."""

    replica: ReplicaName
    job: WantedJob
    release: Release
    own: str | None = None  # where its predecessor is: preferred on a tie
    stays: bool = False  # preferred whatever speaks for another

    @property
    def resources(self) -> Resources:
        return self.release.spec.resources


@dataclass(frozen=True, slots=True)
class Placement:
    """Which wanted copies go where, in the order in which they take their room; and those without a host."""

    placed: tuple[tuple[Wanted, str], ...]
    unplaced: tuple[Wanted, ...]


Score = Callable[[float, float], float]  # CPU and memory in use once placed, as fractions -> higher is better


def score_balanced(cpu: float, memory: float) -> float:
    """`most - 2·|cpu - memory|`: compacts best on a real trace (FACTS, Deciding)."""
    return (cpu + memory) / 2 - 2 * abs(cpu - memory)


def score_least(cpu: float, memory: float) -> float:
    """Least allocated: near full hosts it places what pure packing strands."""
    return 1 - (cpu + memory) / 2


def score_nomad(cpu: float, memory: float) -> float:
    return min(18.0, max(0.0, 20 - (10 ** (1 - cpu) + 10 ** (1 - memory))))


SCORES: tuple[Score, ...] = (score_balanced, score_least, score_nomad)


def is_allowed(scene: Scene, job: WantedJob, host: str) -> bool:
    """Whether the wish lets a copy of this job be on that host, whatever the host's state."""
    return host in scene.specs and host in job.eligible and not _broken_constraints(scene, job, host)


def obstacle(scene: Scene, board: Board, wanted: Wanted, host: str) -> str:
    """Why this copy can't go there, as a text with {n} for the number of such hosts; empty where it can."""
    return _why_never(scene, board, wanted.job, host) or _why_not_now(scene, board, wanted, host)


def uncordoned(scene: Scene, board: Board, wanted: Wanted) -> tuple[str, ...]:
    """The hosts that this copy could go to, were they not cordoned."""
    return tuple(
        host
        for host in sorted(wanted.job.eligible)
        if host in scene.memory.cordons
        and not scene.is_frozen(host)
        and not _why_unfit(scene, board, wanted.job, host)
        and not _why_not_now(scene, board, wanted, host)
    )


def _why_never(scene: Scene, board: Board, job: WantedJob, host: str) -> str:
    """What no phase of a plan changes."""
    return _why_unfit(scene, board, job, host) or _why_shut(scene, host)


def _why_shut(scene: Scene, host: str) -> str:
    if scene.is_frozen(host):
        return "outside --limit {n}"
    return f"{scene.closed[host]} {{n}}" if host in scene.closed else ""


def _why_unfit(scene: Scene, board: Board, job: WantedJob, host: str) -> str:
    verdict = scene.verdicts.get(host)
    standing = scene.standing.get(host, Standing.UNKNOWN)
    if standing is Standing.FOREIGN:
        return "{n} of another fleet"
    if host in scene.snapshot.refusing():
        return "{n} driven by a newer fleetctl"
    if standing is not Standing.ORDERLY or host not in board.rooms:
        return "{n} lost" if standing is Standing.LOST else "{n} suspect"
    if verdict is not None and verdict.health is not Health.HEALTHY:
        return f"{{n}} {verdict.health.value}"
    if host not in job.eligible:
        return "{n} not among its hosts"
    if broken := _broken_constraints(scene, job, host):
        return f"{broken[0]} excludes {{n}}"
    return ""


def _why_not_now(scene: Scene, board: Board, wanted: Wanted, host: str) -> str:
    """What stopping something, or another try, may change."""
    room, artifact = board.rooms[host], wanted.release.artifact
    if host in board.overdue and wanted.replica not in board.overdue[host]:
        return "behind on {n}"
    if artifact is not None and (artifact, host) in scene.failed.uploads and (host, artifact) not in board.artifacts:
        return "its upload failed on {n}"
    if (str(wanted.replica), host) in scene.failed.starts:
        return "its start failed on {n}"
    if is_avoided_there(scene, wanted.job, wanted.release, host):
        return f"{wanted.job.name} release {wanted.release.number} keeps failing on {{n}}"
    if taken := room.fixed_taken(wanted.release.spec.ports):
        return f"port {taken[0]} taken on {{n}}"
    if short := room.shortages(wanted.resources):
        return f"{' and '.join(short)} short on {{n}}"
    return ""


def why_nowhere(scene: Scene, board: Board, wanted: Wanted) -> str:
    """What is missing on how many hosts: "memory short on 3 of 5 hosts, labels.zone != 'c' excludes 1"."""
    eligible = sorted(wanted.job.eligible)
    if not eligible:
        return f"no host matches {wanted.job.release.spec.hosts!r}"
    reasons = Counter(obstacle(scene, board, wanted, host) for host in eligible)
    texts = [
        reason.format(n=f"{count} of {len(eligible)} hosts" if place == 0 else count)
        for place, (reason, count) in enumerate(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        if reason
    ]
    return ", ".join(texts)


def best_host(scene: Scene, board: Board, wanted: Wanted, score: Score = score_balanced) -> str | None:
    """The host this copy should go to as things stand, or none."""
    ground = _ground(scene, board, wanted.job)
    possible = [host for host in ground.hosts if not _why_not_now(scene, board, wanted, host)]
    if not possible:
        return None
    if wanted.stays and wanted.own in possible:
        return wanted.own
    crowd = Counter(board.crowd[wanted.replica.job])
    if (home := board.homes.get(wanted.replica)) is not None:
        crowd[home] -= 1
    domains = _by_domain(scene, wanted.job, crowd)
    artifact = wanted.release.artifact

    def rank(host: str) -> tuple[int, int, bool, float, bool, int, str]:
        room = board.rooms[host]
        return (
            domains[ground.domains[host]],
            crowd[host],
            artifact is not None and (host, artifact) not in board.artifacts,
            -score(*_used(room, wanted.resources)),
            host != wanted.own,
            room.instances,
            host,
        )

    return min(possible, key=rank)


def place_all(scene: Scene, board: Board, wanted: list[Wanted]) -> Placement:
    """Places a batch several ways and keeps the best: most placed, then best spread, then packed tightest."""
    trials = [(score, order) for order in (_largest_first, _choosiest_first) for score in SCORES]
    if len(wanted) * len(board.rooms) > PORTFOLIO_STEPS_MAX or len(wanted) < 2:
        trials = trials[:1]
    tried = [_place_in_order(scene, board.clone(), order(scene, board, wanted), score) for score, order in trials]
    return max(tried, key=lambda trial: trial[0])[1]


def take_room(scene: Scene, board: Board, wanted: Wanted, host: str) -> tuple[tuple[str, int], ...]:
    """Books the copy on the board; returns its ports."""
    room = board.rooms[host]
    ports = room.hand_out(wanted.release.spec.ports, InstanceName(wanted.replica, scene.generation))
    room.take(wanted.resources, (number for _, number in ports))
    if wanted.release.artifact is not None:
        board.artifacts.add((host, wanted.release.artifact))
    board.settle(wanted.replica, host)
    return ports


def _place_in_order(
    scene: Scene, board: Board, ordered: list[Wanted], score: Score
) -> tuple[tuple[int, int, float], Placement]:
    placed, unplaced = [], []
    for wanted in ordered:
        host = best_host(scene, board, wanted, score)
        if host is None:
            unplaced.append(wanted)
        else:
            take_room(scene, board, wanted, host)
            placed.append((wanted, host))
    crowding = 0
    for job in {wanted.job.name: wanted.job for wanted in ordered}.values():
        domains = _by_domain(scene, job, board.crowd[job.name])
        crowding += sum(count * count for count in domains.values())
    tightness = sum(max(_used(board.rooms[host])) ** 2 for host in sorted(board.rooms))
    return (len(placed), -crowding, tightness), Placement(tuple(placed), tuple(unplaced))


def _largest_first(_: Scene, board: Board, wanted: list[Wanted]) -> list[Wanted]:
    most_cpu = max((room.capacity.cpu for room in board.rooms.values()), default=0) or 1
    most_memory = max((room.capacity.memory for room in board.rooms.values()), default=0) or 1

    def size(one: Wanted) -> float:
        return max(one.resources.cpu / most_cpu, one.resources.memory / most_memory)

    return sorted(wanted, key=lambda one: (-size(one), one.replica))


def _choosiest_first(scene: Scene, board: Board, wanted: list[Wanted]) -> list[Wanted]:
    """Those with the fewest possible hosts first."""
    hosts: dict[tuple[str, int], int] = {}
    for one in wanted:
        kind = one.job.name, one.release.number
        if kind not in hosts:
            ground = _ground(scene, board, one.job)
            hosts[kind] = sum(not _why_not_now(scene, board, one, host) for host in ground.hosts)
    return sorted(_largest_first(scene, board, wanted), key=lambda one: hosts[one.job.name, one.release.number])


def _used(room: Room, more: Resources | None = None) -> tuple[float, float]:
    """CPU and memory in use as fractions of the room's capacity, once `more` is placed."""
    free = room.free if more is None else room.free - more
    cpu = 1 - free.cpu / room.capacity.cpu if room.capacity.cpu > 0 else 1.0
    memory = 1 - free.memory / room.capacity.memory if room.capacity.memory > 0 else 1.0
    return cpu, memory


def _ground(scene: Scene, board: Board, job: WantedJob) -> Ground:
    if job.name not in board.grounds:
        hosts = tuple(host for host in sorted(set(job.eligible)) if not _why_never(scene, board, job, host))
        board.grounds[job.name] = Ground(hosts, {host: _domain(scene, job, host) for host in hosts})
    return board.grounds[job.name]


def _by_domain(scene: Scene, job: WantedJob, crowd: Counter[str]) -> Counter[str]:
    domains: Counter[str] = Counter()
    for host, count in crowd.items():
        domains[_domain(scene, job, host)] += count
    return domains


def _domain(scene: Scene, job: WantedJob, host: str) -> str:
    """What fails together: the value of the spread label. A host without it is a domain of its own."""
    label = job.release.spec.spread
    value = scene.specs[host].label(label) if label is not None and host in scene.specs else None
    return f"host {host}" if value is None else f"{label} {value}"


def _broken_constraints(scene: Scene, job: WantedJob, host: str) -> list[Constraint]:
    spec = scene.specs[host]
    return [
        constraint
        for constraint in job.release.spec.constraints
        if (spec.label(constraint.label) == constraint.value) != (constraint.operator == "==")
    ]
