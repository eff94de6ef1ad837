"""Who tries whom, so that every host has witnesses: one ring of hosts in which the zones alternate."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.host import HostSpec

TRIED = 3


def neighbours(hosts: tuple[HostSpec, ...], addresses: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """For each host with a known address the next three of the ring, so that each is tried by three others."""
    ring = _ring([host for host in hosts if host.name in addresses])
    return {
        name: tuple(ring[(place + step) % len(ring)] for step in range(1, min(TRIED, len(ring) - 1) + 1))
        for place, name in enumerate(ring)
    }


def _ring(hosts: list[HostSpec]) -> list[str]:
    """a1, b1, a2, b2, …: zones in the order of their names, hosts without one last."""
    zones = sorted({host.zone for host in hosts}, key=lambda zone: (zone is None, zone or ""))
    columns = [sorted(host.name for host in hosts if host.zone == zone) for zone in zones]
    return [name for name in chain.from_iterable(zip_longest(*columns)) if name is not None]
