"""What programs said is merged over hosts: by our clock, page by page, and without those that can't be read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fleetctl.engine import logs
from fleetctl.engine.logs import NotRead, Reader, Said, Shortened, Source, Wanted
from fleetctl.errors import UnansweredError
from fleetctl.model.log import PREVIOUS, LogEntry, LogPage, LogQuery
from fleetctl.model.replica import InstanceName

NOW = 1_000_000.0
WEB_0, WEB_1 = InstanceName.parse("web.0@1"), InstanceName.parse("web.1@1")


class Clock:
    def wall(self) -> float:
        return NOW


class Host:
    """A host that said so many lines, each a second after the other, and whose clock is off by so much."""

    def __init__(self, lines: int, *, first_at: float = 0.0, off_s: float = 0.0, breaks_after: int = 1000) -> None:
        self.said = [LogEntry(first_at + off_s + n, 1 + n // 10, f"line {n}") for n in range(lines)]
        self.off_s, self.breaks_after = off_s, breaks_after
        self.queries: list[LogQuery] = []
        self.closed = False

    async def logs(self, _instance: InstanceName, query: LogQuery) -> LogPage:
        self.queries.append(query)
        await asyncio.sleep(0)
        if len(self.queries) > self.breaks_after:
            raise UnansweredError("h", "the link broke")
        run = self.said[-1].run - 1 if query.run == PREVIOUS else query.run
        found = [one for one in self.said if one.at >= query.since and run in (0, one.run)]
        start = int(query.after or "0") if query.after is not None else max(0, len(found) - query.lines)
        page = tuple(found[start : start + query.lines])
        end = start + len(page)
        return LogPage(page, str(end), cut=end < len(found), wallclock_s=NOW + self.off_s)


class Links:
    def __init__(self, **hosts: Host) -> None:
        self.hosts = hosts

    def living(self, host: str) -> Host:
        return self.hosts[host]


def told(wanted: Wanted, **hosts: Host) -> list[Any]:
    events: list[Any] = []
    reader = Reader(Links(**hosts), Clock(), wanted)  # type: ignore[arg-type]
    sources = [Source(host, name) for host, name in zip(hosts, (WEB_0, WEB_1), strict=False)]

    async def run() -> None:
        await logs.merge(reader, sources, events.append, goes_on=False)

    asyncio.run(run())
    return events


def shown(events: list[Any]) -> list[tuple[float, str, str | None]]:
    return [(one.at, one.host, one.text) for one in events if isinstance(one, Said)]


def test_lines_are_in_the_order_in_which_they_came_by_our_clock():
    h1, h2 = Host(3, first_at=NOW - 10), Host(3, first_at=NOW - 9.5, off_s=3600.0)
    assert shown(told(Wanted("web", 100), h1=h1, h2=h2)) == [
        (NOW - 10.0, "h1", "line 0"),
        (NOW - 9.5, "h2", "line 0"),
        (NOW - 9.0, "h1", "line 1"),
        (NOW - 8.5, "h2", "line 1"),
        (NOW - 8.0, "h1", "line 2"),
        (NOW - 7.5, "h2", "line 2"),
    ]


def test_a_clock_that_is_off_by_less_than_can_be_told_is_believed():
    h1 = Host(1, first_at=NOW - 10, off_s=0.2)
    assert shown(told(Wanted("web", 100), h1=h1)) == [(NOW - 9.8, "h1", "line 0")]


def test_since_is_asked_of_each_host_by_its_own_clock():
    h1, h2 = Host(20, first_at=NOW - 20), Host(20, first_at=NOW - 20, off_s=-7200.0)
    events = shown(told(Wanted("web", None, since=NOW - 5), h1=h1, h2=h2))
    assert [(at - NOW, host) for at, host, _ in events] == [
        (-5.0 + step, host) for step in range(5) for host in ("h1", "h2")
    ]
    assert h2.queries[-1].since == NOW - 5 - 7200.0


def test_all_of_it_comes_page_by_page_and_never_more_than_one_page_ahead(monkeypatch):
    monkeypatch.setattr(logs, "PAGE_LINES", 10)
    h1, h2 = Host(45, first_at=0.0), Host(5, first_at=0.0)
    events: list[Any] = []
    held: list[int] = []
    sources = [Source("h1", WEB_0), Source("h2", WEB_1)]
    reader = Reader(Links(h1=h1, h2=h2), Clock(), Wanted("web", None))  # type: ignore[arg-type]

    def tell(event: Any) -> None:
        events.append(event)
        held.append(max(len(source.pending) for source in sources))

    asyncio.run(logs.merge(reader, sources, tell, goes_on=False))
    assert [text for _, host, text in shown(events) if host == "h1"] == [f"line {n}" for n in range(45)]
    assert len(shown(events)) == 50
    assert max(held) <= 10


def test_the_run_before_stays_the_same_while_its_pages_come(monkeypatch):
    monkeypatch.setattr(logs, "PAGE_LINES", 4)
    h1 = Host(35)
    asked = h1.logs

    async def crashes_meanwhile(instance: InstanceName, query: LogQuery) -> LogPage:
        page = await asked(instance, query)
        h1.said += [LogEntry(100.0, h1.said[-1].run + 1, "again")]
        return page

    h1.logs = crashes_meanwhile  # type: ignore[method-assign]
    events = told(Wanted("web", None, previous=True), h1=h1)
    assert [text for _, _, text in shown(events)] == [f"line {n}" for n in range(20, 30)]


@pytest.mark.parametrize("breaks_after", [0, 2])
def test_a_link_that_breaks_ends_what_its_host_says_and_nothing_else(monkeypatch, breaks_after):
    monkeypatch.setattr(logs, "PAGE_LINES", 10)
    events = told(Wanted("web", None), h1=Host(40, breaks_after=breaks_after), h2=Host(40))
    lines = shown(events)
    assert sum(host == "h2" for _, host, _ in lines) == 40
    assert sum(host == "h1" for _, host, _ in lines) == 10 * breaks_after
    assert [one for one in events if isinstance(one, NotRead)] == [NotRead("h1", WEB_0, "the link broke")]


def test_last_lines_that_do_not_fit_are_said_to_be_fewer():
    h1 = Host(5)
    asked = h1.logs

    async def fits_two(instance: InstanceName, query: LogQuery) -> LogPage:
        page = await asked(instance, LogQuery(2))
        return LogPage(page.entries, page.next, cut=True)

    h1.logs = fits_two  # type: ignore[method-assign]
    events = told(Wanted("web", 5), h1=h1)
    assert [text for _, _, text in shown(events)] == ["line 3", "line 4"]
    assert [one for one in events if isinstance(one, Shortened)] == [Shortened("h1", WEB_0, 2)]


def test_who_breaks_off_when_its_clock_was_told_is_read_from_the_same_place_again():
    source = Source("h1", WEB_0)
    host = Host(20, first_at=NOW - 20, breaks_after=1)
    reader = Reader(Links(h1=host), Clock(), Wanted("web", None, since=NOW - 5))  # type: ignore[arg-type]
    with pytest.raises(UnansweredError):
        asyncio.run(reader.page(host, source, whole_lines=True))  # type: ignore[arg-type]
    host.breaks_after = 1000
    said = asyncio.run(reader.page(host, source, whole_lines=True))  # type: ignore[arg-type]
    assert [one.text for one in said] == [f"line {n}" for n in range(15, 20)]
