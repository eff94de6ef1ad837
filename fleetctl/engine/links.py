"""The link to each host, as the engine sees it, and the living ones of one run.

What a link is made of (SSH, a modelled fleet) is not known here: the engine is given a way to dial.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from fleetctl.errors import UnansweredError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from fleetctl.model.host import HostSpec
    from fleetctl.model.job import Digest
    from fleetctl.model.log import LogPage, LogQuery
    from fleetctl.model.plan import Answer, Question
    from fleetctl.model.replica import Generation, InstanceName
    from fleetctl.model.snapshot import HostReport, InstanceReport, Reach

T = TypeVar("T")

CLOSE_LIMIT_S = 3.0  # a dead peer is not waited for


class HostLink(Protocol):
    """One host's agent, to ask and to order. Raises the refusals of `fleetctl.errors`; every call is bounded."""

    @property
    def address(self) -> str:
        """Where the host's programs are reached."""
        ...

    @property
    def closed(self) -> bool: ...

    async def observe(self) -> HostReport: ...

    async def claim(self, *, generation: Generation, author: str, serial: int, fleet: str, wishes: Any) -> int: ...

    async def start(
        self, *, generation: Generation, author: str, instance: InstanceName, spec: dict[str, Any]
    ) -> InstanceReport: ...

    async def stop(
        self, *, generation: Generation, author: str, instance: InstanceName, reason: str
    ) -> InstanceReport: ...

    async def wait(
        self, instance: InstanceName, *, until: Literal["ready", "stopped"], for_s: float, timeout_s: float
    ) -> InstanceReport: ...

    async def upload(
        self,
        *,
        generation: Generation,
        author: str,
        digest: Digest,
        source: Path,
        progress: Callable[[int, int], None],
    ) -> None: ...

    async def fetch(self, digest: Digest, into: Path) -> None:
        """Bring the host's artifact into the new folder `into`; whether it is sound is for the caller to see."""
        ...

    async def probe(self, questions: tuple[Question, ...]) -> tuple[Answer, ...]: ...

    async def neighbours(self, peers: Mapping[str, tuple[str, int]]) -> tuple[Reach, ...]: ...

    async def wishes(self) -> dict[str, Any] | None:
        """What it was last given to keep of its fleet, whatever that is."""
        ...

    async def logs(self, instance: InstanceName, query: LogQuery) -> LogPage: ...

    async def close(self) -> None: ...


class Dial(Protocol):
    """One try to open a link. Raises UnreachableError; calls `on_banner` once the host has shown an SSH banner."""

    async def __call__(self, host: HostSpec, on_banner: Callable[[], None]) -> HostLink: ...


class Redial(Protocol):
    """A link to a host that answered before in this run: tries again where that may help. Raises UnreachableError."""

    async def __call__(self, host: HostSpec) -> HostLink: ...


class Links:
    """The living links of one run, at most one a host. `hang_up` ends what they share, once they are closed."""

    def __init__(self, dial: Dial, redial: Redial, hang_up: Callable[[], Awaitable[None]] | None = None) -> None:
        self._dial, self._redial, self._hang_up = dial, redial, hang_up
        self._links: dict[str, HostLink] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    def living(self, host: str) -> HostLink | None:
        link = self._links.get(host)
        return None if link is None or link.closed else link

    async def open(self, host: HostSpec, on_banner: Callable[[], None] = lambda: None) -> HostLink:
        """A fresh link by one try, kept as the host's living one. Raises UnreachableError."""
        return await self._keep(host, await self._dial(host, on_banner))

    async def _keep(self, host: HostSpec, link: HostLink) -> HostLink:
        before, self._links[host.name] = self._links.get(host.name), link
        if before is not None:
            await _close(before.close)
        return link

    async def ask(self, host: HostSpec, call: Callable[[HostLink], Awaitable[T]]) -> T:
        """`call` on the host's link; where no answer came, once more on a fresh one: orders bear repeating."""
        link = await self._reopened(host, broken=None)
        try:
            return await call(link)
        except UnansweredError:
            return await call(await self._reopened(host, broken=link))

    async def _reopened(self, host: HostSpec, *, broken: HostLink | None) -> HostLink:
        """A living link other than the broken one. However many ask at once, one is opened for all of them."""
        async with self._opening.setdefault(host.name, asyncio.Lock()):
            link = self.living(host.name)
            if link is None or link is broken:
                link = await self._keep(host, await self._redial(host))
            return link

    async def close(self) -> None:
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(_close(link.close) for link in links))
        if self._hang_up is not None:
            await _close(self._hang_up)


async def _close(close: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(CLOSE_LIMIT_S):
            await close()
    except (TimeoutError, OSError):
        return  # the other side is gone: nothing is left to close
