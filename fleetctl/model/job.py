"""Jobs: what to run, how it shows that it is well, and how it is replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NewType

from fleetctl.model.resources import Bytes, Resources
from fleetctl.model.template import Text

Digest = NewType("Digest", str)  # lower-case hex SHA-256 of an artifact's listing


@dataclass(frozen=True, slots=True)
class PortRequest:
    """A port by name; `fixed` where the playbook gives the number, else the scheduler does."""

    name: str
    fixed: int | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A question put to a running instance again and again. `port` is the name of one of the job's ports.

    `command` is run where the instance is and has neither port nor path; `notify` asks nothing: the program itself says
    READY=1 by sd_notify.
    """

    kind: Literal["http", "tcp", "command", "notify"]
    port: str = ""
    path: str = "/"  # http only, as are status, header and body
    interval_s: float = 2.0
    timeout_s: float = 1.0
    failures: int = 3
    successes: int = 1
    grace_s: float = 0.0
    status: tuple[int, int] = (200, 399)  # least and most
    header: tuple[tuple[str, str], ...] = ()  # name, and a text in its value
    body: str = ""  # a text in it
    command: tuple[Text, ...] = ()

    @property
    def asked_over_network(self) -> bool:
        """Whether a peer can repeat it."""
        return self.kind in ("http", "tcp")


@dataclass(frozen=True, slots=True)
class Progress:
    """A number that has to move: in a file of the working folder, or a metric of the program's own page."""

    stalled_s: float = 600.0
    file: str | None = None
    metric: str | None = None
    port: str = ""  # metric only, as is path
    path: str = "/metrics"


@dataclass(frozen=True, slots=True)
class AlivePolicy:
    """When a program that still runs is believed to hang: it is ended then, and started again."""

    probe: Probe | None = None
    heartbeat_s: float | None = None  # at least one within this time
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Pauses double from the shortest to the longest, and begin anew after `reset_s` of being ready. It never gives up:
    `alarm_exits` within `alarm_s` are told as crash-looping."""

    backoff_min_s: float = 1.0
    backoff_max_s: float = 300.0
    reset_s: float = 600.0
    alarm_exits: int = 5
    alarm_s: float = 600.0


@dataclass(frozen=True, slots=True)
class StopPolicy:
    signal: str = "TERM"
    timeout_s: float = 30.0
    drain_s: float = 0.0  # between the notice, which makes it `stopping`, and the signal: it still serves


@dataclass(frozen=True, slots=True)
class UpdatePolicy:
    """`max_unavailable` is a count, or a percentage of the replicas, rounded down."""

    max_unavailable: int | str = 1  # 2 or "25%"
    min_healthy_s: float = 10.0
    deadline_s: float = 300.0

    def budget(self, replicas: int) -> int:
        if isinstance(self.max_unavailable, int):
            return self.max_unavailable
        return replicas * int(self.max_unavailable.rstrip("%")) // 100


@dataclass(frozen=True, slots=True)
class LogPolicy:
    size: Bytes = Bytes(10 * 1024 * 1024)
    keep: int = 5
    when_full: Literal["drop", "block"] = (
        "drop"  # what becomes of output faster than its disk: lost and counted, or late
    )


@dataclass(frozen=True, slots=True, order=True)
class Constraint:
    """`labels.zone != 'c'`: what a host's label must or must not be. A missing label differs from every value."""

    label: str
    operator: Literal["==", "!="]
    value: str

    def __str__(self) -> str:
        return f"labels.{self.label} {self.operator} '{self.value}'"


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as the playbook describes it, with everything rendered that needs no placement."""

    name: str
    hosts: str  # the play's pattern: where it may run
    command: tuple[Text, ...]
    replicas: int = 1
    env: tuple[tuple[str, Text], ...] = ()
    ports: tuple[PortRequest, ...] = ()
    resources: Resources = field(default_factory=Resources)
    constraints: tuple[Constraint, ...] = ()
    spread: str | None = None  # a label's name; absent: over hosts
    ready: Probe | None = None
    alive: AlivePolicy | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    stop: StopPolicy = field(default_factory=StopPolicy)
    update: UpdatePolicy = field(default_factory=UpdatePolicy)
    log: LogPolicy = field(default_factory=LogPolicy)
    pids: int = 0  # the most processes of one instance; 0: no limit
    core: bool = False  # whether it may leave a core file

    def runs_like(self, other: JobSpec) -> bool:
        """Whether an instance of the one need not be replaced to be an instance of the other (artifacts aside).

        Command, env, ports, resources and core replace instances; so, for now, do ready, alive, restart, stop and log,
        which a later version hands to the agent in place. The rest steers fleetctl only.
        """
        return self._running() == other._running()

    def _running(self) -> tuple[object, ...]:
        what = (self.command, self.env, self.ports, self.resources, self.pids, self.core)
        return (*what, self.ready, self.alive, self.restart, self.stop, self.log)


@dataclass(frozen=True, slots=True)
class Release:
    """A numbered version of a job. Numbers rise per job and are never used again."""

    number: int
    spec: JobSpec
    artifact: Digest | None = None  # absent: the command needs no file of ours

    @property
    def job(self) -> str:
        return self.spec.name

    def runs_like(self, other: Release) -> bool:
        return self.artifact == other.artifact and self.spec.runs_like(other.spec)
