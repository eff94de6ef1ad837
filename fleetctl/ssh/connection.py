"""One try to reach a host over SSH, with a limit on each phase; a failure says in which layer it was.

Retrying and judging are not done here: one call is one fresh connection.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.constants import MSG_IGNORE

from fleetctl.model.host import HostSpec
from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh.access import CIPHERS, KEX, Access, AccessError, KnownHosts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

CONNECT_S = 2.0
BANNER_S = 3.0  # a paused machine accepts TCP at once and never says a word
LOGIN_S = 10.0
CLOSE_S = 2.0
KEEPALIVE_S, KEEPALIVES_MAX = 5, 3  # a host that dies while we wait for it is noticed after 15 s

_BANNER = b"SSH-2.0"
_BANNER_BYTES_MAX = 4096  # lines before the banner are allowed, within reason
_ADDRESSES_MAX = 4  # of one name, tried side by side
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM)


class TransientError(UnreachableError):
    """A failure that another try may not meet: nobody there, refused, cut off or timed out."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A logged-in connection. Whoever dialled it closes it."""

    host: HostSpec
    ssh: asyncssh.SSHClientConnection

    async def start(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        """Run `command`, already quoted, in an exec channel of bytes. Raises asyncssh's errors."""
        return await self.ssh.create_process(command, encoding=None, errors="strict", stdin=asyncssh.PIPE)

    async def close(self) -> None:
        """Ends it, politely for as long as that takes no longer than CLOSE_S."""
        self.ssh.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.ssh.wait_closed()
        except TimeoutError:
            self.ssh.abort()


async def dial(host: HostSpec, access: Access, *, on_banner: Callable[[], None] = lambda: None) -> Connection:
    """One fresh connection to `host`. Raises UnreachableError; TransientError where another try is worth it."""
    sock = await _connect(host)
    try:
        await _await_banner(host, sock)
        on_banner()
        return await _login(host, sock, access)
    except BaseException:
        sock.close()
        raise


# -- TCP


async def _connect(host: HostSpec) -> socket.socket:
    try:
        async with asyncio.timeout(CONNECT_S):
            addresses = await _resolve(host)
            return await _first_connected(addresses)
    except TimeoutError:
        raise TransientError(
            host.name, Silence.SILENT, f"no answer from {_at(host)} in {CONNECT_S:g} s", hint=_ask_host(host)
        ) from None
    except socket.gaierror as error:
        # Our resolver may be what is broken: no word about the host, so never one of the kinds that may mean death.
        raise TransientError(
            host.name, Silence.LOGIN, f"its address {host.address} can't be resolved: {error.strerror}"
        ) from None
    except OSError as error:
        if error.errno in _OURS:
            raise TransientError(
                host.name, Silence.LOGIN, f"this machine can't open a connection: {os.strerror(error.errno)}"
            ) from None
        if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
            raise TransientError(
                host.name, Silence.REFUSED, f"{_at(host)} refuses connections", hint="is sshd running there?"
            ) from None
        what = os.strerror(error.errno) if error.errno else str(error)
        raise TransientError(
            host.name, Silence.SILENT, f"{_at(host)} can't be reached: {what.lower()}", hint=_ask_host(host)
        ) from None


async def _resolve(host: HostSpec) -> Sequence[tuple[int, Any]]:
    with suppress(ValueError):
        address = ipaddress.ip_address(host.address)
        return [(socket.AF_INET if address.version == 4 else socket.AF_INET6, (host.address, host.port))]
    found = await asyncio.get_running_loop().getaddrinfo(host.address, host.port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found][:_ADDRESSES_MAX]


async def _first_connected(addresses: Sequence[tuple[int, Any]]) -> socket.socket:
    """The first socket that connects; where none does, the last failure."""
    attempts = [asyncio.create_task(_connect_one(family, address)) for family, address in addresses]
    winner: socket.socket | None = None
    failure: BaseException = OSError(errno.EHOSTUNREACH, "the name has no address")
    try:
        pending = set(attempts)
        while pending and winner is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                error = attempt.exception()
                winner, failure = (attempt.result(), failure) if error is None else (winner, error)
    finally:
        for attempt in attempts:
            attempt.cancel()
        for ended in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(ended, socket.socket) and ended is not winner:
                ended.close()
    if winner is None:
        raise failure
    return winner


async def _connect_one(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


# -- the banner


async def _await_banner(host: HostSpec, sock: socket.socket) -> None:
    """Wait until sshd has said who it is, without taking that from the socket: asyncssh reads it again."""
    seen = b""
    try:
        async with asyncio.timeout(BANNER_S):
            while not _has_banner(seen):
                before, seen = seen, await _peek(sock)
                if not seen:
                    raise ConnectionResetError
                if len(seen) >= _BANNER_BYTES_MAX:
                    break
                if seen == before:
                    await asyncio.sleep(0.02)  # part of it is there: a peek does not wait for more
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:
            said = f", only {_printable(seen)}" if seen else ""
            raise TransientError(
                host.name,
                Silence.HUNG,
                f"{_at(host)} accepts connections, but says no SSH banner in {BANNER_S:g} s{said}",
                hint=_ask_host(host),
            ) from None
        raise TransientError(
            host.name,
            Silence.REFUSED,
            f"{_at(host)} closes connections before its SSH banner",
            hint="is sshd running there, and does it let this machine in (MaxStartups, PerSourcePenalties)?",
        ) from None
    if not _has_banner(seen):
        raise UnreachableError(
            host.name, Silence.LOGIN, f"{_at(host)} does not speak SSH 2: it says {_printable(seen)}"
        )


def _has_banner(seen: bytes) -> bool:
    return any(line.startswith(_BANNER) for line in seen.split(b"\n"))


async def _peek(sock: socket.socket) -> bytes:
    """What can be read now, without taking it; waits until there is something. Nothing: the other side closed."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await readable
    finally:
        loop.remove_reader(sock)
    return sock.recv(_BANNER_BYTES_MAX, socket.MSG_PEEK)


# -- login


class _Client(asyncssh.SSHClient):
    """Keeps the host key that asyncssh would not trust, so that the error can show it. Never trusts anything itself."""

    def __init__(self) -> None:
        self.refused_key: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self.refused_key = key
        return False


async def _login(host: HostSpec, sock: socket.socket, access: Access) -> Connection:
    peer = sock.getpeername()[0]
    try:
        known = access.known_hosts(host)
    except AccessError as error:
        raise UnreachableError(host.name, Silence.HOST_KEY, error.message, hint=error.hint) from error
    try:
        offered = access.login(host)
    except AccessError as error:
        raise UnreachableError(host.name, Silence.LOGIN, error.message, hint=error.hint) from error
    client = _Client()
    connect = partial(
        asyncssh.connect,
        host.address,
        host.port,
        sock=sock,
        client_factory=lambda: client,
        config=None,
        known_hosts=known.parsed,
        server_host_key_algs=known.key_types(host, peer),
        agent_path=None,  # asked below: asyncssh would add the user's default keys
        kex_algs=KEX,
        encryption_algs=CIPHERS,
        compression_algs=None,
        preferred_auth="publickey",
        gss_host=None,
        gss_kex=False,
        gss_auth=False,
        x509_trusted_certs=None,
        x509_trusted_cert_paths=[],
        login_timeout=0,  # ours is the limit around it
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=KEEPALIVES_MAX,
        **({"username": host.user} if host.user else {}),
    )
    try:
        async with access.login_turn(), asyncio.timeout(LOGIN_S), _agent_keys(offered.agent) as held:
            keys = [*held, *offered.keys]
            if not keys:
                raise _denied(host, offered.locked, "there is no key to log in with")
            ssh = await connect(client_keys=keys)
    except TimeoutError:
        raise TransientError(
            host.name, Silence.LOGIN, f"{_at(host)} did not finish the login in {LOGIN_S:g} s", hint=_ask_host(host)
        ) from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise _host_key_error(host, known, peer, client.refused_key, str(error)) from None
    except asyncssh.PermissionDenied:
        raise _denied(host, offered.locked, f"{_at(host)} lets none of our keys log in{_as_user(host)}") from None
    except asyncssh.KeyExchangeFailed as error:
        raise UnreachableError(
            host.name, Silence.LOGIN, f"{_at(host)} and fleetctl have no algorithm in common: {error}"
        ) from None
    except (OSError, asyncssh.Error) as error:
        raise TransientError(
            host.name, Silence.LOGIN, f"{_at(host)} broke off during the login: {_reason(error)}", hint=_ask_host(host)
        ) from None
    _drop_ignored_packets(ssh)
    return Connection(host, ssh)


@asynccontextmanager
async def _agent_keys(path: str | None) -> AsyncIterator[Sequence[asyncssh.SSHKeyPair]]:
    """The keys of the agent at `path`, usable as long as this context; none where no agent answers."""
    if path is None:
        yield ()
        return
    agent = asyncssh.SSHAgentClient(path)
    try:
        try:
            keys: Sequence[asyncssh.SSHKeyPair] = await agent.get_keys()
        except ValueError:  # nobody listens, or what answers is no agent
            keys = ()
        yield keys
    finally:
        agent.close()
        await agent.wait_closed()


def _drop_ignored_packets(ssh: asyncssh.SSHClientConnection) -> None:
    """Send no MSG_IGNORE before each packet where the cipher authenticates: there it hides nothing and costs time."""
    cipher = ssh.get_extra_info("send_cipher", "")
    if "gcm" not in cipher and "poly1305" not in cipher:
        return
    send = ssh.send_packet

    def send_packet(kind: int, *args: bytes, **options: Any) -> None:
        if kind != MSG_IGNORE:
            send(kind, *args, **options)

    ssh.send_packet = send_packet  # type: ignore[method-assign,assignment]


# -- for people


def _host_key_error(
    host: HostSpec, known: KnownHosts, peer: str, key: asyncssh.SSHKey | None, reason: str
) -> UnreachableError:
    """What is wrong with the key that a host showed, with fingerprints to compare and the commands that mend it."""
    file = known.files[0]
    name = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    scan = f"ssh-keyscan {f'-p {host.port} ' if host.port != 22 else ''}{host.address} >> {file}"
    if key is None:
        return UnreachableError(
            host.name, Silence.HOST_KEY, f"the host key of {name} is not accepted: {reason}", hint=f"see {file}"
        )
    shown = f"{key.get_algorithm()} {key.get_fingerprint()}"
    before = ", ".join(f"{old.get_algorithm()} {old.get_fingerprint()}" for old in known.keys_of(host, peer))
    if before:
        return UnreachableError(
            host.name,
            Silence.HOST_KEY,
            f"the host key of {name} changed: it shows {shown}, known is {before}",
            hint="someone may be in between, or the host was set up anew. Only if it was:\n"
            f"ssh-keygen -R '{name}' -f {file}; {scan}",
        )
    return UnreachableError(
        host.name,
        Silence.HOST_KEY,
        f"the host key of {name} is not known: it shows {shown}",
        hint="compare that with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host; if it is the same:\n"
        f"{scan}",
    )


def _denied(host: HostSpec, locked: Sequence[Path], what: str) -> UnreachableError:
    hints = [_ask_host(host)]
    if locked:
        keys = ", ".join(map(str, locked))
        hints.append(f"encrypted, and so only offered by an agent that holds it: {keys} (ssh-add)")
    return UnreachableError(host.name, Silence.LOGIN, what, hint="\n".join(hints))


def _as_user(host: HostSpec) -> str:
    return f" as {host.user}" if host.user else ""


def _at(host: HostSpec) -> str:
    return f"{host.address} port {host.port}"


def _ask_host(host: HostSpec) -> str:
    return f"try it by hand: ssh -v -p {host.port} {f'{host.user}@' if host.user else ''}{host.address}"


def _reason(error: Exception) -> str:
    return str(error) or "it closed the connection"


def _printable(data: bytes) -> str:
    return repr(data[:80].decode("utf-8", "replace"))
