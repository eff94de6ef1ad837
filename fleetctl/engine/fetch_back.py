"""Fetches back kept copies that are gone, before a plan uploads them. From which hosts is decided in `plan`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.engine.events import FetchBegan, FetchEnded
from fleetctl.errors import FleetctlError, HostError, StateError
from fleetctl.model.host import HostSpec
from fleetctl.model.job import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleetctl.engine.events import Tell
    from fleetctl.engine.links import HostLink, Links
    from fleetctl.state.artifacts import KeptArtifacts

FETCH_LIMIT_S = 3600.0  # as an upload; one that stands still ends far sooner


@dataclass(frozen=True, slots=True)
class Gone:
    """An artifact to fetch back, for which job, and the hosts to try, in that order."""

    artifact: Digest
    job: str
    hosts: tuple[HostSpec, ...]


async def fetch_back(
    gone: tuple[Gone, ...], *, links: Links, kept: KeptArtifacts, tell: Tell
) -> Mapping[Digest, StateError]:
    """Each is kept again, or in the result: why not. One that can't be had keeps no other from coming."""
    async with asyncio.TaskGroup() as group:
        fetching = {one.artifact: group.create_task(_fetch(one, links, kept, tell)) for one in gone}
    return {artifact: error for artifact, task in fetching.items() if (error := task.result()) is not None}


async def _fetch(gone: Gone, links: Links, kept: KeptArtifacts, tell: Tell) -> StateError | None:
    failures: list[str] = []
    for host in gone.hosts:
        tell(FetchBegan(host.name, gone.job, gone.artifact))
        try:
            await _fetch_from(host, gone.artifact, links, kept)
        except HostError as error:
            failure, hopeless = error.reason, False
        except FleetctlError as error:  # of this machine: another host's copy would have no more room here
            failure, hopeless = error.message, True
        else:
            tell(FetchEnded(host.name, gone.job, gone.artifact))
            return None
        tell(FetchEnded(host.name, gone.job, gone.artifact, failure))
        failures.append(f"{host.name}: {failure}")
        if hopeless:
            break
    return _lacking(gone.artifact, failures)


async def _fetch_from(host: HostSpec, artifact: Digest, links: Links, kept: KeptArtifacts) -> None:
    async def fetch(link: HostLink) -> bool:
        with kept.receiving() as received:
            await link.fetch(artifact, received)
            return await _take_back(artifact, received, kept)

    try:
        async with asyncio.timeout(FETCH_LIMIT_S):
            sound = await links.ask(host, fetch)
    except TimeoutError:
        raise HostError(host.name, f"was not done in {FETCH_LIMIT_S:.0f} s") from None
    if not sound:
        raise HostError(host.name, "its copy is damaged")


async def _take_back(artifact: Digest, received: Path, kept: KeptArtifacts) -> bool:
    """Ends no sooner than the thread that does it: nobody may remove the folder from under it."""
    work = asyncio.ensure_future(asyncio.to_thread(kept.take_back, artifact, received))
    try:
        return await asyncio.shield(work)
    finally:
        await asyncio.wait([work])


def _lacking(artifact: Digest, failures: list[str]) -> StateError:
    why = f"it could not be fetched back ({'; '.join(failures)})" if failures else "no reachable host has it either"
    return StateError(
        f"no copy of artifact {artifact[:12]} is kept, and {why}",
        hint="restore the artifacts beside the store from a backup, or deploy the job again from its build",
    )
