"""One try to reach a host says in which layer it failed, within its time limits, and never holds up another."""

import asyncio
import errno
import logging
import os
import re
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncssh
import pytest

from fleetctl.model.host import HostSpec
from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh import connection, reach
from fleetctl.ssh.access import LOGINS_MAX, Access
from fleetctl.ssh.connection import dial
from fleetctl.ssh.reach import TransientError


async def failure(host, access=None):
    """The error of one try."""
    with pytest.raises(UnreachableError) as caught:
        await dial(host, access or Access())
    return caught.value


@asynccontextmanager
async def served(answer):
    """A host at which `answer(reader, writer)` is all that happens after TCP."""
    writers = []

    async def keep(reader, writer):
        writers.append(writer)
        await answer(reader, writer)

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        yield HostSpec("odd", "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


async def test_a_host_runs_commands(fleet_of):
    async with fleet_of() as fleet:
        reached = await dial(fleet.spec("h1"), Access())
        ended = await reached.ssh.run("cat; echo $HOME; exit 3", input="word for word\n")
        await reached.close()
        assert (ended.stdout, ended.exit_status) == (f"word for word\n{fleet.host('h1').folder}\n", 3)


@pytest.fixture
def some_key(tmp_path):
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "some")
    return tmp_path / "some"


# -- the layers of silence


async def test_no_tcp_is_silent(fleet_of):
    async with fleet_of() as fleet:
        fleet.host("h1").silence()
        error = await failure(fleet.spec("h1"))
        assert error.silence is Silence.SILENT
        assert isinstance(error, TransientError)


async def test_no_route_is_silent(monkeypatch):
    async def no_route(_family, _address):
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(reach, "_connect_one", no_route)
    error = await failure(HostSpec("away", "192.0.2.1"))
    assert (error.silence, error.message) == (
        Silence.SILENT,
        "away: 192.0.2.1 port 22 can't be reached: no route to host",
    )


async def test_our_own_want_of_descriptors_is_not_their_silence(monkeypatch):
    async def no_descriptor(_family, _address):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(reach, "_connect_one", no_descriptor)
    assert (await failure(HostSpec("fine", "192.0.2.1"))).silence is Silence.LOGIN


async def test_a_name_that_does_not_resolve_is_not_their_silence(monkeypatch):
    async def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    error = await failure(HostSpec("named", "nowhere.invalid"))
    assert (error.silence, "nowhere.invalid can't be resolved" in error.message) == (Silence.LOGIN, True)


async def test_any_address_of_a_name_will_do(fleet_of, monkeypatch):
    async with fleet_of(2) as fleet:
        fleet.host("h1").silence()
        places = [(host.address, fleet.host("h2").port) for host in fleet.hosts]
        await fleet.host("h2").start()

        async def both(*_, **__):
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place) for place in places]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
        # The key is known for the address that answered, not for the name.
        reached = await dial(replace(fleet.spec("h2"), address="both.invalid"), Access())
        await reached.close()


async def test_nobody_at_the_port_is_refused(fleet_of):
    async with fleet_of() as fleet:
        fleet.host("h1").refuse()
        error = await failure(fleet.spec("h1"))
        assert (error.silence, isinstance(error, TransientError)) == (Silence.REFUSED, True)


async def test_a_door_closed_before_the_banner_is_refused():
    async def close(_reader, writer):
        writer.close()

    async with served(close) as host:
        assert (await failure(host)).silence is Silence.REFUSED


async def test_tcp_without_a_banner_is_hung(fleet_of, monkeypatch):
    monkeypatch.setattr(reach, "BANNER_S", 0.2)
    async with fleet_of() as fleet:
        fleet.host("h1").hang()
        assert (await failure(fleet.spec("h1"))).silence is Silence.HUNG


async def test_half_a_banner_is_hung(monkeypatch):
    monkeypatch.setattr(reach, "BANNER_S", 2.0)  # within which that half comes on a busy machine, too

    async def begin(_reader, writer):
        writer.write(b"SSH-2")
        await writer.drain()

    async with served(begin) as host:
        error = await failure(host)
        assert (error.silence, "'SSH-2'" in error.message) == (Silence.HUNG, True)


async def test_what_is_no_ssh_is_named(monkeypatch):
    async def chatter(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n" * 200)
        await writer.drain()

    async with served(chatter) as host:
        error = await failure(host)
        assert (error.silence, "does not speak SSH 2" in error.message) == (Silence.LOGIN, True)


async def test_lines_before_the_banner_are_allowed(fleet_of):
    async with fleet_of() as fleet:
        host = fleet.host("h1")

        async def greet_and_hand_on(reader, writer):
            writer.write(b"Property of somebody\r\n")
            behind, before = await asyncio.open_connection(host.address, host.port)
            await asyncio.gather(_copy(reader, before), _copy(behind, writer))

        async with served(greet_and_hand_on) as greeting:
            known = fleet.known_hosts_path.read_text().split(" ", 1)[1]
            fleet.known_hosts_path.write_text(f"[127.0.0.1]:{greeting.port} {known}")
            reached = await dial(replace(fleet.spec("h1"), address=greeting.address, port=greeting.port), Access())
            await reached.close()


async def _copy(source, target):
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()


async def only_banner(_reader, writer):
    writer.write(b"SSH-2.0-Slow\r\n")
    await writer.drain()


async def test_a_login_that_hangs_is_not_silence(monkeypatch, some_key):
    monkeypatch.setattr(connection, "LOGIN_S", 0.2)
    async with served(only_banner) as host:
        error = await failure(replace(host, private_key=some_key))
        assert (error.silence, isinstance(error, TransientError)) == (Silence.LOGIN, True)


# -- keys


async def test_a_key_that_is_not_let_in_is_said_and_not_tried_again(fleet_of, some_key):
    async with fleet_of() as fleet:
        error = await failure(replace(fleet.spec("h1"), private_key=some_key))
        assert (error.silence, isinstance(error, TransientError)) == (Silence.LOGIN, False)
        assert "lets none of our keys log in" in error.message


async def test_an_unknown_host_key_is_shown_with_what_to_do(fleet_of):
    async with fleet_of() as fleet:
        fleet.known_hosts_path.write_text("")
        host = fleet.host("h1")
        error = await failure(fleet.spec("h1"))
        assert (error.silence, isinstance(error, TransientError)) == (Silence.HOST_KEY, False)
        assert f"is not known: it shows ssh-ed25519 {host.host_key.get_fingerprint()}" in error.message
        assert f"ssh-keyscan -p {host.port} {host.address} >> {fleet.known_hosts_path}" in error.hint


async def test_a_changed_host_key_is_shown_beside_the_known_one(fleet_of):
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        known = host.host_key.get_fingerprint()
        await host.swap_host_key()
        error = await failure(fleet.spec("h1"))
        assert error.silence is Silence.HOST_KEY
        assert f"shows ssh-ed25519 {host.host_key.get_fingerprint()}, known is ssh-ed25519 {known}" in error.message
        assert f"ssh-keygen -R '[{host.address}]:{host.port}'" in error.hint


async def test_a_known_key_of_another_type_is_a_change(fleet_of):
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
        fleet.known_hosts_path.write_text(f"[{host.address}]:{host.port} {other}")
        error = await failure(fleet.spec("h1"))
        assert (error.silence, "changed" in error.message) == (Silence.HOST_KEY, True)


async def test_of_several_host_keys_the_known_one_is_asked_for(fleet_of):
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        known = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
        server = await asyncssh.listen(
            host.address,
            0,
            server_host_keys=[host.host_key, known],
            authorized_client_keys=asyncssh.import_authorized_keys(host.client_key.export_public_key().decode()),
        )
        port = server.get_port()
        fleet.known_hosts_path.write_text(f"[{host.address}]:{port} {known.export_public_key().decode()}")
        reached = await dial(replace(fleet.spec("h1"), port=port), Access())
        await reached.close()
        server.close()
        await server.wait_closed()


async def test_a_revoked_host_key_is_refused(fleet_of):
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        line = fleet.known_hosts_path.read_text()
        fleet.known_hosts_path.write_text(f"{line}@revoked * {host.host_key.export_public_key().decode()}")
        error = await failure(fleet.spec("h1"))
        assert (error.silence, "revoked" in error.message) == (Silence.HOST_KEY, True)


async def test_a_missing_known_hosts_file_is_named(fleet_of, tmp_path):
    async with fleet_of() as fleet:
        error = await failure(replace(fleet.spec("h1"), known_hosts=tmp_path / "none"))
        assert (error.silence, error.reason) == (
            Silence.HOST_KEY,
            f"there is no known_hosts file {tmp_path / 'none'}",
        )


async def test_without_one_of_its_own_the_users_known_hosts_count(fleet_of, tmp_path):
    async with fleet_of() as fleet:
        folder = tmp_path / "home" / ".ssh"
        (folder / "known_hosts").write_text("not an entry\n" + fleet.known_hosts_path.read_text())
        reached = await dial(replace(fleet.spec("h1"), known_hosts=None), Access())
        await reached.close()


async def test_without_one_of_its_own_the_users_key_is_offered(fleet_of, tmp_path):
    async with fleet_of() as fleet:
        folder = tmp_path / "home" / ".ssh"
        fleet.key_path.rename(folder / "id_ed25519")
        await (await dial(replace(fleet.spec("h1"), private_key=None), Access())).close()


async def test_a_missing_key_is_named(fleet_of, tmp_path):
    async with fleet_of() as fleet:
        error = await failure(replace(fleet.spec("h1"), private_key=tmp_path / "none"))
        assert (error.silence, error.reason) == (Silence.LOGIN, f"there is no private key {tmp_path / 'none'}")


async def test_without_any_key_that_is_said(fleet_of):
    async with fleet_of() as fleet:
        error = await failure(replace(fleet.spec("h1"), private_key=None))
        assert (error.silence, "no key to log in with" in error.message) == (Silence.LOGIN, True)


async def test_an_agent_that_is_gone_is_no_failure(fleet_of, monkeypatch, tmp_path):
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    async with fleet_of() as fleet:
        fleet.key_path.rename(tmp_path / "home" / ".ssh" / "id_ed25519")
        await (await dial(replace(fleet.spec("h1"), private_key=None), Access())).close()


@pytest.fixture
def encrypted_key(tmp_path):
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    key.write_private_key(tmp_path / "locked", "pkcs8-pem", passphrase="secret")
    return tmp_path / "locked"


async def test_an_encrypted_key_without_an_agent_says_so(fleet_of, encrypted_key):
    async with fleet_of() as fleet:
        error = await failure(replace(fleet.spec("h1"), private_key=encrypted_key))
        assert error.silence is Silence.LOGIN
        assert "is encrypted and no SSH agent runs" in error.message
        assert f"ssh-add {encrypted_key}" in error.hint


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """An SSH agent; gives a function that adds a key to it."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("needs ssh-agent")
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    try:
        process.stdout.readline()  # it says where it listens, once it does
        yield lambda key: subprocess.run(["ssh-add", "-q", key], check=True, env=os.environ)
    finally:
        process.terminate()
        process.communicate()


async def test_the_agents_keys_are_offered(fleet_of, agent):
    async with fleet_of() as fleet:
        agent(fleet.key_path)
        reached = await dial(replace(fleet.spec("h1"), private_key=None), Access())
        await reached.close()


async def test_files_are_parsed_once(fleet_of):
    async with fleet_of(2) as fleet:
        access = Access()
        await (await dial(fleet.spec("h1"), access)).close()
        kept = fleet.key_path.read_bytes()
        fleet.key_path.write_text("not a key")
        fleet.known_hosts_path.write_text("")
        await (await dial(fleet.spec("h2"), access)).close()
        fleet.key_path.write_bytes(kept)


# -- many at once


async def test_thirty_hosts_at_once(fleet_of):
    async with fleet_of(30) as fleet:
        access = Access()
        reached = await asyncio.gather(*(dial(spec, access) for spec in fleet.specs))
        answers = await asyncio.gather(*(one.ssh.run("echo $SSH_CONNECTION", check=True) for one in reached))
        assert [answer.stdout.split()[2] for answer in answers] == [host.address for host in fleet.hosts]
        await asyncio.gather(*(one.close() for one in reached))


async def test_the_hung_and_the_silent_hold_up_nobody(fleet_of, monkeypatch):
    """More of them than logins may begin at once; the living are reached while all of those still wait."""
    monkeypatch.setattr(reach, "CONNECT_S", 200.0)
    monkeypatch.setattr(reach, "BANNER_S", 200.0)
    async with fleet_of(2 * LOGINS_MAX + 6) as fleet:
        access = Access()
        dead, living = fleet.hosts[: 2 * LOGINS_MAX], fleet.hosts[2 * LOGINS_MAX :]
        for number, host in enumerate(dead):
            host.hang() if number % 2 else host.silence()
        waiting = [asyncio.create_task(dial(fleet.spec(host.name), access)) for host in dead]
        for host in living:
            await (await dial(fleet.spec(host.name), access)).close()
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_logins_that_hang_give_their_place_to_the_next(fleet_of, monkeypatch):
    monkeypatch.setattr(connection, "LOGIN_S", 200.0)
    async with fleet_of() as fleet, served(only_banner) as slow:
        access = Access()
        spec = replace(slow, private_key=fleet.key_path, known_hosts=fleet.known_hosts_path)
        waiting = [asyncio.create_task(dial(spec, access)) for _ in range(LOGINS_MAX)]
        while not access._logins.locked():
            await asyncio.sleep(0)
        await (await dial(fleet.spec("h1"), access)).close()
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


# -- what asyncssh does


@pytest.fixture
def sent(caplog):
    """(connection, packet) of all that connections sent, as asyncssh logs them."""
    asyncssh.set_log_level(logging.DEBUG)
    asyncssh.set_debug_level(3)
    caplog.set_level(logging.DEBUG, "asyncssh")
    line = re.compile(r"\[conn=(\d+).*?\] Sent (MSG_\w+)")
    yield lambda: [found.groups() for record in caplog.records if (found := line.match(record.getMessage()))]
    asyncssh.set_debug_level(1)
    asyncssh.set_log_level(logging.WARNING)


def packets_of_client(sent):
    client = next(number for number, packet in sent if packet == "MSG_CHANNEL_OPEN")
    return [packet for number, packet in sent if number == client]


async def test_no_packet_is_sent_to_be_ignored(fleet_of, sent, caplog):
    """It doubles the packets and hides nothing under an authenticating cipher; asyncssh has no switch for it."""
    async with fleet_of() as fleet:
        host = fleet.host("h1")
        plain = await asyncssh.connect(
            host.address, host.port, known_hosts=None, client_keys=[host.client_key], agent_path=None, config=None
        )
        await plain.run("cat", input="x" * 100_000)
        plain.close()
        await plain.wait_closed()
        assert "MSG_IGNORE" in packets_of_client(sent()), "asyncssh does it no more, or logs it in other words"
        reached = await dial(fleet.spec("h1"), Access())
        caplog.clear()
        ended = await reached.ssh.run("cat", input="x" * 100_000)
        await reached.close()
        assert ended.stdout == "x" * 100_000
        ours = packets_of_client(sent())
        assert "MSG_CHANNEL_DATA" in ours
        assert "MSG_IGNORE" not in ours
