"""Hosts get to know each other while all is well: who reached a peer once can be its witness later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleetctl.errors import HostError, YieldError
from fleetctl.plan.neighbours import neighbours
from fleetctl.plan.ownership import own_hosts

if TYPE_CHECKING:
    from fleetctl.engine.links import Links
    from fleetctl.model.host import Inventory
    from fleetctl.model.memory import Memory
    from fleetctl.model.snapshot import Snapshot

NEIGHBOURS_LIMIT_S = 5.0  # each tries its three at once, 2 s each


async def try_neighbours(fleet: str, inventory: Inventory, links: Links, snapshot: Snapshot, memory: Memory) -> None:
    """Each agent tries its three neighbours, so that it can be their witness. What fails here harms nothing now."""
    addresses = {name: seen.address for name, seen in own_hosts(fleet, snapshot, memory).items()}
    ports = {host.name: host.port for host in inventory.hosts}

    async def try_one(host: str, peers: tuple[str, ...]) -> None:
        link = links.living(host)
        if link is None:
            return
        try:
            async with asyncio.timeout(NEIGHBOURS_LIMIT_S):
                await link.neighbours({peer: (addresses[peer], ports[peer]) for peer in peers if peer in addresses})
        except (HostError, YieldError, TimeoutError):
            return  # its old answers stand: they only ever make us more careful

    ring = neighbours(inventory.hosts, addresses)
    await asyncio.gather(*(try_one(host, peers) for host, peers in ring.items()))
