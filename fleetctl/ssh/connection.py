"""One try to reach a host over SSH, with a limit on each phase; a failure says in which layer it was.

Retrying and judging are not done here: one call is one fresh connection.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncssh
from asyncssh.constants import MSG_IGNORE

from fleetctl.model.host import HostSpec
from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh.access import CIPHERS, KEX, Access, AccessError, KnownHosts
from fleetctl.ssh.jumps import answers
from fleetctl.ssh.reach import TransientError, by_hand, place, reach
from fleetctl.ssh.tunnel import reach_through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

LOGIN_S = 10.0
CLOSE_S = 1.0
KEEPALIVE_S, KEEPALIVES_MAX = 5, 3  # a host that dies while we wait for it is noticed after 15 s


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
        except BaseException as error:
            self.ssh.abort()
            if not isinstance(error, TimeoutError):
                raise


async def dial(host: HostSpec, access: Access, *, on_banner: Callable[[], None] = lambda: None) -> Connection:
    """One fresh connection to `host`. Raises UnreachableError; TransientError where another try is worth it."""
    if host.jumps:
        return await _dial_through(host, access, on_banner)
    sock = await reach(host)
    on_banner()
    try:
        return await _login(host, access, sock.getpeername()[0], sock=sock)
    except BaseException:
        sock.close()
        raise


async def _dial_through(host: HostSpec, access: Access, on_banner: Callable[[], None]) -> Connection:
    """Nothing is said of a host behind a jump host that does not answer when the try has failed."""
    jump = await access.jumps.connection(host, partial(dial, access=access))
    try:
        tunnel = await reach_through(jump, host)
        on_banner()
        try:
            return await _login(host, access, "", tunnel=tunnel)
        except BaseException:
            tunnel.close()
            raise
    except TransientError as error:
        if await answers(jump):
            raise
        what = f"jump host {host.jumps[-1]}: it stopped answering while {host.name} was tried"
        raise TransientError(host.name, Silence.JUMP, what, hint=by_hand(jump.host)) from error


Loaded = TypeVar("Loaded")

# What asyncssh would else take from the user's files and environment at each connection, or do besides our task.
_USER_INDEPENDENT: Final[dict[str, Any]] = {
    "config": None,
    "agent_path": None,  # its keys are asked for by us: asyncssh would add the user's default ones
    "kex_algs": KEX,
    "encryption_algs": CIPHERS,
    "compression_algs": None,
    "preferred_auth": "publickey",
    "gss_host": None,
    "gss_kex": False,
    "gss_auth": False,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": [],
    "login_timeout": 0,  # ours is the limit around it
    "keepalive_interval": KEEPALIVE_S,
    "keepalive_count_max": KEEPALIVES_MAX,
}


# -- login


class _Client(asyncssh.SSHClient):
    """Keeps the host key that asyncssh would not trust, so that the error can show it. Never trusts anything itself."""

    def __init__(self) -> None:
        self.refused_key: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self.refused_key = key
        return False


async def _login(host: HostSpec, access: Access, peer: str, **way: Any) -> Connection:
    """`peer` is the address that the host has for us; empty where only a jump host knows it."""
    known = _usable(host, Silence.HOST_KEY, access.known_hosts)
    offered = _usable(host, Silence.LOGIN, access.login)
    client = _Client()
    try:
        async with access.login_turn(), asyncio.timeout(LOGIN_S), _agent_keys(offered.agent) as held:
            keys = [*held, *offered.keys]
            if not keys:
                raise _denied(host, offered.locked, "there is no key to log in with")
            ssh = await asyncssh.connect(
                host.address,
                host.port,
                client_factory=lambda: client,
                known_hosts=known.parsed,
                server_host_key_algs=known.key_types(host, peer),
                client_keys=keys,
                **_USER_INDEPENDENT,
                **way,
                **({"username": host.user} if host.user else {}),
            )
    except asyncssh.HostKeyNotVerifiable as error:
        raise _host_key_error(host, known, peer, client.refused_key, str(error)) from None
    except asyncssh.PermissionDenied:
        as_user = f" as {host.user}" if host.user else ""
        raise _denied(host, offered.locked, f"{place(host)} lets none of our keys log in{as_user}") from None
    except (OSError, asyncssh.Error) as error:
        raise _broken_off(host, error) from None
    _drop_ignored_packets(ssh)
    return Connection(host, ssh)


def _usable(host: HostSpec, layer: Silence, load: Callable[[HostSpec], Loaded]) -> Loaded:
    try:
        return load(host)
    except AccessError as error:
        raise UnreachableError(host.name, layer, error.message, hint=error.hint) from error


def _broken_off(host: HostSpec, error: Exception) -> UnreachableError:
    match error:
        case TimeoutError(errno=None):
            what = f"did not finish the login in {LOGIN_S:g} s"
        case asyncssh.KeyExchangeFailed():
            what = f"and fleetctl have no algorithm in common: {error}"
            return UnreachableError(host.name, Silence.LOGIN, f"{place(host)} {what}")
        case _:
            what = f"broke off during the login: {str(error) or 'it closed the connection'}"
    return TransientError(host.name, Silence.LOGIN, f"{place(host)} {what}", hint=by_hand(host))


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
    port = f"-p {host.port} " if host.port != 22 else ""
    scan = f"{_from_its_jump_host(host)}ssh-keyscan {port}{host.address} >> {file}"
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


def _from_its_jump_host(host: HostSpec) -> str:
    """What to type before a command that only the host's jump host can carry out, if it has one."""
    if not host.jumps:
        return ""
    *before, jump = host.jumps
    through = f"-J {','.join(map(str, before))} " if before else ""
    port = f"-p {jump.port} " if jump.port != 22 else ""
    return f"ssh {through}{port}{f'{jump.user}@' if jump.user else ''}{jump.address} "


def _denied(host: HostSpec, locked: Sequence[Path], what: str) -> UnreachableError:
    hints = [by_hand(host)]
    if locked:
        keys = ", ".join(map(str, locked))
        hints.append(f"encrypted, and so only offered by an agent that holds it: {keys} (ssh-add)")
    return UnreachableError(host.name, Silence.LOGIN, what, hint="\n".join(hints))
