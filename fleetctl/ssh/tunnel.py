"""As far as a host's SSH banner, through the jump host before it: the same limits and layers as without one.

What the jump host says of the host is only as good as the jump host: whoever judges makes sure that it lives.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.constants import OPEN_CONNECT_FAILED

from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh import reach
from fleetctl.ssh.reach import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetctl.model.host import HostSpec
    from fleetctl.ssh.connection import Connection

# Words for why a jump host could not connect that blame itself: its resolver or its own limits.
_OF_THE_JUMP_HOST = ("name", "resol", "too many open", "buffer space", "cannot allocate", "not permitted", "denied")


class Tunnel(asyncssh.SSHTCPSession[bytes]):
    """A channel to a host's sshd. It keeps what comes until asyncssh takes it over as the tunnel of a connection."""

    def __init__(self) -> None:
        self.channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self.ended = False
        self.seen = b""
        self._news = asyncio.Event()
        self._inner: asyncssh.SSHTCPSession[bytes] | None = None

    async def until_banner(self) -> None:
        """Raises ConnectionResetError where the channel ends before."""
        while not reach.has_banner(self.seen) and len(self.seen) < reach.BANNER_BYTES_MAX:
            if self.ended:
                raise ConnectionResetError
            self._news.clear()
            await self._news.wait()

    async def create_connection(
        self, session_factory: Callable[[], asyncssh.SSHTCPSession[bytes]], _host: str, _port: int
    ) -> tuple[asyncssh.SSHTCPChannel[bytes], asyncssh.SSHTCPSession[bytes]]:
        """What asyncssh calls to connect through a tunnel."""
        assert self.channel is not None
        inner = session_factory()
        inner.connection_made(self.channel)
        inner.session_started()
        asyncio.get_running_loop().call_soon(self._hand_over, inner)
        return self.channel, inner

    def _hand_over(self, inner: asyncssh.SSHTCPSession[bytes]) -> None:
        seen, self.seen, self._inner = self.seen, b"", inner
        inner.data_received(seen, None)
        if self.ended:
            inner.connection_lost(None)

    # What asyncssh tells a channel's session

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._inner is not None:
            self._inner.data_received(data, datatype)
        else:
            self.seen += data
            self._news.set()

    def eof_received(self) -> bool:
        self.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended:
            return
        self.ended = True
        self._news.set()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def close(self) -> None:
        if self.channel is not None:
            self.channel.abort()


async def reach_through(jump: Connection, host: HostSpec) -> Tunnel:
    """A tunnel in which the host's sshd has said who it is; its words are still to be read. Raises UnreachableError."""
    tunnel = await _connect(jump, host)
    spoke = False
    try:
        async with asyncio.timeout(reach.BANNER_S):
            await tunnel.until_banner()
        spoke = reach.has_banner(tunnel.seen)
    except TimeoutError:
        raise reach.hung(host, tunnel.seen) from None
    except ConnectionResetError:
        raise reach.closed_early(host) from None
    finally:
        if not spoke:
            tunnel.close()
    if not spoke:
        raise reach.no_ssh(host, tunnel.seen)
    return tunnel


async def _connect(jump: Connection, host: HostSpec) -> Tunnel:
    tunnel = Tunnel()
    opening = asyncio.create_task(jump.ssh.create_connection(lambda: tunnel, host.address, host.port))
    try:
        async with asyncio.timeout(reach.CONNECT_S):
            await asyncio.shield(opening)
    except TimeoutError:
        raise reach.no_answer(host) from None
    except asyncssh.ChannelOpenError as error:
        raise _failed(host, error) from None
    except (OSError, asyncssh.Error) as error:  # of the connection to the jump host
        raise TransientError(
            host.name, Silence.JUMP, f"jump host {host.jumps[-1]}: its connection broke: {error}"
        ) from None
    finally:
        if not opening.done() or opening.cancelled():
            opening.add_done_callback(_abandon)
    return tunnel


def _abandon(opening: asyncio.Task[Any]) -> None:
    """A channel that opens when nobody waits for it any more is a connection that the jump host would keep."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].abort()


def _failed(host: HostSpec, error: asyncssh.ChannelOpenError) -> UnreachableError:
    """The layer, as far as the jump host tells: sshd gives the words of its own system call."""
    said = error.reason.strip() or "no reason given"
    words, jump = said.lower(), f"jump host {host.jumps[-1]}"
    if error.code != OPEN_CONNECT_FAILED:
        return UnreachableError(
            host.name,
            Silence.JUMP,
            f"{jump}: it opens no connection to {host.address} port {host.port}: {said}",
            hint="does its sshd allow it (AllowTcpForwarding, PermitOpen)?",
        )
    if "refused" in words or "reset" in words:
        return reach.refused(host)
    if any(sign in words for sign in _OF_THE_JUMP_HOST):
        return TransientError(
            host.name, Silence.JUMP, f"{jump}: it can't connect to {host.address} port {host.port}: {said}"
        )
    return reach.not_reached(host, said)
