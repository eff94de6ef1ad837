"""Claims: one message to each host that makes us the one who drives it, and leaves the fleet's wishes there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetctl.errors import UnansweredError
from fleetctl.model.replica import Generation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.engine.links import Links
    from fleetctl.model.snapshot import Reachable

CLAIM_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Claim:
    generation: Generation
    author: str
    fleet: str
    wishes: dict[str, Any]


async def claim_all(links: Links, hosts: Mapping[str, Reachable], claim: Claim) -> dict[str, BaseException]:
    """Claims each host as it was seen, all at once; why those that did not take it did not."""

    async def one(host: str, serial: int) -> None:
        link = links.living(host)
        if link is None:
            raise UnansweredError(host, "its link was lost before the claim")
        try:
            async with asyncio.timeout(CLAIM_LIMIT_S):
                await link.claim(
                    generation=claim.generation,
                    author=claim.author,
                    serial=serial,
                    fleet=claim.fleet,
                    wishes=claim.wishes,
                )
        except TimeoutError:
            raise UnansweredError(host, f"no answer to the claim in {CLAIM_LIMIT_S:.0f} s") from None

    ended = await asyncio.gather(
        *(one(name, seen.report.serial) for name, seen in hosts.items()), return_exceptions=True
    )
    return {name: error for name, error in zip(hosts, ended, strict=True) if error is not None}
