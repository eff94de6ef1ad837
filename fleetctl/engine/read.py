"""Looking without touching: no lock, no claim, nothing installed, nothing written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleetctl.engine.look import look
from fleetctl.engine.record import forget_old_names
from fleetctl.engine.refusing import refuse
from fleetctl.engine.take_over import driven_elsewhere
from fleetctl.engine.wishing import Change, desired, lay_over
from fleetctl.errors import DrivenElsewhereError
from fleetctl.model.desired import Desired
from fleetctl.model.memory import Memory
from fleetctl.model.plan import Answer, Plan
from fleetctl.model.replica import Generation
from fleetctl.model.snapshot import Snapshot
from fleetctl.model.verdict import HostVerdict
from fleetctl.plan.failures import not_overcome
from fleetctl.plan.from_memory import taken_for_silent
from fleetctl.plan.ownership import one_name_each, other_driver
from fleetctl.plan.reconcile import make_plan
from fleetctl.plan.verdicts import verdicts

if TYPE_CHECKING:
    from fleetctl.engine.run import Means


@dataclass(frozen=True, slots=True)
class View:
    """The fleet as one look saw it, what fleetctl believes of it, and what `change` would do."""

    desired: Desired
    memory: Memory
    snapshot: Snapshot
    verdicts: Mapping[str, HostVerdict]
    plan: Plan
    driven_elsewhere: DrivenElsewhereError | None = None  # then all but the snapshot is what an old memory makes of it
    answers: tuple[Answer, ...] = ()  # of witnesses, about hosts that gave none


async def view(means: Means, change: Change) -> View:
    """One look. Raises UsageError where `change` is refused, as the run itself would.

    Where somebody else drove the fleet since, that is in the view: who shows what runs may still show it.
    """
    try:
        memory, wanted = wished(means, change)
        seen = await look(wanted, memory, means.links, means.clock, means.tell, known={})
        memory, wanted = wished(means, change)  # a run of this store that claimed meanwhile is no other driver
        named = one_name_each(wanted, seen.snapshot, memory)
        wanted, snapshot = named.desired, named.snapshot
        driver = other_driver(means.fleet, snapshot, memory, means.store.author)
        elsewhere = None if driver is None else await driven_elsewhere(means, driver, memory)
    finally:
        await means.links.close()
    memory = forget_old_names(means.fleet, named.memory, snapshot)
    now = means.clock.now()
    memory = replace(memory, failures=not_overcome(memory, snapshot, means.fleet, now))
    taken = taken_for_silent(snapshot)
    judged = verdicts(wanted, taken, seen.answers, memory, now)
    if elsewhere is None:
        refuse(wanted, taken, judged, memory)
    plan = make_plan(wanted, taken, judged, memory, now)
    return View(wanted, memory, snapshot, judged, plan, elsewhere, seen.answers)


def wished(means: Means, change: Change) -> tuple[Memory, Desired]:
    """What the store remembers now, with `change` laid over it, and what that comes to."""
    overlaid = lay_over(means.store.memory(means.fleet), change)
    fresh_from = Generation(overlaid.memory.generation + 1)
    return overlaid.memory, desired(overlaid, means.inventory, means.eligible, change, fresh_from)
