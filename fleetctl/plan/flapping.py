"""Whether a host comes and goes: three changes within ten minutes, and nothing it says now can be built on."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from fleetctl.model.snapshot import Reachable, Silence, Unreachable

if TYPE_CHECKING:
    from fleetctl.model.instant import Instant
    from fleetctl.model.memory import HostMemory
    from fleetctl.model.snapshot import Observation

TURNS_HELD = 3
TURNS_WITHIN_S = 600.0
TURNS_KEPT = 20  # of one host: more of them tell nothing more
TRIES_NEEDED = 3  # of this run, each a fresh connection, before silence counts at all


def answered(seen: Observation) -> bool | None:
    """Whether a host answered this run as it should; absent where this look can't tell.

    A host that lets us in no more, or whose agent gives no report, did not answer. Too few tries tell nothing, a
    jump host that can't be passed tells nothing of what is behind it, and who refuses us for being older is well.
    """
    match seen:
        case Reachable():
            return True
        case Unreachable(Silence.JUMP | Silence.NEWER):
            return None
        case Unreachable(Silence.SILENT | Silence.REFUSED | Silence.HUNG, tries=tries):
            return False if tries >= TRIES_NEEDED else None
        case Unreachable(tries=tries):
            return False if tries else None  # no try of ours: it refused an order, say, for want of disk
        case _:
            assert_never(seen)


def turns_after(known: HostMemory | None, answered: bool | None, now: Instant) -> tuple[Instant, ...]:
    """When the host began or ceased to answer in the last ten minutes, oldest first, this look included.

    A change is told by comparison with the look before, so that a run of many sweeps counts it once. The first look
    at a host changes nothing, nor does one that can't tell (`answered` is absent).
    """
    before = known.turns if known else ()
    was = known.answered if known else None
    turned = was is not None and answered is not None and was is not answered
    turns = (*before, now) if turned else before
    return tuple(turn for turn in turns if now - turn < TURNS_WITHIN_S)[-TURNS_KEPT:]


def is_flapping(turns: tuple[Instant, ...]) -> bool:
    return len(turns) >= TURNS_HELD
