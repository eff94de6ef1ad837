"""What a run tells while it works, as plain values: the command line renders them, tests read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from fleetctl.model.desired import Desired
from fleetctl.model.plan import Action, Plan
from fleetctl.model.snapshot import Observation, Snapshot


class Outcome(Enum):
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"  # the order may have been carried out: the next look tells


@dataclass(frozen=True, slots=True)
class ActionResult:
    """How one action ended. `log` holds the last lines of an instance that did not get ready."""

    action: Action
    outcome: Outcome
    detail: str = ""
    hint: str = ""
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostSeen:
    host: str
    observation: Observation


@dataclass(frozen=True, slots=True)
class PlanMade:
    """A sweep's plan, and what it was made from."""

    plan: Plan
    desired: Desired
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class ActionBegan:
    action: Action


@dataclass(frozen=True, slots=True)
class Uploading:
    host: str
    artifact: str
    sent_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class ActionEnded:
    result: ActionResult


@dataclass(frozen=True, slots=True)
class FetchBegan:
    """A copy that is kept no more is being fetched back from a host that has it."""

    host: str
    job: str
    artifact: str


@dataclass(frozen=True, slots=True)
class FetchEnded:
    host: str
    job: str
    artifact: str
    error: str = ""  # why that host's copy did not come back


@dataclass(frozen=True, slots=True)
class TookOver:
    """The store was made anew from what a host keeps."""

    driver: str  # who drove before, as user@machine
    generation: int  # the newest one of theirs that was seen
    host: str  # that kept it
    jobs: int


Event = HostSeen | PlanMade | ActionBegan | Uploading | ActionEnded | FetchBegan | FetchEnded | TookOver
Tell = Callable[[Event], None]
