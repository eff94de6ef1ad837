"""What programs say from now on, from all hosts, merged by time. Hosts may go and come, agents be killed and instances
be replaced: no line is lost, and none told twice.

Every host is asked by itself over its one link, so that one that hangs holds nobody up. A line is held back until every
host that answers has told what it had by then, for a second at most. It only reads, and takes no lock.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetctl.engine.logs import EnoughError, HostBack, HostGone, NotRead, Reader, Shortened, Source, tell_kept
from fleetctl.engine.read import wished
from fleetctl.engine.wishing import Change
from fleetctl.errors import HostError, UnansweredError
from fleetctl.model.replica import InstanceName
from fleetctl.model.snapshot import Phase

if TYPE_CHECKING:
    from fleetctl.engine.links import HostLink
    from fleetctl.engine.logs import Said, TellLog, Wanted
    from fleetctl.engine.run import Means
    from fleetctl.model.host import HostSpec

POLL_S = 0.5
OBSERVE_S = 2.0  # how soon an instance that is new is found
OBSERVE_LIMIT_S = 15.0
HOLD_S = 1.0
PRINT_S = 0.1
STEP_S = 0.25  # a host tells of lines that come within a tenth of a second the time of the first
AWAY_MAX_S = 10.0  # between two tries of a host that is away
HELD_CHARS_MAX = 16 * 2**20  # then who reads them is slower than who says them, and no more are fetched
LINE_CHARS = 200  # what a line costs besides its text


async def follow(means: Means, wanted: Wanted, tell: TellLog) -> None:
    """Until it is cancelled, or who is told raises EnoughError."""
    try:
        found, sources = await tell_kept(means, wanted, tell, goes_on=True)
        _, desired = wished(means, Change())
        following = _Following(means, wanted, tell, sources, set(found.unreachable))
        async with asyncio.TaskGroup() as group:
            for host in desired.hosts:
                group.create_task(following.host(host))
            group.create_task(following.telling())
    except* EnoughError:
        pass
    finally:
        await means.links.close()


@dataclass(slots=True)
class _Host:
    """What is known of one host's share of it."""

    sources: dict[InstanceName, Source]
    told_until: float = 0.0  # all that it had then, by our wall clock, is here
    observed_at: float = 0.0
    ended: set[InstanceName] = field(default_factory=set)  # they say no more
    misses: int = 0
    gone: bool = False
    was_asked: bool = True  # for what is kept; what is new since then is told from its beginning


class _Following:
    def __init__(self, means: Means, wanted: Wanted, tell: TellLog, sources: list[Source], gone: set[str]) -> None:
        self._means, self._wanted, self._tell = means, wanted, tell
        self._reader = Reader(means.links, means.clock, replace(wanted, since=None))
        self._first_reader = Reader(means.links, means.clock, wanted)
        self._hosts: dict[str, _Host] = {}
        self._held: list[tuple[float, int, float, Said]] = []  # at, arrival, arrived at, what
        self._count = self._held_chars = 0
        for host in gone:
            self._hosts[host] = _Host({}, gone=True, was_asked=False)
        for source in sources:
            self._hosts.setdefault(source.host, _Host({})).sources[source.instance] = source

    async def host(self, spec: HostSpec) -> None:
        """One host, for ever. A link that broke is opened again at once; that it is away is told when that fails."""
        host = self._hosts.setdefault(spec.name, _Host({}))
        while True:
            try:
                await self._poll(spec, host)
            except HostError as error:
                host.misses += 1
                if host.misses > 1 and not host.gone:
                    host.gone = True
                    self._tell(HostGone(spec.name, error.reason))
                await self._means.clock.sleep(0.0 if host.misses == 1 else min(AWAY_MAX_S, POLL_S * 2**host.misses))
                continue
            if host.gone:
                self._tell(HostBack(spec.name))
            host.gone, host.misses = False, 0
            await self._means.clock.sleep(POLL_S)

    async def _poll(self, spec: HostSpec, host: _Host) -> None:
        """All that is new on it. Raises HostError, UnreachableError."""
        living = None if host.misses else self._means.links.living(spec.name)  # one that hung may never answer
        link = living or await self._means.links.open(spec)
        begun = self._means.clock.wall()
        if abs(begun - host.observed_at) >= OBSERVE_S:
            await self._observe(link, spec, host)
            host.observed_at = begun
        reads = (self._read(link, source) for name, source in host.sources.items() if name not in host.ended)
        for failed in await asyncio.gather(*reads, return_exceptions=True):
            if isinstance(failed, BaseException):
                raise failed
        host.told_until = begun - STEP_S

    async def _observe(self, link: HostLink, spec: HostSpec, host: _Host) -> None:
        try:
            async with asyncio.timeout(OBSERVE_LIMIT_S):
                report = await link.observe()
        except TimeoutError:
            raise HostError(spec.name, f"no answer in {OBSERVE_LIMIT_S:.0f} s") from None
        rows = {row.name: row for row in report.instances if self._wanted.covers(row.name)}
        over = {name for name, row in rows.items() if row.phase in (Phase.STOPPED, Phase.FAILED)}
        for source in list(host.sources.values()):
            if source.instance in over and source.instance not in host.ended:
                await self._read(link, source)
        host.ended = over & host.sources.keys()
        for name in rows.keys() - host.sources.keys():
            host.sources[name] = Source(spec.name, name, cursor="" if host.was_asked else None)
        host.was_asked = True
        for name in host.sources.keys() - rows.keys():
            del host.sources[name]

    async def _read(self, link: HostLink, source: Source) -> None:
        source.more = True
        while source.more:
            while self._held_chars > HELD_CHARS_MAX:
                await self._means.clock.sleep(PRINT_S)
            reader = self._reader if source.cursor is not None else self._first_reader
            try:
                said = await reader.page(link, source, whole_lines=True)
            except UnansweredError:
                raise
            except HostError as error:  # the host answers: it is about this instance, which may just be removed
                if not source.failed:
                    self._tell(NotRead(source.host, source.instance, error.reason))
                source.failed = True
                return
            source.failed = False
            if source.shortened:
                self._tell(Shortened(source.host, source.instance, len(said)))
            arrived = self._means.clock.wall()
            for one in said:
                self._count += 1
                self._held_chars += cost_of(one)
                heapq.heappush(self._held, (one.at, self._count, arrived, one))

    async def telling(self) -> None:
        while True:
            told_until = min((host.told_until for host in self._hosts.values() if not host.gone), default=0.0)
            late = self._means.clock.wall() - HOLD_S
            while self._held and (self._held[0][0] <= told_until or self._held[0][2] <= late):
                said = heapq.heappop(self._held)[3]
                self._held_chars -= cost_of(said)
                self._tell(said)
            await self._means.clock.sleep(PRINT_S)


def cost_of(said: Said) -> int:
    return LINE_CHARS + len(said.text or "")
