"""What is refused before anything is touched: wishes that can't be kept, and plans that break their own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.engine.orders import spec_of
from fleetctl.errors import FleetctlError, UsageError
from fleetctl.plan.check import violations
from fleetctl.plan.ownership import refuse_shared_roots
from fleetctl.plan.reconcile import refusals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Plan, Start
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict


def refuse(wanted: Desired, snapshot: Snapshot, judged: Mapping[str, HostVerdict], memory: Memory) -> None:
    """Raises UsageError where the wish can't be kept at all, before anything is touched."""
    refuse_shared_roots(snapshot)
    if reasons := refusals(wanted, snapshot, judged, memory):
        raise UsageError("\n".join(reasons))


def refuse_unrenderable(action: Start, wanted: Desired) -> None:
    """Raises UsageError where a template of a new wish fails for this placement."""
    try:
        spec_of(action, wanted)
    except FleetctlError as error:
        raise UsageError(error.message, hint=error.hint) from error


def distrust(
    plan: Plan,
    wanted: Desired,
    snapshot: Snapshot,
    judged: Mapping[str, HostVerdict],
    memory: Memory,
) -> None:
    """Raises FleetctlError where the plan breaks an invariant: a defect of ours, found before it does harm."""
    if broken := violations(plan, wanted, snapshot, judged, memory):
        raise FleetctlError(
            "the plan breaks its own rules, so nothing was done: "
            + "; ".join(f"{violation.invariant}: {violation.detail}" for violation in broken),
            hint="this is a defect of fleetctl: please report it with the output of `fleetctl plan --json`",
        )
