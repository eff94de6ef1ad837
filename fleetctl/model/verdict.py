"""What fleetctl believes about a host, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fleetctl.model.instant import Instant


class Health(Enum):
    """What fleetctl believes about a host."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"  # don't know: nothing on it is touched or replaced
    LOST = "lost"  # its work moves
    BROKEN = "broken"  # answers, but shows signs of a bad machine


class Sign(Enum):
    """What a belief that is not `healthy` rests on, in one word: the same one on many hosts has a common cause."""

    NONE = ""
    SILENT = "silent"
    REFUSED = "refused"
    HUNG = "hung"
    LOGIN = "login failed"
    HOST_KEY = "host key"
    AGENT = "agent"
    JUMP = "jump host"  # the way to it is broken
    FLAPPING = "flapping"
    CLOCK = "clock"
    IDENTITY = "identity"  # its root is not the one that was there under this name


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """A belief about a host, the evidence for it, and since when it holds (wall-clock seconds are the store's)."""

    health: Health
    evidence: str
    since: Instant
    sign: Sign = Sign.NONE
