"""What programs said, from all hosts, merged by time: as far as it is kept now. `follow.py` goes on from there.

It only reads, takes no lock, and holds one page of each instance in memory at most.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetctl.engine.look import look
from fleetctl.engine.read import wished
from fleetctl.engine.wishing import Change
from fleetctl.errors import HostError, UnansweredError
from fleetctl.model.log import PREVIOUS, LogQuery
from fleetctl.model.replica import InstanceName
from fleetctl.model.snapshot import Unreachable
from fleetctl.plan.ownership import one_name_each

if TYPE_CHECKING:
    from fleetctl.clock import Clock
    from fleetctl.engine.links import HostLink, Links
    from fleetctl.engine.run import Means
    from fleetctl.model.desired import Desired
    from fleetctl.model.log import LogEntry, LogPage
    from fleetctl.model.snapshot import Snapshot

PAGE_LIMIT_S = 40.0  # of half a megabyte over a slow line
AT_ONCE = 20
PAGE_LINES = 4_000
SURE_S = 0.25  # a clock that seems off by less is believed: the network may be that uneven


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which output: of a job, a replica or an instance, by its name."""

    name: str
    lines: int | None  # the last ones of each instance; absent: all
    previous: bool = False
    since: float | None = None  # our wall clock

    def covers(self, instance: InstanceName) -> bool:
        return self.name in (instance.job, str(instance.replica), str(instance))


@dataclass(frozen=True, slots=True)
class LogsFound:
    """Who is asked, before anything is told of what they say."""

    jobs: frozenset[str]  # all that are known
    instances: tuple[tuple[InstanceName, str], ...]  # those that are wanted, with their hosts
    unreachable: Mapping[str, Unreachable]


@dataclass(frozen=True, slots=True)
class Said:
    """One line, or what is missing at its place. `at` is by our wall clock; 0: not known."""

    at: float
    host: str
    instance: InstanceName
    run: int
    text: str | None
    dropped_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NotRead:
    """The rest of what this instance said could not be read."""

    host: str
    instance: InstanceName
    error: str


@dataclass(frozen=True, slots=True)
class Shortened:
    """Fewer lines than were asked for, since more do not fit into one answer."""

    host: str
    instance: InstanceName
    lines: int


@dataclass(frozen=True, slots=True)
class HostGone:
    host: str
    error: str


@dataclass(frozen=True, slots=True)
class HostBack:
    host: str


LogEvent = LogsFound | Said | NotRead | Shortened | HostGone | HostBack
TellLog = Callable[[LogEvent], None]


class EnoughError(Exception):
    """Raised by who is told, to be told no more."""


@dataclass(slots=True)
class Source:
    """One instance, and how far it was read."""

    host: str
    instance: InstanceName
    cursor: str | None = None  # absent: from its last lines on
    offset_s: float | None = None  # its host's clock against ours
    at: float = 0.0  # of the newest line, by our clock
    run: int = 0  # whose output alone is read, where the one before was asked for
    more: bool = True
    shortened: bool = False
    failed: bool = False
    pending: deque[Said] = field(default_factory=deque)

    def take(self, page: LogPage, *, asked_at: float, answered_at: float, whole_lines: bool) -> list[Said]:
        """Its entries by our clock, never before one told earlier."""
        if page.wallclock_s:
            offset_s = page.wallclock_s - (asked_at + answered_at) / 2
            self.offset_s = offset_s if abs(offset_s) > max(SURE_S, answered_at - asked_at) else 0.0
        entries = page.entries[:-1] if page.partial and whole_lines else page.entries
        said = [self._said(entry) for entry in entries]
        self.cursor = page.next
        return said

    def _said(self, entry: LogEntry) -> Said:
        self.at = max(self.at, entry.at - (self.offset_s or 0.0)) if entry.at else self.at
        return Said(self.at, self.host, self.instance, entry.run, entry.text, entry.dropped_bytes)


class Reader:
    """Reads pages of sources over the links that there are."""

    def __init__(self, links: Links, clock: Clock, wanted: Wanted) -> None:
        self.links, self.clock, self.wanted = links, clock, wanted
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def page(self, link: HostLink, source: Source, *, whole_lines: bool) -> list[Said]:
        """The next of a source: its last lines first, where so many were asked for. Raises HostError."""
        lines, since, before = self.wanted.lines, self.wanted.since, source.cursor
        if since is not None and source.offset_s is None:
            await self._ask(link, source, LogQuery(0), whole_lines=whole_lines)  # tells what its clock says
            source.cursor = before
        last = before is None and lines is not None
        query = LogQuery(
            lines if last and lines is not None else PAGE_LINES,
            run=source.run or (PREVIOUS if self.wanted.previous else 0),
            since=since + (source.offset_s or 0.0) if since is not None else 0.0,
            after=None if last else before or "",
        )
        page, said = await self._ask(link, source, query, whole_lines=whole_lines)
        source.more = page.cut and not last and page.next != before
        source.shortened = page.cut and last
        if self.wanted.previous and said:
            source.run = said[0].run
        return said

    async def _ask(
        self, link: HostLink, source: Source, query: LogQuery, *, whole_lines: bool
    ) -> tuple[LogPage, list[Said]]:
        try:
            async with self._gate, asyncio.timeout(PAGE_LIMIT_S):
                asked_at = self.clock.wall()
                page = await link.logs(source.instance, query)
                answered_at = self.clock.wall()
        except TimeoutError:
            raise UnansweredError(source.host, f"no answer in {PAGE_LIMIT_S:.0f} s") from None
        return page, source.take(page, asked_at=asked_at, answered_at=answered_at, whole_lines=whole_lines)


async def tell_kept(
    means: Means, wanted: Wanted, tell: TellLog, *, goes_on: bool = False
) -> tuple[LogsFound, list[Source]]:
    """All that is wanted of what is kept now, merged by time; who was asked, and how far each instance was read.

    `goes_on`: a last line that is not whole yet is left for later. Leaves the links open.
    """
    memory, hosts = wished(means, Change())
    seen = await look(hosts, memory, means.links, means.clock, means.tell, known={})
    named = one_name_each(hosts, seen.snapshot, memory)
    sources = found_in(named.snapshot, wanted)
    found = _found(named.desired, named.snapshot, sources)
    tell(found)
    await merge(Reader(means.links, means.clock, wanted), sources, tell, goes_on=goes_on)
    return found, sources


async def logs(means: Means, wanted: Wanted, tell: TellLog) -> None:
    """As `tell_kept`, and that is all."""
    try:
        await tell_kept(means, wanted, tell)
    except EnoughError:
        return
    finally:
        await means.links.close()


def found_in(snapshot: Snapshot, wanted: Wanted) -> list[Source]:
    found = [
        (row.name, host)
        for host, seen in snapshot.reachable().items()
        for row in seen.report.instances
        if wanted.covers(row.name)
    ]
    return [Source(host, name) for name, host in sorted(found)]


def _found(desired: Desired, snapshot: Snapshot, sources: list[Source]) -> LogsFound:
    running = {row.name.job for seen in snapshot.reachable().values() for row in seen.report.instances}
    jobs = frozenset({wanted.name for wanted in desired.jobs} | running)
    return LogsFound(jobs, tuple((one.instance, one.host) for one in sources), snapshot.unreachable())


def _living(links: Links, source: Source) -> HostLink:
    link = links.living(source.host)
    if link is None:
        raise UnansweredError(source.host, "its link was lost")
    return link


async def merge(reader: Reader, sources: list[Source], tell: TellLog, *, goes_on: bool) -> None:
    """Pages are fetched as they are needed; the earliest line of all is told next."""

    async def fill(source: Source) -> None:
        try:
            while source.more and not source.pending:
                source.pending.extend(await reader.page(_living(reader.links, source), source, whole_lines=goes_on))
                if source.shortened:
                    tell(Shortened(source.host, source.instance, len(source.pending)))
        except HostError as error:
            source.more = False
            tell(NotRead(source.host, source.instance, error.reason))

    await asyncio.gather(*map(fill, sources))
    heads = [(source.pending[0].at, place) for place, source in enumerate(sources) if source.pending]
    heapq.heapify(heads)
    while heads:
        _, place = heapq.heappop(heads)
        source = sources[place]
        tell(source.pending.popleft())
        if not source.pending:
            await fill(source)
        if source.pending:
            heapq.heappush(heads, (source.pending[0].at, place))
