"""Hosts behind jump hosts: reached over one shared connection; a broken way says nothing of the host behind it."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncssh
import pytest
from asyncssh.constants import OPEN_CONNECT_FAILED

from fleetctl.model.host import HostSpec, Jump
from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh import connection, jumps, reach, tunnel
from fleetctl.ssh.access import Access
from fleetctl.ssh.connection import dial
from fleetctl.ssh.link import open_link
from fleetctl.ssh.reach import TransientError
from fleetctl.state.artifacts import digest_of


@dataclass
class Behind:
    """An embedded fleet whose first hosts are jump hosts, passed through in that order, and one run's access."""

    fleet: object
    access: Access
    jumps: tuple[Jump, ...]

    def spec(self, name: str) -> HostSpec:
        return replace(self.fleet.spec(name), jumps=self.jumps)

    async def dial(self, name: str):
        return await dial(self.spec(name), self.access)

    async def reach_jump_host(self, name: str) -> None:
        """What follows is about the host behind it alone."""
        await self.access.jumps.connection(self.spec(name), lambda host: dial(host, self.access))

    async def failure(self, name: str) -> UnreachableError:
        with pytest.raises(UnreachableError) as caught:
            await self.dial(name)
        return caught.value


@pytest.fixture
def behind(fleet_of):
    """`async with behind(2, jumps=1) as way`: h1 is passed through, h2 is behind it."""

    @asynccontextmanager
    async def opened(count, jumps=1):
        async with fleet_of(count) as fleet:
            for host in fleet.hosts[:jumps]:
                host.forwards = True
            route = tuple(Jump(host.address, host.port) for host in fleet.hosts[:jumps])
            way = Behind(fleet, Access(), route)
            yield way
            await way.access.close()

    return opened


# -- what works


async def test_a_host_is_reached_through_its_jump_host(behind):
    async with behind(2) as way:
        reached = await way.dial("h2")
        ended = await reached.ssh.run("echo $SSH_CONNECTION; cat", input="x" * 300_000)
        await reached.close()
        first, _, rest = ended.stdout.partition("\n")
        assert first.split()[2] == way.fleet.host("h2").address
        assert len(rest) == 300_000
        assert (way.fleet.host("h1").logins, way.fleet.host("h2").logins) == (1, 1)


async def test_jump_hosts_are_passed_through_in_their_order(behind):
    async with behind(3, jumps=2) as way:
        await (await way.dial("h3")).close()
        assert [host.logins for host in way.fleet.hosts] == [1, 1, 1]
        assert {connection.get_extra_info("peername")[0] for connection in way.fleet.host("h1").connections} == {
            "127.0.0.1"
        }


async def test_all_hosts_behind_a_jump_host_share_one_login_there(behind):
    async with behind(31) as way:
        names = [host.name for host in way.fleet.hosts[1:]]
        reached = await asyncio.gather(*(way.dial(name) for name in names))
        assert way.fleet.host("h1").logins == 1
        assert {one.ssh.get_extra_info("peername") for one in reached} == {("", 0)}
        await asyncio.gather(*(one.close() for one in reached))


async def test_the_connection_to_the_jump_host_ends_with_the_run(behind):
    async with behind(2) as way:
        await (await way.dial("h2")).close()
        assert way.fleet.host("h1").connections
        await way.access.close()
        for open_yet in list(way.fleet.host("h1").connections):
            await open_yet.wait_closed()
        assert not way.fleet.host("h1").connections


async def test_a_host_behind_is_driven_and_its_peer_address_is_where_sshd_saw_us_arrive(behind):
    async with behind(2) as way:
        spec = replace(way.spec("h2"), peer_address=None, address=way.fleet.host("h2").address)
        async with await open_link(spec, way.access, mode="drive", fleet="demo") as link:
            report = await link.observe()
        assert (report.agent, report.address, link.address) == (True, spec.address, spec.address)


WAYS = {"sftp": {}, "no sftp": {"no_sftp": True}, "one channel a connection": {"sessions_max": 1}}


@pytest.mark.parametrize("host", WAYS.values(), ids=WAYS.keys())
async def test_artifacts_go_there_and_come_back_the_same_way(behind, artifact, tmp_path, host):
    async with behind(2) as way:
        for name, value in host.items():
            setattr(way.fleet.host("h2"), name, value)
        digest = digest_of(artifact)
        async with await open_link(way.spec("h2"), way.access, mode="drive", fleet="demo") as link:
            serial = (await link.observe()).serial
            await link.claim(generation=1, author="me", serial=serial, fleet="demo", wishes={})
            await link.upload(generation=1, author="me", digest=digest, source=artifact, progress=lambda *_: None)
            await link.fetch(digest, tmp_path / "back")
        assert digest_of(tmp_path / "back") == digest
        assert way.fleet.host("h1").logins == 1
    shutil.rmtree(tmp_path / "back")


# -- the jump host is what is broken


FAULTS = {
    "silent": (lambda host: host.silence(), "no answer from"),
    "refused": (lambda host: host.refuse(), "refuses connections"),
    "hung": (lambda host: host.hang(), "says no SSH banner in"),
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_jump_host_that_is_down_says_nothing_of_the_hosts_behind_it(behind, monkeypatch, fault, said):
    monkeypatch.setattr(reach, "BANNER_S", 0.3)
    async with behind(4) as way:
        fault(way.fleet.host("h1"))
        errors = await asyncio.gather(*(way.failure(name) for name in ("h2", "h3", "h4")))
        assert [(error.host, error.silence) for error in errors] == [(f"h{n}", Silence.JUMP) for n in (2, 3, 4)]
        assert all(isinstance(error, TransientError) for error in errors)
        assert all(f"jump host {way.jumps[0]}: " in error.message and said in error.message for error in errors)
        assert [host.logins for host in way.fleet.hosts] == [0, 0, 0, 0]


async def test_the_first_of_two_jump_hosts_is_named_when_it_is_down(behind):
    async with behind(3, jumps=2) as way:
        way.fleet.host("h1").refuse()
        error = await way.failure("h3")
        assert (error.silence, error.reason.partition(" port")[0]) == (
            Silence.JUMP,
            f"jump host {way.jumps[0]}: {way.jumps[0].address}",
        )


async def test_the_second_of_two_jump_hosts_is_named_when_it_is_down(behind):
    async with behind(3, jumps=2) as way:
        way.fleet.host("h2").refuse()
        error = await way.failure("h3")
        assert (error.silence, error.reason.partition(": ")[0]) == (Silence.JUMP, f"jump host {way.jumps[1]}")
        assert f"behind {way.jumps[0]} refuses connections" in error.reason


async def test_an_unknown_host_key_of_the_jump_host_is_refused_with_what_to_do(behind):
    async with behind(2) as way:
        jump = way.fleet.host("h1")
        known = way.fleet.known_hosts_path.read_text().splitlines()
        way.fleet.known_hosts_path.write_text(known[1] + "\n")
        error = await way.failure("h2")
        assert (error.silence, isinstance(error, TransientError)) == (Silence.JUMP, False)
        assert f"is not known: it shows ssh-ed25519 {jump.host_key.get_fingerprint()}" in error.message
        assert f"\nssh-keyscan -p {jump.port} {jump.address} >>" in error.hint


async def test_an_unknown_host_key_behind_is_asked_for_from_the_jump_host(behind):
    async with behind(2) as way:
        jump, host = way.fleet.hosts
        known = way.fleet.known_hosts_path.read_text().splitlines()
        way.fleet.known_hosts_path.write_text(known[0] + "\n")
        error = await way.failure("h2")
        assert error.silence is Silence.HOST_KEY
        assert f"ssh -p {jump.port} {jump.address} ssh-keyscan -p {host.port} {host.address} >>" in error.hint


async def test_a_jump_host_that_lets_none_of_our_keys_in(behind):
    async with behind(2) as way:
        way.fleet.host("h1").client_key = asyncssh.generate_private_key("ssh-ed25519")
        error = await way.failure("h2")
        assert (error.silence, isinstance(error, TransientError)) == (Silence.JUMP, False)
        assert f"jump host {way.jumps[0]}: " in error.message
        assert "lets none of our keys log in" in error.message


async def test_a_jump_host_that_forwards_nothing_says_what_to_allow(behind):
    async with behind(2) as way:
        way.fleet.host("h1").forwards = False
        error = await way.failure("h2")
        assert (error.silence, isinstance(error, TransientError)) == (Silence.JUMP, False)
        assert "AllowTcpForwarding" in error.hint


async def test_a_jump_host_that_hangs_after_it_was_reached_is_blamed_and_reached_anew(behind, monkeypatch):
    async with behind(3) as way:
        await (await way.dial("h2")).close()
        way.fleet.host("h1").hang()
        with monkeypatch.context() as impatient:
            impatient.setattr(reach, "CONNECT_S", 0.3)
            impatient.setattr(jumps, "ALIVE_S", 0.3)
            error = await way.failure("h2")
        assert (error.silence, "stopped answering" in error.message) == (Silence.JUMP, True)
        await way.fleet.host("h1").start()
        await (await way.dial("h3")).close()
        assert way.fleet.host("h1").logins == 2


async def test_a_connection_to_the_jump_host_that_broke_is_opened_anew(behind):
    async with behind(2) as way:
        await (await way.dial("h2")).close()
        jump = way.fleet.host("h1")
        jump.refuse()
        shared = await way.access.jumps.connection(way.spec("h2"), None)
        await shared.ssh.wait_closed()
        await jump.start()
        await (await way.dial("h2")).close()
        assert jump.logins == 2


async def test_a_way_that_breaks_during_the_login_behind_it_is_the_jump_hosts_fault(behind, monkeypatch):
    async with behind(2) as way:

        async def broken(*_, **__):
            way.fleet.host("h1").refuse()
            await way.fleet.host("h1")._settle()
            raise asyncssh.ConnectionLost("Connection lost")

        await way.reach_jump_host("h2")
        monkeypatch.setattr(connection.asyncssh, "connect", broken)
        assert (await way.failure("h2")).silence is Silence.JUMP


# -- the host behind a living jump host


async def test_nobody_at_the_port_behind_is_refused(behind):
    async with behind(2) as way:
        way.fleet.host("h2").refuse()
        error = await way.failure("h2")
        assert (error.silence, isinstance(error, TransientError)) == (Silence.REFUSED, True)
        assert f"behind {way.jumps[0]} refuses connections" in error.message


async def test_no_tcp_behind_is_silent_in_the_same_time(behind, monkeypatch):
    async with behind(2) as way:
        await way.reach_jump_host("h2")
        monkeypatch.setattr(reach, "CONNECT_S", 0.3)
        way.fleet.host("h2").silence()
        error = await way.failure("h2")
        assert (error.silence, isinstance(error, TransientError)) == (Silence.SILENT, True)
        assert f"-J {way.jumps[0]}" in error.hint
        assert way.fleet.host("h1").logins == 1


async def test_tcp_without_a_banner_behind_is_hung(behind, monkeypatch):
    async with behind(2) as way:
        await way.reach_jump_host("h2")
        monkeypatch.setattr(reach, "BANNER_S", 0.3)
        way.fleet.host("h2").hang()
        assert (await way.failure("h2")).silence is Silence.HUNG


async def test_a_door_behind_that_closes_before_the_banner_is_refused(behind):
    async def close(_reader, _writer):
        pass

    async with behind(1) as way, odd_host(way, close) as odd:
        with pytest.raises(UnreachableError) as caught:
            await dial(odd, way.access)
        assert caught.value.silence is Silence.REFUSED


async def test_a_host_behind_that_speaks_no_ssh_is_named(behind):
    async def chatter(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" * 200)
        await reader.read()

    async with behind(1) as way, odd_host(way, chatter) as odd:
        with pytest.raises(UnreachableError) as caught:
            await dial(odd, way.access)
        assert (caught.value.silence, "does not speak SSH 2" in caught.value.message) == (Silence.LOGIN, True)


@asynccontextmanager
async def odd_host(way, answer):
    """A host behind the jump host at which `answer(reader, writer)` is all that happens, and then the door closes."""
    served = set()

    async def serve(reader, writer):
        served.add(asyncio.current_task())
        try:
            await answer(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield replace(way.spec("h1"), name="odd", address="127.0.0.1", port=port)
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*served, return_exceptions=True)


@pytest.mark.parametrize(
    ("reason", "silence"),
    [
        ("Connection refused", Silence.REFUSED),
        ("Connection timed out", Silence.SILENT),
        ("No route to host", Silence.SILENT),
        ("", Silence.SILENT),
        ("Name or service not known", Silence.JUMP),
        ("Temporary failure in name resolution", Silence.JUMP),
        ("Too many open files", Silence.JUMP),
    ],
)
def test_the_words_of_sshd_tell_the_layer(reason, silence):
    host = HostSpec("h2", "10.0.0.2", jumps=(Jump("bastion"),))
    assert tunnel._failed(host, asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, reason)).silence is silence
