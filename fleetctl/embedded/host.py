"""A host of the demo and of the tests: a real SSH server on a loopback address of its own, running real processes.

It knows no fleetctl; it is reached as any host is. Its faults are those of real machines, by name.
"""

from __future__ import annotations

import asyncio
import getpass
import ipaddress
import os
import re
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import asyncssh
from asyncssh.constants import OPEN_ADMINISTRATIVELY_PROHIBITED

from fleetctl.embedded.processes import end_processes_under
from fleetctl.embedded.session import Wire, run_command
from fleetctl.embedded.tap import Piece, Unwatched, Watch

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator

    from asyncssh.channel import SSHChannel

SHELL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # as sshd gives it to a root login
NOISE = b"Welcome to the machine! Load is fine, mail is none.\n"
_SILENT_BACKLOG = 0  # the kernel still takes one connection, the filler; the next ones get no answer at all


@dataclass(slots=True)
class EmbeddedHost:
    """One host. Its folder is its users' home; everything it keeps is in there, also over a kill and a new start."""

    name: str
    address: str  # of 127.0.0.0/8, its own
    folder: Path
    client_key: asyncssh.SSHKey
    port: int = 0  # given by the kernel at the first start, then kept
    zone: str = "a"
    noisy: bool = False  # its login shell prints before each command, SFTP included
    no_sftp: bool = False
    sessions_max: int = 10
    forwards: bool = False  # it may be passed through, as a jump host, to other hosts on loopback
    watch: Watch = field(default_factory=Unwatched)
    orders: int = 0  # messages that change it, seen on its links
    logins: int = 0
    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    _listener: asyncssh.SSHAcceptor | None = None
    _blocked: list[socket.socket] = field(default_factory=list)  # a deaf listener and what fills its backlog
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)
    _commands: set[asyncio.Task[None]] = field(default_factory=set)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def root(self) -> Path:
        """Where fleetctl keeps its things on this host."""
        return self.folder / "fleetctl"

    async def start(self) -> None:
        """Power on, or sshd is back: connections are served, at the address and port it always had."""
        self._leave_the_port()
        self._thaw_connections()
        self.folder.mkdir(parents=True, exist_ok=True)
        sock = self._bound_socket()
        self.port = sock.getsockname()[1]
        self._listener = await asyncssh.listen(
            sock=sock,
            server_factory=lambda: _Door(self),
            server_host_keys=[self.host_key],
            kex_algs=["curve25519-sha256"],
            encryption_algs=["aes128-gcm@openssh.com"],
            compression_algs=None,
            public_key_auth=True,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
        )

    async def kill(self) -> None:
        """Power off: its programs end without a word, nobody listens, connections break."""
        self._leave_the_port()
        self._break_connections()
        await asyncio.to_thread(end_processes_under, self.folder)
        await self._settle()

    def refuse(self) -> None:
        """sshd is gone; the programs live on."""
        self._leave_the_port()
        self._break_connections()

    def hang(self) -> None:
        """The machine is paused: its kernel accepts connections, nobody speaks. Open connections stand still."""
        self._leave_the_port()
        self._freeze_connections()
        sock = self._bound_socket()
        sock.listen(128)
        self._blocked = [sock]

    def silence(self) -> None:
        """Cut off: not even TCP answers, open connections stand still; the programs live on."""
        self._leave_the_port()
        self._freeze_connections()
        sock = self._bound_socket()
        sock.listen(_SILENT_BACKLOG)
        self._blocked = [sock]
        for _ in range(3):  # until one is left without an answer
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect((self.address, self.port))
            self._blocked.append(filler)

    async def swap_host_key(self) -> None:
        """As after a new installation, or with somebody in between."""
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        await self.start()

    async def close(self) -> None:
        """End the server and all it runs."""
        await self.kill()

    # -- what the door and its channels need

    def environment(self, client: str, client_port: int) -> dict[str, str]:
        user = getpass.getuser()
        python = Path(sys.executable).resolve().parent  # where the system has none of its own
        return {
            "HOME": str(self.folder),
            "USER": user,
            "LOGNAME": user,
            "SHELL": "/bin/sh",
            "PATH": f"{SHELL_PATH}:{python}",
            "FLEETCTL_BOOT": "none",  # no unit of the real machine may start what ends with the demo
            "SSH_CONNECTION": f"{client} {client_port} {self.address} {self.port}",
        }

    async def pass_outward(self, piece: Piece) -> bool:
        await self._flowing.wait()
        if piece.verb is None:
            return True
        passed = await self.watch.order(self.name, piece.verb)
        self.orders += passed
        return passed

    async def pass_inward(self, piece: Piece) -> bool:
        await self._flowing.wait()
        return piece.verb is None or await self.watch.answer(self.name, piece.verb)

    def open_session(
        self, connection: asyncssh.SSHServerConnection
    ) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerProcess[bytes]]:
        channel = connection.create_server_channel(encoding=None)
        files = None if self.no_sftp else self._files
        return channel, asyncssh.SSHServerProcess(self.serve, files, 3, allow_scp=False)

    def _files(self, channel: SSHChannel[bytes]) -> asyncssh.SFTPServer:
        if self.noisy:
            channel.write(NOISE)
        return _Files(cast("asyncssh.SSHServerChannel[bytes]", channel), self.folder)

    def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Runs one exec request, as a task that ends with its channel."""
        task = asyncio.create_task(self._serve(process))
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.command is None:
            process.stderr.write(b"This host runs commands only.\n")
            process.exit(1)
            return
        if self.noisy:
            process.stdout.write(NOISE)
        await run_command(
            process,
            argv=("/bin/sh", "-c", process.command),
            home=self.folder,
            env=self.environment(*process.get_extra_info("peername")[:2]),
            wire=Wire(self.pass_outward, self.pass_inward),
        )

    # -- sockets

    def _bound_socket(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((self.address, self.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _leave_the_port(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for sock in self._blocked:
            sock.close()
        self._blocked = []

    def _break_connections(self) -> None:
        for connection in list(self.connections):
            connection.abort()

    def _freeze_connections(self) -> None:
        self._flowing.clear()
        for transport in _transports_of(self.connections):
            transport.pause_reading()

    def _thaw_connections(self) -> None:
        self._flowing.set()
        for transport in _transports_of(self.connections):
            transport.resume_reading()

    async def _settle(self) -> None:
        """Wait until nothing of this host is left in the event loop."""
        if self._commands:
            await asyncio.wait(self._commands)
        for connection in list(self.connections):
            await connection.wait_closed()


def _transports_of(connections: Iterable[asyncssh.SSHServerConnection]) -> Iterator[asyncio.Transport]:
    for connection in connections:
        transport = connection._transport  # noqa: SLF001  # asyncssh has no word for standing still
        if isinstance(transport, asyncio.Transport):  # none: it is just being closed
            yield transport


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class _Files(asyncssh.SFTPServer):
    """SFTP as sftp-server does it: relative paths start at home."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], home: Path) -> None:
        super().__init__(channel)
        self._home = home

    def map_path(self, path: bytes) -> bytes:
        return os.fsencode(self._home / os.fsdecode(path))  # an absolute path stays what it is


class _Door(asyncssh.SSHServer):
    """Lets in who holds the client key, and opens channels."""

    def __init__(self, host: EmbeddedHost) -> None:
        self._host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._sessions: set[asyncssh.SSHServerChannel[bytes]] = set()
        self._host.connections.add(conn)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._host.connections.discard(self._connection)

    def begin_auth(self, _username: str) -> bool:
        return True

    def auth_completed(self) -> None:
        self._host.logins += 1

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == getpass.getuser() and key.public_data == self._host.client_key.public_data

    def connection_requested(
        self, dest_host: str, dest_port: int, _orig_host: str, _orig_port: int
    ) -> Coroutine[None, None, asyncssh.SSHTCPSession[bytes]]:
        if not self._host.forwards or not _is_loopback(dest_host):
            raise asyncssh.ChannelOpenError(OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
        return self._forward(dest_host, dest_port)

    async def _forward(self, host: str, port: int) -> asyncssh.SSHTCPSession[bytes]:
        """Fails in the words of sshd: those of the system call."""
        try:
            forwarded = await self._connection.forward_connection(host, port)
        except asyncssh.ChannelOpenError as error:
            number = re.search(r"\[Errno (\d+)\]", error.reason)
            raise asyncssh.ChannelOpenError(
                error.code, os.strerror(int(number[1])) if number else error.reason
            ) from None
        if self._connection not in self._host.connections:  # lost meanwhile: nobody else would end it
            forwarded.close()
        return cast("asyncssh.SSHTCPSession[bytes]", forwarded)

    def session_requested(
        self,
    ) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerProcess[bytes]] | bool:
        self._sessions = {channel for channel in self._sessions if not channel.is_closing()}
        if len(self._sessions) >= self._host.sessions_max:
            return False
        channel, process = self._host.open_session(self._connection)
        self._sessions.add(channel)
        return channel, process
