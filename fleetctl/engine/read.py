"""Looking without touching: no lock, no claim, nothing installed, nothing written down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleetctl.engine.look import look
from fleetctl.engine.record import forget_old_names
from fleetctl.engine.refusing import refuse
from fleetctl.engine.take_over import driven_elsewhere
from fleetctl.engine.wishing import Change, desired, lay_over
from fleetctl.errors import DrivenElsewhereError, FleetctlError
from fleetctl.model.desired import Desired
from fleetctl.model.log import LogQuery
from fleetctl.model.memory import Memory
from fleetctl.model.plan import Answer, Plan
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.snapshot import Snapshot
from fleetctl.model.verdict import HostVerdict
from fleetctl.plan.failures import not_overcome
from fleetctl.plan.ownership import one_name_each, other_driver
from fleetctl.plan.reconcile import make_plan
from fleetctl.plan.verdicts import verdicts

if TYPE_CHECKING:
    from fleetctl.engine.run import Means

LOGS_LIMIT_S = 15.0
LOGS_AT_ONCE = 20


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
    judged = verdicts(wanted, snapshot, seen.answers, memory, now)
    if elsewhere is None:
        refuse(wanted, snapshot, judged, memory)
    plan = make_plan(wanted, snapshot, judged, memory, now)
    return View(wanted, memory, snapshot, judged, plan, elsewhere, seen.answers)


def wished(means: Means, change: Change) -> tuple[Memory, Desired]:
    """What the store remembers now, with `change` laid over it, and what that comes to."""
    overlaid = lay_over(means.store.memory(means.fleet), change)
    fresh_from = Generation(overlaid.memory.generation + 1)
    return overlaid.memory, desired(overlaid, means.inventory, means.eligible, change, fresh_from)


@dataclass(frozen=True, slots=True)
class InstanceLog:
    host: str
    instance: InstanceName
    lines: tuple[str, ...]
    error: str = ""  # why its host could not be asked


async def logs(means: Means, job: str, lines: int) -> tuple[View, tuple[InstanceLog, ...]]:
    """The last `lines` of every instance of `job`, newest epochs first within a replica; hosts that can't be asked
    are in the view's snapshot."""
    memory, wanted = wished(means, Change())
    gate = asyncio.Semaphore(LOGS_AT_ONCE)

    async def fetch(host: str, instance: InstanceName) -> InstanceLog:
        link = means.links.living(host)
        if link is None:
            return InstanceLog(host, instance, (), "its link was lost")
        try:
            async with gate, asyncio.timeout(LOGS_LIMIT_S):
                return InstanceLog(host, instance, (await link.logs(instance, LogQuery(lines))).lines)
        except FleetctlError as error:
            return InstanceLog(host, instance, (), error.message)
        except TimeoutError:
            return InstanceLog(host, instance, (), f"no answer in {LOGS_LIMIT_S:.0f} s")

    try:
        seen = await look(wanted, memory, means.links, means.clock, means.tell, known={})
        named = one_name_each(wanted, seen.snapshot, memory)
        found = sorted(
            (row.name.replica, -row.name.epoch, host, row.name)
            for host, seen_host in named.snapshot.reachable().items()
            for row in seen_host.report.instances
            if row.name.job == job
        )
        fetched = await asyncio.gather(*(fetch(host, name) for _, _, host, name in found))
    finally:
        await means.links.close()
    now = means.clock.now()
    wanted, snapshot, memory = named.desired, named.snapshot, named.memory
    judged = verdicts(wanted, snapshot, seen.answers, memory, now)
    plan = make_plan(wanted, snapshot, judged, memory, now)
    return View(wanted, memory, snapshot, judged, plan), tuple(fetched)
