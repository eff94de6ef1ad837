"""What a sweep saw: for each host a report, or why there is none. Not knowing is a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from fleetctl.model.instant import Instant
from fleetctl.model.job import Digest
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.resources import Bytes, MilliCpu, Resources


class Phase(Enum):
    """Where an instance is in its life, as its host sees it. Values are those of the host program's protocol."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    WAITING = "waiting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    STUCK = "stuck"

    @property
    def wants_to_run(self) -> bool:
        """Kept running by its agent: it serves, or may serve without any order of ours."""
        return self in (Phase.STARTING, Phase.READY, Phase.UNREADY, Phase.WAITING)

    @property
    def holds_room(self) -> bool:
        """Its ports and resources are not free."""
        return self not in (Phase.STOPPED, Phase.FAILED)


class ProblemKind(Enum):
    PORT_TAKEN = "port_taken"
    NOT_EXECUTABLE = "not_executable"
    EXIT_125 = "exit_125"
    ARTIFACT_MISSING = "artifact_missing"
    CRASH_LOOPING = "crash_looping"
    DAEMONIZED = "daemonized"


@dataclass(frozen=True, slots=True)
class Problem:
    kind: ProblemKind
    detail: str
    port: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class StuckProcess:
    """One that SIGKILL did not end: the kernel's letter for its state, and why."""

    pid: int
    state: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance's processes used of their host, when that was last sampled."""

    cpu_s: float  # since its start
    memory: Bytes  # now
    peak: Bytes
    processes: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something in an instance's life, as its host tells it to people."""

    at_wall: float  # by its host's clock
    run: int  # which start of it, counted from 1
    what: str


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """One instance, as its host tells it."""

    name: InstanceName
    release: int
    phase: Phase
    ports: tuple[tuple[str, int], ...] = ()
    address: str = ""
    artifact: Digest | None = None
    resources: Resources = field(default_factory=Resources)
    pid: int | None = None
    ready_for_s: float | None = None  # absent: not ready now
    ever_ready: bool = False
    restarts: int = 0
    last_exit: str | None = None  # "exited 42", "killed by 9"
    reason: str = ""
    problem: Problem | None = None
    age_s: float = 0.0  # since its start was ordered
    dropped: Bytes = Bytes(0)  # of its output, for want of room
    stuck: tuple[StuckProcess, ...] = ()
    said: str = ""  # its newest STATUS= by sd_notify
    limits: str = ""  # what binds it, or "advisory: ..."; empty: not known
    usage: Usage | None = None
    story: tuple[Event, ...] | None = None  # the newest, oldest first; absent: not known


@dataclass(frozen=True, slots=True)
class Facts:
    cpu: MilliCpu
    memory: Bytes
    disk_total: Bytes
    disk_free: Bytes
    kernel: str = ""
    arch: str = ""
    python: str = ""
    limits: str = "advisory"
    after_reboot: str = ""  # what starts the agent then: "unit", "user unit", "crontab", "none: ..."; empty: not known


@dataclass(frozen=True, slots=True)
class Guard:
    """The newest generation a host has seen and who gave it."""

    generation: Generation
    author: str
    at: float = 0.0  # wall clock, for people


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a host got another's SSH banner when it was last told to try."""

    host: str
    address: str
    port: int
    ok: bool
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HostReport:
    """All that one message observes on a host."""

    serial: int
    boot: str
    guard: Guard
    facts: Facts
    host_id: str = ""
    fleet: str | None = None  # absent: the root belongs to no fleet yet
    address: str = ""  # at which sshd saw us arrive
    agent: bool = True  # False: read from its files, no agent runs
    boottime_s: float = 0.0
    wallclock_s: float = 0.0
    ports_in_use: frozenset[int] = frozenset()
    artifacts: frozenset[Digest] = frozenset()
    instances: tuple[InstanceReport, ...] = ()
    reach: tuple[Reach, ...] = ()
    notes: tuple[str, ...] = ()
    from_memory: str = ""  # why nothing can be ordered there: the file system of its root hangs

    def is_open_to(self, fleet: str) -> bool:
        """Whether its root belongs to that fleet, or to none yet."""
        return self.fleet in (None, fleet)


class Silence(Enum):
    """Why a host gave no report, by layer. The first three may mean that it is dead; the others never do."""

    SILENT = "silent"  # no TCP
    REFUSED = "refused"  # the machine is up, sshd is not
    HUNG = "hung"  # TCP, but no SSH banner in 3 s
    LOGIN = "login failed"
    HOST_KEY = "host key"  # unknown or changed
    AGENT = "agent"  # logged in, but the host program could not be started or did not answer
    JUMP = "jump host"  # the host we pass through to it could not be passed: says nothing of it
    NEWER = "newer fleetctl"  # logged in, and refused: a newer fleetctl drives it, and it is well


@dataclass(frozen=True, slots=True)
class Reachable:
    report: HostReport
    address: str  # peer address: where its programs are reached


@dataclass(frozen=True, slots=True)
class Unreachable:
    silence: Silence
    error: str  # for people: what was tried and what came
    tries: int  # fresh connections of this run that failed alike
    hint: str = ""


Observation = Reachable | Unreachable


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every host of the inventory at one time, plus those only the store still knows."""

    at: Instant
    hosts: Mapping[str, Observation]

    def reachable(self) -> dict[str, Reachable]:
        """Sorted by name."""
        return {name: seen for name, seen in sorted(self.hosts.items()) if isinstance(seen, Reachable)}

    def unreachable(self) -> dict[str, Unreachable]:
        """Sorted by name."""
        return {name: seen for name, seen in sorted(self.hosts.items()) if isinstance(seen, Unreachable)}

    def refusing(self) -> dict[str, Unreachable]:
        """Those that take no order from here, because a newer fleetctl drives them. Sorted by name."""
        return {name: seen for name, seen in self.unreachable().items() if seen.silence is Silence.NEWER}
