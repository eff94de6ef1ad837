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
class ReadyProbe:
    """How an instance shows that it may get traffic. `port` is the name of one of the job's ports."""

    kind: Literal["http", "tcp"]
    port: str
    path: str = "/"  # http only
    interval_s: float = 2.0
    timeout_s: float = 1.0
    failures: int = 3
    successes: int = 1
    grace_s: float = 0.0


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
    ready: ReadyProbe | None = None
    stop: StopPolicy = field(default_factory=StopPolicy)
    update: UpdatePolicy = field(default_factory=UpdatePolicy)
    log: LogPolicy = field(default_factory=LogPolicy)

    def runs_like(self, other: JobSpec) -> bool:
        """Whether an instance of the one need not be replaced to be an instance of the other (artifacts aside).

        Command, env, ports and resources replace instances; so, for now, do ready, stop and log, which a later
        version hands to the agent in place. The rest steers fleetctl only.
        """
        return self._running() == other._running()

    def _running(self) -> tuple[object, ...]:
        return (self.command, self.env, self.ports, self.resources, self.ready, self.stop, self.log)


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
