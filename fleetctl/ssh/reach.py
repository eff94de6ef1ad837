"""As far as a host's SSH banner: TCP, then sshd's first words, each with its own limit. Who logs in is not known here.

A failure below the login is what may mean that a host is dead, so each is told apart by its layer.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetctl.model.host import HostSpec

CONNECT_S = 2.0
BANNER_S = 3.0  # a paused machine accepts TCP at once and never says a word

_BANNER = b"SSH-2.0"
BANNER_BYTES_MAX = 4096  # lines before the banner are allowed, within reason
_ADDRESSES_MAX = 4  # of one name, tried side by side
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM)


class TransientError(UnreachableError):
    """A failure that another try may not meet: nobody there, refused, cut off or timed out."""


async def reach(host: HostSpec) -> socket.socket:
    """A connected socket on which sshd has said who it is; its words are still to be read. Raises UnreachableError."""
    sock = await _connect(host)
    try:
        await _await_banner(host, sock)
    except BaseException:
        sock.close()
        raise
    return sock


def place(host: HostSpec) -> str:
    behind = f" behind {host.jumps[-1]}" if host.jumps else ""
    return f"{host.address} port {host.port}{behind}"


def by_hand(host: HostSpec) -> str:
    """What to type to see for oneself."""
    through = f"-J {','.join(map(str, host.jumps))} " if host.jumps else ""
    return f"try it by hand: ssh -v {through}-p {host.port} {f'{host.user}@' if host.user else ''}{host.address}"


# -- the ways to fail, whether a jump host is passed or not


def no_answer(host: HostSpec) -> UnreachableError:
    what = f"no answer from {place(host)} in {CONNECT_S:g} s"
    return TransientError(host.name, Silence.SILENT, what, hint=by_hand(host))


def not_reached(host: HostSpec, why: str) -> UnreachableError:
    what = f"{place(host)} can't be reached: {why.lower()}"
    return TransientError(host.name, Silence.SILENT, what, hint=by_hand(host))


def refused(host: HostSpec) -> UnreachableError:
    what = f"{place(host)} refuses connections"
    return TransientError(host.name, Silence.REFUSED, what, hint="is sshd running there?")


def closed_early(host: HostSpec) -> UnreachableError:
    return TransientError(
        host.name,
        Silence.REFUSED,
        f"{place(host)} closes connections before its SSH banner",
        hint="is sshd running there, and does it let this machine in (MaxStartups, PerSourcePenalties)?",
    )


def hung(host: HostSpec, seen: bytes) -> UnreachableError:
    said = f", only {_printable(seen)}" if seen else ""
    what = f"{place(host)} accepts connections, but says no SSH banner in {BANNER_S:g} s{said}"
    return TransientError(host.name, Silence.HUNG, what, hint=by_hand(host))


def no_ssh(host: HostSpec, seen: bytes) -> UnreachableError:
    return UnreachableError(host.name, Silence.LOGIN, f"{place(host)} does not speak SSH 2: it says {_printable(seen)}")


# -- TCP


async def _connect(host: HostSpec) -> socket.socket:
    try:
        async with asyncio.timeout(CONNECT_S):
            addresses = await _resolve(host)
            return await _first_connected(addresses)
    except TimeoutError:
        raise no_answer(host) from None
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
            raise refused(host) from None
        raise not_reached(host, os.strerror(error.errno) if error.errno else str(error)) from None


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
            while not has_banner(seen):
                before, seen = seen, await _peek(sock)
                if not seen:
                    raise ConnectionResetError
                if len(seen) >= BANNER_BYTES_MAX:
                    break
                if seen == before:
                    await asyncio.sleep(0.02)  # part of it is there: a peek does not wait for more
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:
            raise hung(host, seen) from None
        raise closed_early(host) from None
    if not has_banner(seen):
        raise no_ssh(host, seen)


def has_banner(seen: bytes) -> bool:
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
    return sock.recv(BANNER_BYTES_MAX, socket.MSG_PEEK)


def _printable(data: bytes) -> str:
    return repr(data[:80].decode("utf-8", "replace"))
