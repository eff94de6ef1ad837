"""Distrusts the planner: finds the invariants of DESIGN section 2 that a plan breaks, before anything is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.plan import Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Plan
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict


def violations(
    plan: Plan, desired: Desired, snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], memory: Memory
) -> tuple[Violation, ...]:
    return tuple(Violation("reason", str(action)) for action in plan.actions if not action.reason)
