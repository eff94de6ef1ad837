"""A plan: stages of actions that leave no choices, what is held back, and why. And what is asked of witnesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from fleetctl.model.job import Digest
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.verdict import HostVerdict


@dataclass(frozen=True, slots=True)
class Upload:
    """Bring the kept copy of an artifact to a host that lacks it."""

    host: str
    epoch: Generation
    artifact: Digest
    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """Start a new instance. Its epoch is the plan's generation."""

    host: str
    instance: InstanceName
    release: int
    ports: tuple[tuple[str, int], ...]
    address: str
    reason: str

    @property
    def epoch(self) -> Generation:
        return self.instance.epoch


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """A gate: passed when the instance has been ready for `for_s` in one piece, failed after `timeout_s`."""

    host: str
    instance: InstanceName
    for_s: float
    timeout_s: float
    reason: str

    @property
    def epoch(self) -> Generation:
        return self.instance.epoch


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop an instance's whole tree; ended when it was seen empty. `timeout_s` is its own drain and grace."""

    host: str
    instance: InstanceName
    timeout_s: float
    reason: str

    @property
    def epoch(self) -> Generation:
        return self.instance.epoch


Action = Upload | Start | AwaitReady | Stop


@dataclass(frozen=True, slots=True)
class Stage:
    """Actions that run side by side. It ends when all have ended; a failure ends the plan after it."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class StepKey:
    """A step that failed in this run, so that it is not planned again: same action, replica, host, ports."""

    action: str  # the action's class name
    replica: str  # or the artifact of an upload
    host: str
    ports: tuple[tuple[str, int], ...] = ()


def step_key(action: Action) -> StepKey:
    name = type(action).__name__
    match action:
        case Upload():
            return StepKey(name, action.artifact, action.host)
        case Start():
            return StepKey(name, str(action.instance.replica), action.host, action.ports)
        case AwaitReady() | Stop():
            # One instance's gate failing says nothing about its successor's: the epoch stays in the key.
            return StepKey(name, str(action.instance), action.host)


class HeldKind(Enum):
    """Why something is not done. All but WAITING leave the fleet degraded: a human should look."""

    NO_ROOM = "no room"
    BUDGET = "budget"
    SUSPECT = "suspect"
    TOO_MUCH_LOST = "too much lost"
    STALLED_ROLLOUT = "stalled rollout"
    NOT_READY = "not ready"
    FAILED_BEFORE = "failed in this run"
    STUCK = "stuck"
    FAILED = "failed"
    WAITING = "waiting"  # will come right by itself or by the next sweep
    REFUSED = "refused"  # can't be done as it is wished: refused before anything is touched
    UNWISHED = "unwished"  # runs, but no known wish names it: shown, not touched
    LIMIT = "limit"  # outside --limit: frozen, as was asked
    CORDON = "cordon"  # a drain or a lost host's work waits for room that a cordon takes away
    BAD_RELEASE = "bad release"  # failed on two hosts: not moved any more
    ORPHAN = "gone from its playbook"  # shown, not touched
    NOTICE = "notice"  # what the wish undoes: said, nothing is held
    COMMON_CAUSE = "common cause"  # one sign on many hosts: told, not acted upon
    NEWER = "newer fleetctl"  # drives that host, and refuses this one there


HARMLESS = frozenset(
    {HeldKind.WAITING, HeldKind.UNWISHED, HeldKind.LIMIT, HeldKind.ORPHAN, HeldKind.NOTICE}
)  # need no human


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """What is not done, and why: "web.2 stays down: budget 1 of 1 used by web.0"."""

    subject: str  # a replica, an instance, a job or a host
    kind: HeldKind = field(compare=False)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    generation: Generation
    stages: tuple[Stage, ...]
    held: tuple[Held, ...]
    verdicts: Mapping[str, HostVerdict]
    behind: Mapping[str, frozenset[str]] = field(default_factory=dict)  # host -> jobs left behind there, as was seen

    @property
    def actions(self) -> tuple[Action, ...]:
        return tuple(action for stage in self.stages for action in stage.actions)


@dataclass(frozen=True, slots=True, order=True)
class Question:
    """What a witness is asked about a host: its SSH banner, or the ready probe of one of its instances."""

    about: str
    witness: str
    address: str
    port: int
    kind: str  # "banner", "http" or "tcp"
    path: str = "/"  # http only, as are status, header and body: what its probe asks of the page
    timeout_s: float = 2.0
    status: tuple[int, int] = (200, 399)
    header: tuple[tuple[str, str], ...] = ()
    body: str = ""
    instance: InstanceName | None = field(default=None, compare=False)
    reached_before: bool = field(default=False, compare=False)  # only then its No means anything

    @property
    def key(self) -> str:
        return f"{self.about} {self.kind} {self.address}:{self.port}{self.path}"


class Said(Enum):
    YES = "yes"
    NO = "no"
    NOTHING = "nothing"  # the witness itself could not be asked


@dataclass(frozen=True, slots=True)
class Answer:
    question: Question
    said: Said
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that a plan breaks: found by the checker, before anything is done."""

    invariant: str
    detail: str
