"""From what is and what should be to a plan that leaves no choices, and says what it holds back.

The phases, in the order in which they matter; no phase reaches back. Pure: the same input gives the same plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.plan import Held, HeldKind, Plan
from fleetctl.plan.behind import left_behind
from fleetctl.plan.draft import Draft
from fleetctl.plan.fence import fence
from fleetctl.plan.left_alone import tell_what_is_left_alone, who_refuse_us
from fleetctl.plan.missing import hold_homeless, place_missing
from fleetctl.plan.rollout import replace_what_is_down, roll_forward
from fleetctl.plan.running import keep_running
from fleetctl.plan.scene import Scene
from fleetctl.plan.surplus import stop_surplus
from fleetctl.plan.verdicts import too_much_lost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.instant import Instant
    from fleetctl.model.memory import Memory
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict


def make_plan(
    desired: Desired, snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], memory: Memory, now: Instant
) -> Plan:
    """What to do so that the fleet is as desired, in stages, and what is not done and why."""
    scene = Scene.of(desired, snapshot, verdicts, memory, now)
    excess = too_much_lost(desired, verdicts, snapshot)
    if excess and not desired.force:
        return _nothing(scene, excess)
    draft = Draft.of(scene)
    fence(draft)
    stop_surplus(draft)
    keep_running(draft)
    place_missing(draft)
    replace_what_is_down(draft)
    roll_forward(draft)
    hold_homeless(draft)
    tell_what_is_left_alone(draft)
    return draft.plan()


def refusals(
    desired: Desired, snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], memory: Memory
) -> tuple[str, ...]:
    """Why the wish can't be kept at all, for a command to refuse before it touches anything."""
    tight = [job for job in desired.jobs if job.release.spec.update.budget(job.replicas) == 0]
    if not any(job.rolls or job.fresh_from is not None for job in tight):
        return ()
    plan = make_plan(desired, snapshot, verdicts, memory, snapshot.at)
    return tuple(held.reason for held in plan.held if held.kind is HeldKind.REFUSED)


def _nothing(scene: Scene, excess: str) -> Plan:
    reason = (
        f"{excess}: that looks like a common cause, or our own network, so nothing is moved; "
        "if they are really gone: --force"
    )
    held = (Held(scene.desired.fleet, HeldKind.TOO_MUCH_LOST, reason), *who_refuse_us(scene))
    return Plan(scene.generation, (), held, dict(sorted(scene.verdicts.items())), left_behind(scene))
