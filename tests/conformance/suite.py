"""What the engine may rely on of any host, as promises that the modelled, the embedded and the compose fleet all keep.

The same bodies run against each: see `hosts.py`. Nothing here knows which one it stands on.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fleetctl.errors import (
    ChangedError,
    ForeignRootError,
    HostError,
    InstanceExistsError,
    StaleOrderError,
    UnansweredError,
    WaitError,
)
from fleetctl.model.log import LogQuery
from fleetctl.model.plan import Question, Said
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.snapshot import Phase, ProblemKind, Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.state.artifacts import digest_of
from tests.conformance.hosts import FLEET, LIMIT_S, Fault, Hosts, Program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fleetctl.engine.links import HostLink
    from fleetctl.model.snapshot import HostReport, InstanceReport

    Promise = Callable[[Hosts], Awaitable[None]]

WEB, NEWER = InstanceName.parse("web.0@1"), InstanceName.parse("web.0@2")
ME, SOMEBODY = "me@here", "somebody@elsewhere"
SOON_S = 60.0  # for what happens within a second where the machine is not busy

PROMISES: list[Promise] = []


def promise(body: Promise) -> Promise:
    PROMISES.append(body)
    return body


def name_of(body: Promise) -> str:
    return body.__name__


async def keep(body: Promise, hosts: Hosts) -> None:
    async with asyncio.timeout(LIMIT_S):
        await body(hosts)


# -- how a promise speaks


@asynccontextmanager
async def linked(hosts: Hosts, host: str) -> AsyncIterator[HostLink]:
    link = await hosts.dial(host)
    try:
        yield link
    finally:
        await link.close()


async def claimed(
    link: HostLink, generation: int = 1, *, author: str = ME, fleet: str = FLEET, wishes: Any = None
) -> int:
    report = await link.observe()
    return await link.claim(
        generation=Generation(generation), author=author, serial=report.serial, fleet=fleet, wishes=wishes or {}
    )


def free_port() -> int:
    return random.randint(21_000, 27_999)  # hosts are new, and the promises of one machine are few


class Web:
    """`web.0` on one host, as it is ordered and awaited."""

    def __init__(self, hosts: Hosts, link: HostLink, program: Program, instance: InstanceName = WEB) -> None:
        self.link, self.instance, self.port = link, instance, free_port()
        self.spec = {
            "job": "web",
            "release": 1,
            "fleet": FLEET,
            "host": "h1",
            "address": link.address,
            "wish_replicas": 1,
            "env": {},
            "ports": {"http": self.port},
            "resources": {"cpu_milli": 100, "memory_bytes": 1 << 20, "disk_bytes": 0},
            "ready": {
                "kind": "http",
                "port": self.port,
                "path": "/",
                "interval_s": 0.1,
                "timeout_s": 1.0,
                "failures": 3,
                "successes": 1,
                "grace_s": 0.0,
            },
            "min_healthy_s": 0.1,
            "stop": {"signal": "TERM", "timeout_s": 5.0},
            "log": {"size_bytes": 1 << 20, "keep": 2},
            "restart": {"backoff_min_s": 1.0, "backoff_max_s": 60.0, "reset_s": 600.0},
            **hosts.program(program, self.port),
        }

    async def start(self, generation: int = 1, author: str = ME, **changes: Any) -> InstanceReport:
        return await self.link.start(
            generation=Generation(generation), author=author, instance=self.instance, spec={**self.spec, **changes}
        )

    async def stop(self, generation: int = 1, author: str = ME) -> InstanceReport:
        return await self.link.stop(
            generation=Generation(generation), author=author, instance=self.instance, reason="enough"
        )

    async def ready(self, for_s: float = 0.0, timeout_s: float = SOON_S) -> InstanceReport:
        return await self.link.wait(self.instance, until="ready", for_s=for_s, timeout_s=timeout_s)

    async def stopped(self) -> InstanceReport:
        return await self.link.wait(self.instance, until="stopped", for_s=0.0, timeout_s=SOON_S)

    async def row(self) -> InstanceReport:
        return row_of(await self.link.observe(), self.instance)


async def serving(hosts: Hosts, link: HostLink, **changes: Any) -> Web:
    """Claimed, started and ready. `changes` are those of its spec."""
    await claimed(link)
    web = Web(hosts, link, Program.SERVES)
    await web.start(**changes)
    await web.ready()
    return web


def row_of(report: HostReport, instance: InstanceName = WEB) -> InstanceReport:
    return next(row for row in report.instances if row.name == instance)


def names(report: HostReport) -> list[InstanceName]:
    return [row.name for row in report.instances]


def what_orders_left(report: HostReport) -> tuple[Any, ...]:
    """All of a report that an order would change."""
    return report.serial, report.guard.generation, report.guard.author, report.fleet, report.artifacts, names(report)


def needs(hosts: Hosts, *faults: Fault) -> None:
    for fault in faults:
        if fault not in hosts.faults:
            pytest.skip(f"not to be had on this fleet: {fault.value}")


async def failure(hosts: Hosts, host: str) -> tuple[Silence, bool]:
    """In which layer dialling fails, and whether an SSH banner was seen."""
    banners: list[bool] = []
    with pytest.raises(UnreachableError) as caught:
        await hosts.dial(host, lambda: banners.append(True))
    return caught.value.silence, bool(banners)


# -- a host that nobody drives


@promise
async def a_new_host_belongs_to_nobody_and_runs_nothing(hosts):
    async with linked(hosts, "h1") as link:
        report = await link.observe()
    assert (report.fleet, report.guard.generation, report.instances, report.artifacts) == (None, 0, (), frozenset())
    assert report.agent
    assert report.is_open_to(FLEET)
    assert report.host_id
    assert report.boot


@promise
async def every_host_has_an_id_of_its_own_that_stays(hosts):
    ids = []
    for host in ("h1", "h2", "h1"):
        async with linked(hosts, host) as link:
            ids.append((await link.observe()).host_id)
    assert ids[0] == ids[2] != ids[1]


@promise
async def dialling_shows_the_banner(hosts):
    banners = []
    await (await hosts.dial("h1", lambda: banners.append(True))).close()
    assert banners == [True]


# -- claims


@promise
async def a_claim_raises_the_guard_and_the_serial_and_binds_the_root_to_the_fleet(hosts):
    async with linked(hosts, "h1") as link:
        before = await link.observe()
        serial = await claimed(link, 7)
        report = await link.observe()
    assert (report.guard.generation, report.guard.author, report.fleet) == (7, ME, FLEET)
    assert report.serial == serial > before.serial


@promise
async def a_claim_repeated_is_harmless(hosts):
    async with linked(hosts, "h1") as link:
        looked = (await link.observe()).serial
        claim = {"generation": Generation(1), "author": ME, "serial": looked, "fleet": FLEET, "wishes": {"jobs": []}}
        first = await link.claim(**claim)
        assert await link.claim(**claim) == first == (await link.observe()).serial


@promise
async def a_claim_on_another_serial_is_refused_with_that_serial_and_changes_nothing(hosts):
    async with linked(hosts, "h1") as link:
        looked = (await link.observe()).serial
        now = await claimed(link)
        with pytest.raises(ChangedError) as caught:
            await link.claim(generation=Generation(2), author=ME, serial=looked, fleet=FLEET, wishes={})
        assert caught.value.serial == now == (await link.observe()).serial
        assert (await link.observe()).guard.generation == 1


@promise
async def a_stale_claim_is_refused_with_who_drives_since_when(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link, 7, author=SOMEBODY)
        before = what_orders_left(await link.observe())
        for generation in (6, 7):
            with pytest.raises(StaleOrderError) as caught:
                await claimed(link, generation)
            assert (caught.value.host, caught.value.generation, caught.value.author) == ("h1", 7, SOMEBODY)
        assert what_orders_left(await link.observe()) == before


@promise
async def a_claim_of_another_fleet_is_refused_and_changes_nothing(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link)
        before = what_orders_left(await link.observe())
        with pytest.raises(ForeignRootError, match=FLEET):
            await claimed(link, 2, fleet="other")
        assert what_orders_left(await link.observe()) == before


@promise
async def the_wishes_of_the_newest_claim_are_kept_over_its_agents_death_and_no_stale_one_replaces_them(hosts):
    newest = {"generation": 2, "jobs": [{"job": "web", "why": "ünïcode"}], "deep": [[{}], None, 1.5, True]}
    async with linked(hosts, "h1") as link:
        assert await link.wishes() is None
        await claimed(link, wishes={"jobs": []})
        await claimed(link, 2, wishes=newest)
        assert await link.wishes() == newest
        with pytest.raises(StaleOrderError):
            await claimed(link, 1, author=SOMEBODY, wishes={"jobs": ["others"]})
        await hosts.kill_agent("h1")
    async with linked(hosts, "h1") as link:
        assert await link.wishes() == newest


# -- starting


@promise
async def what_is_started_gets_ready_and_is_reported(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        row = await web.row()
        report = await link.observe()
    assert (row.phase, row.release, row.ports, row.ever_ready) == (Phase.READY, 1, (("http", web.port),), True)
    assert row.pid
    assert row.ready_for_s is not None
    assert (row.resources.cpu, row.resources.memory) == (100, 1 << 20)
    assert row.address == link.address
    assert web.port in report.ports_in_use


@promise
async def starting_twice_is_starting_once(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        before = await link.observe()
        again = await web.start()
        assert (again.name, again.pid, again.phase) == (WEB, row_of(before).pid, Phase.READY)
        assert what_orders_left(await link.observe()) == what_orders_left(before)


@promise
async def an_instance_with_another_spec_is_refused(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        with pytest.raises(InstanceExistsError):
            await web.start(env={"LOG_LEVEL": "debug"})
        assert (await web.row()).phase is Phase.READY


@promise
async def what_was_stopped_is_not_started_again(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        await web.stop()
        await web.stopped()
        with pytest.raises(InstanceExistsError):
            await web.start()
        assert (await web.row()).phase is Phase.STOPPED


@promise
async def two_instances_of_one_replica_run_side_by_side(hosts):
    async with linked(hosts, "h1") as link:
        old = await serving(hosts, link)
        await claimed(link, 2)
        new = Web(hosts, link, Program.SERVES, NEWER)
        await new.start(2)
        await new.ready()
        assert names(await link.observe()) == [WEB, NEWER]
        assert (await old.row()).phase is Phase.READY


@promise
async def an_order_of_a_newer_generation_raises_the_guard_by_itself(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link)
        await Web(hosts, link, Program.SERVES).start(generation=3)
        assert (await link.observe()).guard.generation == 3


# -- the serial


@promise
async def the_serial_rises_with_what_starts_and_stops_and_not_with_what_gets_ready(hosts):
    async with linked(hosts, "h1") as link:
        serials = [await claimed(link)]
        web = Web(hosts, link, Program.SERVES_LATE)
        await web.start()
        async with asyncio.timeout(SOON_S):
            while (await web.row()).pid is None:
                await asyncio.sleep(0.01)
        starting = await link.observe()
        assert row_of(starting).phase is Phase.STARTING
        serials.append(starting.serial)
        await web.ready()
        assert (await link.observe()).serial == starting.serial
        await web.stop()
        await web.stopped()
        serials.append((await link.observe()).serial)
    assert serials == sorted(set(serials))


# -- waiting


@promise
async def a_gate_waits_until_it_was_ready_for_long_enough(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link)
        web = Web(hosts, link, Program.SERVES_LATE)
        await web.start()
        row = await web.ready(for_s=0.5)
    assert row.phase is Phase.READY
    assert row.ready_for_s is not None
    assert row.ready_for_s >= 0.5


@promise
async def a_gate_that_is_not_passed_in_time_says_so_with_the_last_lines(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link)
        web = Web(hosts, link, Program.NEVER_READY)
        await web.start()
        with pytest.raises(WaitError) as caught:
            await web.ready(timeout_s=4.0)
        assert (caught.value.timed_out, caught.value.log) == (True, (hosts.hello,))
        assert ((await web.row()).phase, (await web.row()).ever_ready) == (Phase.STARTING, False)


@promise
async def a_program_that_can_not_run_fails_its_gate_at_once(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link)
        web = Web(hosts, link, Program.CAN_NOT_RUN)
        await web.start()
        with pytest.raises(WaitError) as caught:
            await web.ready(timeout_s=LIMIT_S)
        assert not caught.value.timed_out
        row = await web.row()
    assert (row.phase, row.problem.kind) == (Phase.FAILED, ProblemKind.NOT_EXECUTABLE)


@promise
async def a_gate_of_what_is_stopped_meanwhile_fails_at_once(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link)
        web = Web(hosts, link, Program.NEVER_READY)
        await web.start()
        waiting = asyncio.create_task(web.ready(timeout_s=LIMIT_S))
        await link.observe()
        await web.stop()
        with pytest.raises(WaitError) as caught:
            await waiting
        assert not caught.value.timed_out


@promise
async def waits_do_not_hold_up_what_else_is_asked(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        never = asyncio.create_task(web.stopped())
        reports = await asyncio.gather(*(link.observe() for _ in range(20)))
        assert {report.serial for report in reports} == {reports[0].serial}
        assert not never.done()
        await web.stop()
        assert (await never).phase is Phase.STOPPED


# -- stopping


@promise
async def what_is_stopped_ends_and_keeps_its_reason_and_its_name(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        await web.stop()
        row = await web.stopped()
        report = await link.observe()
    assert (row.phase, row.reason, row.pid, row.ready_for_s) == (Phase.STOPPED, "enough", None, None)
    assert names(report) == [WEB]
    assert web.port not in report.ports_in_use


@promise
async def what_is_stopped_serves_on_until_its_drain_is_over(hosts):
    async with linked(hosts, "h1") as one, linked(hosts, "h2") as other:
        web = await serving(hosts, other, stop={"signal": "TERM", "timeout_s": 5.0, "drain_s": 6.0})
        address, _ = hosts.place("h2")
        asked = (Question(about="h2", witness="h1", address=address, port=web.port, kind="http", timeout_s=4.0),)
        begun = asyncio.get_running_loop().time()
        stopping = await web.stop()
        assert (stopping.phase, stopping.ready_for_s) == (Phase.STOPPING, None)
        assert [answer.said for answer in await one.probe(asked)] == [Said.YES]
        await web.stopped()
        assert asyncio.get_running_loop().time() - begun >= 6.0
        assert [answer.said for answer in await one.probe(asked)] == [Said.NO]


@promise
async def stopping_twice_is_stopping_once(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        await web.stop()
        await web.stopped()
        before = what_orders_left(await link.observe())
        assert (await web.stop()).phase is Phase.STOPPED
        assert what_orders_left(await link.observe()) == before


@promise
async def an_unknown_instance_can_neither_be_stopped_nor_awaited_nor_read(hosts):
    async with linked(hosts, "h1") as link:
        await claimed(link)
        web = Web(hosts, link, Program.SERVES)
        for asking in (web.stop(), web.ready(), link.logs(WEB, LogQuery(10))):
            with pytest.raises(HostError) as caught:
                await asking
            assert not isinstance(caught.value, UnansweredError)


# -- stale orders


@promise
async def orders_of_a_driver_that_was_superseded_are_refused_and_change_nothing(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        await claimed(link, 5, author=SOMEBODY)
        before = what_orders_left(await link.observe())
        late = Web(hosts, link, Program.SERVES, NEWER)
        upload = {"digest": hosts.digest, "source": hosts.artifact, "progress": lambda _sent, _total: None}
        for generation in (1, 5):
            orders = (
                late.start(generation),
                web.stop(generation),
                link.upload(generation=Generation(generation), author=ME, **upload),
            )
            for order in orders:
                with pytest.raises(StaleOrderError) as caught:
                    await order
                assert (caught.value.generation, caught.value.author) == (5, SOMEBODY)
        assert what_orders_left(await link.observe()) == before
        assert (await web.row()).phase is Phase.READY


# -- artifacts


@promise
async def what_is_uploaded_is_there_for_good_and_is_fetched_back_the_same(hosts):
    told = []
    async with linked(hosts, "h1") as link:
        await claimed(link)
        for _ in range(2):
            await link.upload(
                generation=Generation(1),
                author=ME,
                digest=hosts.digest,
                source=hosts.artifact,
                progress=lambda sent, total: told.append((sent, total)),
            )
        assert (await link.observe()).artifacts == {hosts.digest}
        back = hosts.artifact.with_name("back")
        await link.fetch(hosts.digest, back)
    assert digest_of(back) == hosts.digest
    assert told[-1][0] == told[-1][1] > 0


# -- witnesses


@promise
async def a_host_witnesses_for_another(hosts):
    async with linked(hosts, "h1") as one, linked(hosts, "h2") as other:
        web = await serving(hosts, other)
        address, ssh = hosts.place("h2")
        silent = free_port()
        asked = tuple(
            Question(about="h2", witness="h1", address=address, port=port, kind=kind, timeout_s=10.0)
            for kind, port in (("banner", ssh), ("http", web.port), ("tcp", web.port),
                               ("banner", silent), ("http", silent), ("tcp", silent))
        )  # fmt: skip
        answers = await one.probe(asked)
    assert [answer.question for answer in answers] == list(asked)
    assert [answer.said for answer in answers] == [Said.YES] * 3 + [Said.NO] * 3


@promise
async def an_http_probe_is_repeated_whole(hosts):
    async with linked(hosts, "h1") as one, linked(hosts, "h2") as other:
        web = await serving(hosts, other)
        address, _ = hosts.place("h2")
        page = Question(about="h2", witness="h1", address=address, port=web.port, kind="http", timeout_s=10.0)
        asked = (
            replace(page, status=(200, 200)),
            replace(page, status=(500, 599)),
            replace(page, header=(("X-Nobody", "says"),)),
            replace(page, body="what nobody says"),
        )
        answers = await one.probe(asked)
    assert [answer.said for answer in answers] == [Said.YES] + [Said.NO] * 3


@promise
async def an_ssh_daemon_that_is_gone_is_no_reason_for_its_service_to_be_silent(hosts):
    needs(hosts, Fault.REFUSED)
    async with linked(hosts, "h1") as one, linked(hosts, "h2") as other:
        web = await serving(hosts, other)
        address, ssh = hosts.place("h2")
        await hosts.befall(Fault.REFUSED, "h2")
        asked = tuple(
            Question(about="h2", witness="h1", address=address, port=port, kind=kind, timeout_s=10.0)
            for kind, port in (("banner", ssh), ("http", web.port), ("tcp", web.port))
        )
        answers = await one.probe(asked)
    assert [answer.said for answer in answers] == [Said.NO, Said.YES, Said.YES]


@promise
async def a_hung_host_accepts_for_the_dead(hosts):
    needs(hosts, Fault.PAUSED)
    if not hosts.pauses_programs:
        pytest.skip("programs of this fleet run on while their host hangs")
    async with linked(hosts, "h1") as one, linked(hosts, "h2") as other:
        web = await serving(hosts, other)
        address, ssh = hosts.place("h2")
        await hosts.befall(Fault.PAUSED, "h2")
        asked = tuple(
            Question(about="h2", witness="h1", address=address, port=port, kind=kind, timeout_s=2.0)
            for kind, port in (("banner", ssh), ("http", web.port), ("tcp", web.port))
        )
        answers = await one.probe(asked)
        await hosts.mend("h2")
    assert [answer.said for answer in answers] == [Said.NO, Said.NO, Said.YES]


@promise
async def neighbours_are_tried_and_whoever_was_reached_once_stays_so(hosts):
    needs(hosts, Fault.REFUSED)
    places = {host: hosts.place(host) for host in ("h2", "h3")}
    async with linked(hosts, "h1") as link:
        assert {reach.host: reach.ok for reach in await link.neighbours(places)} == {"h2": True, "h3": True}
        await hosts.befall(Fault.REFUSED, "h3")
        assert {reach.host: reach.ok for reach in await link.neighbours(places)} == {"h2": True, "h3": False}
        kept = (await link.observe()).reach
    assert {(reach.host, (reach.address, reach.port)) for reach in kept if reach.ok} == set(places.items())


# -- logs


@promise
async def the_last_lines_of_a_program_are_kept_beyond_its_end(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        assert (await link.logs(WEB, LogQuery(10))).lines == (hosts.hello,)
        await web.stop()
        await web.stopped()
        said = await link.logs(WEB, LogQuery(10))
        assert said.lines == (hosts.hello,)
        assert (await link.logs(WEB, LogQuery(0))).lines == ()
        assert (await link.logs(WEB, LogQuery(10, after=""))).lines == (hosts.hello,)
        assert (await link.logs(WEB, LogQuery(10, after=said.next))).lines == ()


# -- links that break


@promise
async def a_closed_link_answers_nothing_and_harms_nothing(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        before = await web.row()
        await link.close()
        assert link.closed
        with pytest.raises(UnansweredError):
            await link.observe()
    async with linked(hosts, "h1") as link:
        after = row_of(await link.observe())
    assert (after.pid, after.phase) == (before.pid, Phase.READY)


@promise
async def an_agents_death_breaks_the_link_and_its_heir_has_the_same_instances_and_guard(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        before = await link.observe()
        waiting = asyncio.create_task(web.stopped())
        await link.observe()
        await hosts.kill_agent("h1")
        with pytest.raises(UnansweredError):
            await waiting
        assert link.closed
    async with linked(hosts, "h1") as link:
        after = await link.observe()
    assert (row_of(after).pid, names(after)) == (row_of(before).pid, [WEB])
    assert (after.guard.generation, after.guard.author, after.fleet) == (1, ME, FLEET)
    assert after.serial != before.serial
    assert (after.host_id, after.boot) == (before.host_id, before.boot)


@promise
async def an_order_whose_answer_was_lost_is_repeated_without_harm(hosts):
    async with linked(hosts, "h1") as link:
        web = await serving(hosts, link)
        pid = (await web.row()).pid
        await hosts.kill_agent("h1")
    async with linked(hosts, "h1") as link:
        web.link = link
        assert (await web.start()).pid == pid
        await web.stop()
        await hosts.kill_agent("h1")
    async with linked(hosts, "h1") as link:
        web.link = link
        await web.stop()
        assert (await web.stopped()).phase is Phase.STOPPED
        assert names(await link.observe()) == [WEB]


# -- hosts that do not answer


@promise
async def a_killed_host_is_silent(hosts):
    needs(hosts, Fault.KILLED)
    await hosts.befall(Fault.KILLED, "h1")
    assert await failure(hosts, "h1") == (Silence.SILENT, False)
    await hosts.mend("h1")


@promise
async def a_host_that_is_cut_off_is_silent_and_what_it_runs_runs_on(hosts):
    needs(hosts, Fault.CUT)
    async with linked(hosts, "h1") as link:
        pid = (await (await serving(hosts, link)).row()).pid
    await hosts.befall(Fault.CUT, "h1")
    assert await failure(hosts, "h1") == (Silence.SILENT, False)
    await hosts.mend("h1")
    async with linked(hosts, "h1") as link:
        assert row_of(await link.observe()).pid == pid


@promise
async def a_paused_host_is_hung_and_what_it_runs_runs_on(hosts):
    needs(hosts, Fault.PAUSED)
    async with linked(hosts, "h1") as link:
        pid = (await (await serving(hosts, link)).row()).pid
    await hosts.befall(Fault.PAUSED, "h1")
    assert await failure(hosts, "h1") == (Silence.HUNG, False)
    await hosts.mend("h1")
    async with linked(hosts, "h1") as link:
        assert row_of(await link.observe()).pid == pid


@promise
async def a_host_without_sshd_refuses_and_what_it_runs_runs_on(hosts):
    needs(hosts, Fault.REFUSED)
    async with linked(hosts, "h1") as link:
        pid = (await (await serving(hosts, link)).row()).pid
    await hosts.befall(Fault.REFUSED, "h1")
    assert await failure(hosts, "h1") == (Silence.REFUSED, False)
    await hosts.mend("h1")
    async with linked(hosts, "h1") as link:
        assert row_of(await link.observe()).pid == pid


@promise
async def a_host_that_lets_nobody_in_shows_its_banner(hosts):
    needs(hosts, Fault.LOCKED)
    await hosts.befall(Fault.LOCKED, "h1")
    assert await failure(hosts, "h1") == (Silence.LOGIN, True)


@promise
async def a_host_that_rebooted_runs_what_it_was_told_to_and_says_that_it_is_another_boot(hosts):
    needs(hosts, Fault.REBOOTED)
    async with linked(hosts, "h1") as link:
        await serving(hosts, link)
        before = await link.observe()
    await hosts.befall(Fault.REBOOTED, "h1")
    async with linked(hosts, "h1") as link:
        await link.wait(WEB, until="ready", for_s=0.0, timeout_s=SOON_S)
        after = await link.observe()
    assert (names(after), row_of(after).phase) == ([WEB], Phase.READY)
    assert (after.guard.generation, after.guard.author, after.fleet) == (1, ME, FLEET)
    assert after.host_id == before.host_id
    assert after.boot != before.boot
    assert after.serial != before.serial
