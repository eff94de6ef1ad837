"""When somebody else drove this fleet: who, and how to go on; or the store made anew from what the hosts keep."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from fleetctl.engine.events import TookOver
from fleetctl.errors import DrivenElsewhereError, FleetctlError, HostError, YieldError
from fleetctl.model.memory import HostMemory
from fleetctl.plan.ownership import is_same_controller, leap_over, own_hosts
from fleetctl.state.handover import NotEnoughError, unpack

if TYPE_CHECKING:
    from fleetctl.engine.links import Links
    from fleetctl.engine.run import Means
    from fleetctl.model.memory import Memory
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.plan.ownership import Driver
    from fleetctl.state.handover import Kept
    from fleetctl.state.store import RunLock

WISHES_LIMIT_S = 15.0  # one message there and back, of some MiB at most
HOSTS_ASKED_MAX = 5  # for what all of them should keep alike


async def driven_elsewhere(means: Means, driver: Driver, memory: Memory) -> DrivenElsewhereError:
    """Who drove the fleet last, when and where, and what to set to drive it from there."""
    found, _ = await _kept_by(means.links, driver)
    return told(means.fleet, means.store.author, driver, memory, found[1] if found else None)


def told(fleet: str, author: str, driver: Driver, memory: Memory, kept: Kept | None) -> DrivenElsewhereError:
    """The same, from what is known. `kept`: what the hosts keep of that driver, which names their store's folder."""
    who, guard = driver.guard.author.rpartition(":")[0] or driver.guard.author, driver.guard
    if is_same_controller(guard.author, author):
        here = f"this store, an older copy of theirs, knows {memory.generation}"
    elif guard.generation == memory.generation:
        here = f"this store gave {memory.generation} as well, to others or to nobody"
    else:
        here = f"this store knows {memory.generation or 'nothing of it'}"
    message = f"fleet {fleet} was driven last by {who}{_when(guard.at)} (generation {guard.generation}; {here})"
    return DrivenElsewhereError(message, hint=_hint(author, who, kept))


def _hint(author: str, who: str, kept: Kept | None) -> str:
    user, _, machine = who.rpartition("@")
    we, _, here = author.rpartition(":")[0].rpartition("@")
    take_over = "fleetctl heal --take-over"
    state = kept.driver.state if kept is not None and (kept.driver.user, kept.driver.host) == (user, machine) else ""
    if machine != here:
        return f"drive it from {machine or 'there'}, or take over with: {take_over}"
    if user == we:
        return f"set FLEETCTL_STATE={state or 'the folder of that store'}; if that store is lost: {take_over}"
    folder = f", or with FLEETCTL_STATE={state}" if state else ""
    return f"run it as {user}{folder}; if that store is lost: {take_over}"


def _when(wall: float) -> str:
    try:
        return f" at {datetime.fromtimestamp(wall).astimezone():%Y-%m-%d %H:%M}" if wall > 0 else ""
    except (ValueError, OverflowError, OSError):
        return ""  # a host may say anything


async def take_over(means: Means, lock: RunLock, snapshot: Snapshot, driver: Driver, memory: Memory) -> None:
    """Makes the store say what the hosts that `driver` gave the newest orders to keep, a leap ahead of all of them.

    Raises FleetctlError where none of them keeps enough: then nothing was changed.
    """
    generation = leap_over(means.fleet, snapshot, memory.generation)
    found, reasons = await _kept_by(means.links, driver)
    if found is None:
        raise FleetctlError(
            f"fleet {means.fleet} can't be taken over from what its hosts keep: {'; '.join(reasons)}",
            hint="drive it once more with the store that drove it last, with this version of fleetctl: "
            "each command that changes something leaves there what a take-over needs",
        )
    host, kept = found
    asked = own_hosts(means.fleet, snapshot, memory)
    silent = {
        name: replace(
            known,
            last_address=theirs.last_address,
            host_id=theirs.host_id or known.host_id,
            instances=theirs.instances,
            behind=theirs.behind,
        )
        for name, theirs in kept.host_memories().items()
        if name not in asked
        for known in (memory.hosts.get(name, HostMemory()),)
    }
    means.store.take_over(lock, means.fleet, generation, kept.job_memories(), kept.cordons, silent)
    means.tell(TookOver(driver.guard.author.rpartition(":")[0], driver.guard.generation, host, len(kept.jobs)))


async def _kept_by(links: Links, driver: Driver) -> tuple[tuple[str, Kept] | None, tuple[str, ...]]:
    """What the first of the driver's hosts that can say it keeps, and which that is; why the ones before could not."""
    reasons = []
    for host in driver.hosts[:HOSTS_ASKED_MAX]:
        link = links.living(host)
        if link is None:
            reasons.append(f"{host}: its link was lost")
            continue
        try:
            async with asyncio.timeout(WISHES_LIMIT_S):
                return (host, unpack(await link.wishes())), tuple(reasons)
        except NotEnoughError as error:
            reasons.append(f"{host}: {error.message}")
        except (HostError, YieldError) as error:
            reasons.append(error.message)
        except TimeoutError:
            reasons.append(f"{host}: no answer in {WISHES_LIMIT_S:.0f} s")
    return None, tuple(reasons)
