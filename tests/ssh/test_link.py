"""The link to a host: what it asks and orders is done by the real host program, and what goes wrong is told apart."""

import asyncio
import os
import signal
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fleetctl.embedded.processes import processes_under
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
from fleetctl.model.replica import InstanceName
from fleetctl.model.snapshot import Phase, Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh import bootstrap, connection
from fleetctl.ssh.access import Access
from fleetctl.ssh.link import open_link, redial

WEB = InstanceName.parse("web.0@1")


def drive(fleet, host="h1", **changes):
    return open_link(replace(fleet.spec(host), **changes), Access(), mode="drive", fleet=fleet.name)


def look(fleet, host="h1"):
    return open_link(fleet.spec(host), Access(), mode="look", fleet=fleet.name)


def spec_of(argv, **changes):
    return {
        "job": "web",
        "release": 1,
        "fleet": "demo",
        "host": "h1",
        "address": "127.0.0.1",
        "wish_replicas": 1,
        "argv": argv,
        "env": {},
        "artifact": None,
        "ports": {},
        "resources": {"cpu_milli": 0, "memory_bytes": 0, "disk_bytes": 0},
        "ready": None,
        "min_healthy_s": 0.05,
        "stop": {"signal": "TERM", "timeout_s": 5.0},
        "log": {"size_bytes": 1 << 20, "keep": 2},
        "restart": {"backoff_min_s": 1.0, "backoff_max_s": 60.0, "reset_s": 600.0},
        **changes,
    }


async def claimed(link, generation=1, fleet="demo"):
    report = await link.observe()
    return await link.claim(generation=generation, author="me", serial=report.serial, fleet=fleet, wishes={})


async def started(link, argv):
    await claimed(link)
    await link.start(generation=1, author="me", instance=WEB, spec=spec_of(argv))


async def said_by(link):
    """The program's lines, once there are any: it may be ready before."""
    while not (lines := (await link.logs(WEB, LogQuery(10))).lines):
        await asyncio.sleep(0.01)
    return lines


# -- a program's life, over the link


async def test_a_program_is_started_watched_read_and_stopped(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await started(link, ["/bin/sh", "-c", "echo hello from $FLEETCTL_REPLICA; exec sleep 1000"])
        ready = await link.wait(WEB, until="ready", for_s=0.0, timeout_s=60)
        assert (ready.phase, ready.name, ready.release) == (Phase.READY, WEB, 1)
        assert await said_by(link) == ("hello from web.0",)
        assert [row.name for row in (await link.observe()).instances] == [WEB]
        await link.stop(generation=1, author="me", instance=WEB, reason="enough")
        stopped = await link.wait(WEB, until="stopped", for_s=0.0, timeout_s=60)
        assert (stopped.phase, stopped.reason) == (Phase.STOPPED, "enough")


async def test_a_program_outlives_its_link(fleet_of):
    async with fleet_of() as fleet:
        async with await drive(fleet) as link:
            await started(link, ["/bin/sleep", "1000"])
            first = await link.wait(WEB, until="ready", for_s=0.0, timeout_s=60)
        async with await drive(fleet) as link:
            (second,) = (await link.observe()).instances
        assert (second.pid, second.phase) == (first.pid, Phase.READY)


async def test_a_second_link_installs_nothing(fleet_of):
    async with fleet_of() as fleet:
        await (await drive(fleet)).close()
        assert fleet.orders == 1
        await (await drive(fleet)).close()
        assert fleet.orders == 1


async def test_looking_at_a_host_that_never_saw_us_leaves_nothing_there(fleet_of):
    async with fleet_of() as fleet:
        async with await look(fleet) as link:
            report = await link.observe()
        assert (report.agent, report.fleet, report.instances) == (False, None, ())
        assert list(fleet.host("h1").folder.iterdir()) == []
        assert fleet.orders == 0


async def test_requests_are_answered_each_for_itself(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await started(link, ["/bin/sleep", "1000"])
        never = asyncio.create_task(link.wait(WEB, until="stopped", for_s=0.0, timeout_s=200))
        reports = await asyncio.gather(*(link.observe() for _ in range(50)))
        assert {report.host_id for report in reports} == {reports[0].host_id}
        assert not never.done()
        await link.stop(generation=1, author="me", instance=WEB, reason="")
        assert (await never).phase is Phase.STOPPED


async def test_a_host_witnesses_for_another(fleet_of):
    async with fleet_of(3) as fleet, await drive(fleet) as link:
        fleet.host("h3").refuse()
        places = {host.name: (host.address, host.port) for host in fleet.hosts[1:]}
        reach = await link.neighbours(places)
        assert {row.host: row.ok for row in reach} == {"h2": True, "h3": False}
        questions = tuple(Question(name, "h1", *place, "banner") for name, place in places.items())
        assert [answer.said for answer in await link.probe(questions)] == [Said.YES, Said.NO]
        assert {row.host for row in (await link.observe()).reach if row.ok} == {"h2"}


# -- refusals


async def test_a_stale_order_is_refused_with_who_drives(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await claimed(link, generation=7)
        with pytest.raises(StaleOrderError) as caught:
            await link.start(generation=6, author="you", instance=WEB, spec=spec_of(["/bin/sleep", "1"]))
        assert (caught.value.host, caught.value.generation, caught.value.author) == ("h1", 7, "me")


async def test_a_claim_on_an_old_serial_is_refused_with_the_new_one(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        before = (await link.observe()).serial
        now = await claimed(link)
        with pytest.raises(ChangedError) as caught:
            await link.claim(generation=2, author="me", serial=before, fleet="demo", wishes={})
        assert caught.value.serial == now != before


async def test_what_a_claim_leaves_on_a_host_is_read_back_whole(fleet_of):
    wishes = {"version": 2, "jobs": [{"spec": "\u00e9" * 1_500_000}], "nothing": None}
    async with fleet_of() as fleet:
        async with await drive(fleet) as link:
            assert await link.wishes() is None
            serial = (await link.observe()).serial
            await link.claim(generation=1, author="me", serial=serial, fleet="demo", wishes=wishes)
            assert await link.wishes() == wishes
        async with await look(fleet) as link:
            assert await link.wishes() == wishes


async def test_a_root_of_another_fleet_is_refused(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await claimed(link)
        with pytest.raises(ForeignRootError, match="demo"):
            await claimed(link, generation=2, fleet="other")


async def test_an_instance_with_another_spec_is_refused(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await started(link, ["/bin/sleep", "1000"])
        with pytest.raises(InstanceExistsError):
            await link.start(generation=1, author="me", instance=WEB, spec=spec_of(["/bin/sleep", "1"]))


async def test_a_gate_that_is_not_passed_in_time_says_so(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await started(link, ["/bin/sh", "-c", "echo about to sleep; exec sleep 1000"])
        await said_by(link)
        with pytest.raises(WaitError) as caught:
            await link.wait(WEB, until="stopped", for_s=0.0, timeout_s=0.2)
        assert (caught.value.timed_out, caught.value.log) == (True, ("about to sleep",))


async def test_a_program_that_can_not_run_fails_its_gate(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await started(link, ["/no/such/program"])
        with pytest.raises(WaitError) as caught:
            await link.wait(WEB, until="ready", for_s=0.0, timeout_s=60)
        assert not caught.value.timed_out


# -- login shells


async def test_a_noisy_shell_is_not_heard(fleet_of):
    async with fleet_of() as fleet:
        fleet.host("h1").noisy = True
        async with await drive(fleet) as link:
            assert (await link.observe()).agent


async def failure(opening):
    with pytest.raises(UnreachableError) as caught:
        await opening
    return caught.value


async def test_a_host_without_python_says_what_to_install(fleet_of):
    async with fleet_of() as fleet:
        error = await failure(drive(fleet, python="python9"))
        assert (error.silence, error.reason.partition(" (")[0]) == (Silence.AGENT, "python9 can't be run there")
        assert "python9: not found" in error.reason
        assert "install python3" in error.hint


@pytest.fixture
def program(tmp_path):
    """Something that stands where python3 is expected, in Python."""

    def written(text):
        path = tmp_path / "python"
        path.write_text("#!/usr/bin/env python3\nimport json, os, re, sys, time\n" + text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return written


GREETED = """
marker = re.search("fleetctl-[0-9a-f]+", sys.argv[-1]).group()
def say(**said):
    os.write(1, json.dumps(said).encode() + b"\\n")
os.write(1, marker.encode() + b"\\n")
hello = dict(hello=1, python=[3, 9], root="/r", address="", send=False, error=None, running=None)
"""
LINKED = (
    GREETED
    + """
say(**hello)
say(linked=1, by="agent")
rest, request = b"", None
while request is None:
    rest += os.read(0, 65536)
    for line in rest.split(b"\\n"):
        if line.startswith(b'{"') and b'"do"' in line:
            request = json.loads(line)
"""
)


async def test_an_account_that_runs_nothing_is_told_from_a_missing_python(fleet_of, program):
    async with fleet_of() as fleet:
        error = await failure(drive(fleet, python=program("print('This account is not available.'); sys.exit(1)")))
        assert error.silence is Silence.AGENT
        assert "ended before our program began (exit status 1, This account is not available.)" in error.reason


async def test_endless_noise_is_given_up(fleet_of, program):
    async with fleet_of() as fleet:
        error = await failure(drive(fleet, python=program("while True: os.write(1, b'noise' * 10000)")))
        assert "prints more than" in error.reason
        assert error.silence is Silence.AGENT


async def test_a_shell_that_never_gets_to_us_is_given_up(fleet_of, program, monkeypatch):
    monkeypatch.setattr(bootstrap, "HELLO_S", 0.5)
    async with fleet_of() as fleet:
        error = await failure(drive(fleet, python=program("time.sleep(60)")))
        assert (error.silence, "did not start" in error.reason) == (Silence.AGENT, True)


async def test_a_refused_root_is_told_in_the_hosts_words(fleet_of, program):
    root_error = {"kind": "root", "message": "the root is on NFS", "hint": "set fleet_root"}
    said = GREETED + f"hello['error'] = {root_error}\nsay(**hello)\n"
    async with fleet_of() as fleet:
        error = await failure(drive(fleet, python=program(said)))
        assert (error.silence, error.reason, error.hint) == (Silence.AGENT, "the root is on NFS", "set fleet_root")


# -- what a host says is not trusted


@pytest.mark.parametrize(
    "said",
    [
        "os.write(1, b'no json\\n')",
        "say(**dict(hello, root='relative'))",
        "say(hello=1)",
        "os.write(1, b'{' * 100_000)",
    ],
    ids=["no json", "a relative root", "half a hello", "an endless line"],
)
async def test_a_handshake_that_makes_no_sense_is_given_up(fleet_of, program, said):
    async with fleet_of() as fleet:
        error = await failure(drive(fleet, python=program(GREETED + said)))
        assert (error.silence, "broke off" in error.reason) == (Silence.AGENT, True)


@pytest.mark.parametrize(
    "said",
    ["os.write(1, b'no json\\n')", "os.write(1, b'[' * 100_000 + b'\\n')", "sys.exit(0)"],
    ids=["no json", "a tower of brackets", "nothing"],
)
async def test_a_link_that_turns_to_garbage_ends_and_leaves_requests_unanswered(fleet_of, program, said):
    async with fleet_of() as fleet, await drive(fleet, python=program(LINKED + said)) as link:
        with pytest.raises(UnansweredError):
            await link.observe()
        assert link.closed


async def test_an_endless_line_is_not_kept(fleet_of, program, monkeypatch):
    monkeypatch.setattr("fleetctl.host.protocol.LINE_BYTES_MAX", 1000)
    async with fleet_of() as fleet, await drive(fleet, python=program(LINKED + "os.write(1, b'x' * 3000)")) as link:
        with pytest.raises(UnansweredError, match="a line of more than 1000 bytes"):
            await link.observe()


async def test_a_report_that_makes_no_sense_is_refused(fleet_of, program):
    said = LINKED + "say(id=request['id'], ok=True, report={'serial': 'many'})\ntime.sleep(60)"
    async with fleet_of() as fleet, await drive(fleet, python=program(said)) as link:
        with pytest.raises(HostError, match=r"can't be understood: report\.serial"):
            await link.observe()


async def test_words_for_the_terminal_are_defused(fleet_of, program):
    error = {"kind": "internal", "message": "\x1b[2Jall is well\rno"}
    said = LINKED + f"say(id=request['id'], ok=False, error={error})\ntime.sleep(60)"
    async with fleet_of() as fleet, await drive(fleet, python=program(said)) as link:
        with pytest.raises(HostError) as caught:
            await link.observe()
        assert caught.value.reason == "refused to observe: \ufffd[2Jall is well\ufffdno"


async def test_an_answer_to_nothing_we_asked_is_passed_over(fleet_of, program):
    error = {"kind": "internal", "message": "the right one"}
    said = LINKED + f"say(id='else', ok=True)\nsay(id=request['id'], ok=False, error={error})\ntime.sleep(60)"
    async with fleet_of() as fleet, await drive(fleet, python=program(said)) as link:
        with pytest.raises(HostError, match="the right one"):
            await link.observe()


async def test_a_request_has_a_limit_of_its_own(fleet_of, program, monkeypatch):
    monkeypatch.setattr("fleetctl.ssh.link.OBSERVE_S", 0.2)
    async with fleet_of() as fleet, await drive(fleet, python=program(LINKED + "time.sleep(60)")) as link:
        with pytest.raises(UnansweredError, match=r"no answer to observe in 0\.2 s"):
            await link.observe()
        assert not link.closed


# -- broken links


async def test_a_host_that_dies_leaves_the_request_unanswered(fleet_of):
    async with fleet_of() as fleet, await drive(fleet) as link:
        await started(link, ["/bin/sleep", "1000"])
        never = asyncio.create_task(link.wait(WEB, until="stopped", for_s=0.0, timeout_s=200))
        await link.observe()
        await fleet.host("h1").kill()
        with pytest.raises(UnansweredError):
            await never
        assert link.closed
        with pytest.raises(UnansweredError):
            await link.observe()


async def test_a_host_that_is_cut_off_is_noticed_while_we_wait_for_it(fleet_of, monkeypatch):
    monkeypatch.setitem(connection._USER_INDEPENDENT, "keepalive_interval", 0.1)
    async with fleet_of() as fleet, await drive(fleet) as link:
        await started(link, ["/bin/sleep", "1000"])
        fleet.host("h1").silence()
        with pytest.raises(UnansweredError):
            await link.wait(WEB, until="stopped", for_s=0.0, timeout_s=200)
        assert link.closed


async def test_an_agent_that_dies_ends_the_link_and_the_next_one_finds_its_heir(fleet_of):
    async with fleet_of() as fleet:
        async with await drive(fleet) as link:
            await started(link, ["/bin/sleep", "1000"])
            before = await link.wait(WEB, until="ready", for_s=0.0, timeout_s=60)
            os.kill(agent_of(fleet.host("h1")), signal.SIGKILL)
            with pytest.raises(UnansweredError):
                await link.wait(WEB, until="stopped", for_s=0.0, timeout_s=200)
        async with await redial(fleet.spec("h1"), Access(), mode="drive", fleet="demo") as again:
            assert [row.pid for row in (await again.observe()).instances] == [before.pid]


def agent_of(host):
    (agent,) = (found for found in processes_under(host.folder) if is_agent(found))
    return agent.pid


def is_agent(found):
    try:
        return b"\0agent\0" in Path(f"/proc/{found.pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return False


@pytest.fixture
def tries(monkeypatch):
    """What each try to open a link ended with; `tries.then` is awaited after a failed one."""

    class Tries(list):
        async def then(self):
            pass

    seen = Tries()

    async def counted(host, access, **how):
        try:
            opened = await open_link(host, access, **how)
        except UnreachableError as error:
            seen.append(error.silence)
            await seen.then()
            raise
        seen.append("linked")
        return opened

    monkeypatch.setattr("fleetctl.ssh.link.open_link", counted)
    return seen


async def test_a_link_is_opened_again_once_sshd_is_back(fleet_of, tries):
    async with fleet_of() as fleet:
        fleet.host("h1").refuse()
        tries.then = fleet.host("h1").start
        await (await redial(fleet.spec("h1"), Access(), mode="look", fleet="demo")).close()
        assert tries == [Silence.REFUSED, "linked"]


async def test_a_host_that_stays_away_is_given_up_after_three_tries(fleet_of, tries):
    async with fleet_of() as fleet:
        fleet.host("h1").refuse()
        error = await failure(redial(fleet.spec("h1"), Access(), mode="look", fleet="demo"))
        assert (error.silence, len(tries)) == (Silence.REFUSED, 3)


async def test_what_can_not_get_better_is_tried_once(fleet_of, tries):
    async with fleet_of() as fleet:
        await fleet.host("h1").swap_host_key()
        await failure(redial(fleet.spec("h1"), Access(), mode="look", fleet="demo"))
        assert tries == [Silence.HOST_KEY]
