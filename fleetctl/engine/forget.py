"""Forget a host: one that is gone for good, or one that was made anew and is another machine under an old name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.engine.lease import renewed
from fleetctl.engine.look import look
from fleetctl.engine.take_over import driven_elsewhere
from fleetctl.engine.wishing import Change, desired, lay_over
from fleetctl.errors import UsageError
from fleetctl.model.desired import Desired
from fleetctl.model.memory import Memory
from fleetctl.model.replica import Generation
from fleetctl.model.snapshot import Snapshot
from fleetctl.model.verdict import HostVerdict
from fleetctl.plan.ownership import missing_without, one_name_each, other_driver, why_not_forget
from fleetctl.plan.verdicts import verdicts

if TYPE_CHECKING:
    from fleetctl.engine.run import Means
    from fleetctl.state.store import RunLock


async def forget(means: Means, lock: RunLock, host: str, *, force: bool = False) -> str:
    """Makes the store know nothing of `host` any more; what is said of that. The lock is held by the caller.

    Looks at the fleet first and touches no host. Raises UsageError for a host that is not known, and, unless forced,
    for one where something runs or may run that nobody would know of any more; DrivenElsewhereError where another
    store knows better.
    """
    before = means.store.memory(means.fleet)
    if host not in before.hosts:
        known = ", ".join(sorted(before.hosts)) or "none"
        raise UsageError(f"{host}: nothing is remembered of that host", hint=f"remembered are: {known}")
    async with renewed(lock):
        seen = await _seen(means)
        why_not = why_not_forget(host, seen.desired, seen.snapshot, seen.verdicts, seen.memory)
        if why_not and not force:
            raise UsageError(
                why_not,
                hint=f"let a heal move that off, or switch {host} off for good; "
                f"to forget it all the same: fleetctl hosts --forget {host} --force",
            )
        in_inventory = means.inventory.host(host) is not None
        means.store.forget_host(lock, means.fleet, host, and_cordon=not in_inventory)
    missing = missing_without(host, seen.snapshot, before)
    rest = f"; a heal starts what is missing now: {', '.join(map(str, missing))}" if missing else ""
    return f"{host} is forgotten{rest}"


@dataclass(frozen=True, slots=True)
class _Seen:
    desired: Desired
    snapshot: Snapshot
    verdicts: Mapping[str, HostVerdict]
    memory: Memory


async def _seen(means: Means) -> _Seen:
    wished = lay_over(means.store.memory(means.fleet), Change())
    memory = wished.memory
    wanted = desired(wished, means.inventory, means.eligible, Change(), Generation(memory.generation + 1))
    try:
        seen = await look(wanted, memory, means.links, means.clock, means.tell, known={})
        driver = other_driver(means.fleet, seen.snapshot, memory, means.store.author)
        if driver is not None:
            raise await driven_elsewhere(means, driver, memory)
    finally:
        await means.links.close()
    named = one_name_each(wanted, seen.snapshot, memory)
    judged = verdicts(named.desired, named.snapshot, seen.answers, named.memory, means.clock.now())
    return _Seen(named.desired, named.snapshot, judged, named.memory)
