"""Embedded hosts fail as machines do, and leave nothing behind, however they end."""

import asyncio
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fleetctl.embedded.fleet import EmbeddedFleet, clear
from fleetctl.embedded.processes import end_processes_under, processes_under
from fleetctl.embedded.tap import INSTALL, Tap
from fleetctl.errors import UnansweredError
from fleetctl.model.replica import InstanceName
from fleetctl.ssh.access import Access
from fleetctl.ssh.connection import dial
from fleetctl.ssh.link import open_link


async def run_on(fleet, command, host="h1"):
    reached = await dial(fleet.spec(host), Access())
    try:
        return await reached.ssh.run(command)
    finally:
        await reached.close()


def runs(pid):
    """More of it is left than an exit status that nobody has fetched."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:  # gone before it was opened, or while it was read
        return False


def is_sleeping(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    except OSError:
        return False


# -- commands


async def test_a_command_sees_its_home_and_nothing_of_ours(fleet_of, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_CONTROLLER", "x")
    async with fleet_of() as fleet:
        seen = (await run_on(fleet, "pwd; env")).stdout
        assert seen.startswith(f"{fleet.host('h1').folder}\n")
        assert f"HOME={fleet.host('h1').folder}" in seen
        assert "SECRET" not in seen


async def test_status_signal_and_errors_come_back(fleet_of):
    async with fleet_of() as fleet:
        ended = await run_on(fleet, "echo fine; echo broken >&2; exit 42")
        assert (ended.stdout, ended.stderr, ended.exit_status) == ("fine\n", "broken\n", 42)
        assert (await run_on(fleet, "kill -TERM $$")).exit_signal[0] == "TERM"


async def test_much_goes_both_ways_at_once(fleet_of):
    async with fleet_of() as fleet:
        reached = await dial(fleet.spec("h1"), Access())
        data = os.urandom(8_000_000)
        ended = await reached.ssh.run("cat", input=data, encoding=None)
        await reached.close()
        assert ended.stdout == data


async def test_a_command_is_told_when_its_channel_is_gone_and_what_it_detached_lives_on(fleet_of):
    async with fleet_of() as fleet:
        reached = await dial(fleet.spec("h1"), Access())
        detach = "setsid sleep 1000 </dev/null >/dev/null 2>&1 &"
        command = await reached.ssh.create_process(f"{detach} echo $! $$; exec sleep 1000")
        detached, direct = map(int, (await command.stdout.readline()).split())
        ends = os.pidfd_open(direct)
        await reached.close()
        await _readable(ends)
        os.close(ends)
        assert Path(f"/proc/{detached}/cmdline").read_bytes() == b"sleep\x001000\x00"
        await fleet.host("h1").kill()
        assert not runs(detached)


async def _readable(descriptor):
    came = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(descriptor, came.set_result, None)
    await came
    asyncio.get_running_loop().remove_reader(descriptor)


async def test_only_the_holder_of_the_key_gets_in_and_only_on_loopback(fleet_of):
    async with fleet_of(3) as fleet:
        assert {host.address.split(".")[0] for host in fleet.hosts} == {"127"}
        assert len({host.address for host in fleet.hosts}) == 3
        assert fleet.key_path.stat().st_mode & 0o077 == 0


# -- faults


async def test_a_killed_host_comes_back_at_its_place_without_its_programs(fleet_of):
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        place = (host.address, host.port)
        await run_on(fleet, "touch kept; setsid sleep 1000 </dev/null >/dev/null 2>&1 &")
        assert processes_under(host.folder)
        await host.kill()
        assert processes_under(host.folder) == ()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place, timeout=5)
        await host.start()
        assert (host.address, host.port) == place
        assert (await run_on(fleet, "ls")).stdout == "kept\n"


async def test_the_programs_of_one_host_die_alone(fleet_of):
    async with fleet_of(2) as fleet:
        for name in ("h1", "h2"):
            await run_on(fleet, "setsid sleep 1000 </dev/null >/dev/null 2>&1 &", name)
        await fleet.host("h1").kill()
        assert len(processes_under(fleet.host("h2").folder)) == 1


@pytest.mark.parametrize("fault", ["hang", "silence"])
async def test_open_connections_stand_still_and_go_on(fleet_of, fault):
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        reached = await dial(fleet.spec("h1"), Access())
        command = await reached.ssh.create_process("cat")
        getattr(host, fault)()
        command.stdin.write("word\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(command.stdout.readline(), 0.3)
        await host.start()
        assert await command.stdout.readline() == "word\n"
        await reached.close()


# -- messages


async def test_only_what_changes_a_host_is_an_order(fleet_of):
    async with fleet_of(2) as fleet:
        host = fleet.host("h1")
        link = await open_link(fleet.spec("h1"), Access(), mode="drive", fleet="demo")
        assert host.orders == 1  # the host program came
        report = await link.observe()
        await link.probe(())
        assert host.orders == 1
        await link.claim(generation=1, author="me", serial=report.serial, fleet="demo", wishes={})
        assert host.orders == 2
        await link.neighbours({})
        assert (host.orders, fleet.host("h2").orders, fleet.orders) == (3, 0, 3)
        await link.close()


class Losing:
    """Loses one kind of message, or its answer, and tells what passed."""

    def __init__(self, *, order=None, answer=None):
        self.lost_order, self.lost_answer, self.seen = order, answer, []

    async def order(self, host, verb):
        self.seen.append(f"{host} {verb}")
        return verb != self.lost_order

    async def answer(self, host, verb):
        self.seen.append(f"{host} {verb} answered")
        return verb != self.lost_answer


@pytest.mark.parametrize(("losing", "claimed"), [({"order": "claim"}, 0), ({"answer": "claim"}, 1)])
async def test_an_order_can_be_lost_before_it_is_done_and_after(fleet_of, monkeypatch, losing, claimed):
    monkeypatch.setattr("fleetctl.ssh.link.ORDER_S", 1.0)
    async with fleet_of() as fleet:
        watch = fleet.host("h1").watch = Losing(**losing)
        link = await open_link(fleet.spec("h1"), Access(), mode="drive", fleet="demo")
        report = await link.observe()
        with pytest.raises(UnansweredError):
            await link.claim(generation=1, author="me", serial=report.serial, fleet="demo", wishes={})
        assert (await link.observe()).guard.generation == claimed
        assert watch.seen[:3] == [f"h1 {INSTALL}", f"h1 {INSTALL} answered", "h1 claim"]
        await link.close()


def test_a_conversation_passes_unchanged_however_it_is_cut():
    request = b'{"mode": "drive", "program": {"bytes": 6}}\n'
    there = b"source\n" + request, b"bu\nndl", b'{"id": "1", "do": "claim"}\n{"id": "2", "do": "observe"}\n'
    back = b'noise\nmarker\n{"hello": 1, "send": true}\n', b'{"linked": 1}\n{"id": "2"}\n{"id": "1"}\n'
    for size in (1, 2, 3, 7, 1000):
        tap = Tap()
        outward, inward = [], []
        for mine, pieces, feed in (
            (there[0], outward, tap.outward),
            (back[0], inward, tap.inward),
            (there[1] + there[2], outward, tap.outward),
            (back[1], inward, tap.inward),
        ):
            for start in range(0, len(mine), size):
                pieces.extend(feed(mine[start : start + size]))
        assert b"".join(piece.data for piece in outward) == b"".join(there)
        assert b"".join(piece.data for piece in inward) == b"".join(back)
        assert [piece.verb for piece in outward if piece.verb] == [INSTALL, "claim"]
        assert [piece.verb for piece in inward if piece.verb] == [INSTALL, "claim"]


# -- tidying


ABANDONED = """
import asyncio, sys
from pathlib import Path
from fleetctl.embedded.fleet import EmbeddedFleet
from fleetctl.model.replica import InstanceName
from fleetctl.ssh.access import Access
from fleetctl.ssh.link import open_link

async def main():
    async with EmbeddedFleet(Path(sys.argv[1]), count=2) as fleet:
        for spec in fleet.specs:
            await open_link(spec, Access(), mode="drive", fleet="demo")
        print("up", flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_what_a_killed_fleet_left_is_ended_by_the_next(tmp_path):
    folder = tmp_path / "f"
    first = subprocess.Popen([sys.executable, "-c", ABANDONED, folder], stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"up\n"
    first.kill()
    first.wait()
    first.stdout.close()
    left = processes_under(folder)
    assert len(left) >= 4  # a supervisor and an agent on each
    async with EmbeddedFleet(folder, count=1) as fleet:
        assert not any(runs(process.pid) for process in left)
        assert (await run_on(fleet, "ls")).stdout == ""
    assert processes_under(folder) == ()


async def test_nothing_runs_after_the_end(fleet_of):
    async with fleet_of(2, keep=False) as fleet:
        link = await open_link(fleet.spec("h1"), Access(), mode="drive", fleet="demo")
        report = await link.observe()
        await link.claim(generation=1, author="me", serial=report.serial, fleet="demo", wishes={})
        instance = InstanceName.parse("web.0@1")
        spec = {
            "job": "web",
            "release": 1,
            "fleet": "demo",
            "host": "h1",
            "address": "127.0.0.1",
            "wish_replicas": 1,
            "argv": ["/bin/sh", "-c", "cd /; env -i setsid sleep 1000 & exec sleep 1000"],
            "env": {},
            "artifact": None,
            "ports": {},
            "resources": {"cpu_milli": 0, "memory_bytes": 0, "disk_bytes": 0},
            "ready": None,
            "min_healthy_s": 0.0,
            "stop": {"signal": "TERM", "timeout_s": 5.0},
            "log": {"size_bytes": 1 << 20, "keep": 2},
            "restart": {"backoff_min_s": 1.0, "backoff_max_s": 60.0, "reset_s": 600.0},
        }
        await link.start(generation=1, author="me", instance=instance, spec=spec)
        await link.wait(instance, until="ready", for_s=0.0, timeout_s=20)
        await link.close()
        ran = ()
        while sum(is_sleeping(process.pid) for process in ran) < 2:
            await asyncio.sleep(0.01)
            ran = processes_under(fleet.folder)
    assert not any(runs(process.pid) for process in ran)
    assert not fleet.folder.exists()


def test_a_shell_that_looks_around_is_spared(tmp_path):
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execv("/bin/sleep", ["sleep", "1000"])
    daemon = subprocess.Popen(["sleep", "1000"], cwd=tmp_path, start_new_session=True)
    try:
        while Path(f"/proc/{child}/comm").read_text() != "sleep\n":
            pass
        assert end_processes_under(tmp_path) == 1
        assert daemon.wait() == -signal.SIGKILL
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def test_a_folder_of_somebody_else_is_not_cleared(tmp_path):
    (tmp_path / "thesis").write_text("irreplaceable")
    with pytest.raises(ValueError, match="not the folder of an embedded fleet"):
        clear(tmp_path)
    assert (tmp_path / "thesis").exists()
