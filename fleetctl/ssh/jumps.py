"""The jump hosts of one run: one connection for each way, shared by all hosts behind it.

Fifty hosts behind a bastion are one login there, so that its MaxStartups turns none of them away. A connection that
ended, or that does not answer, is not used again: the next try opens another.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from fleetctl.model.host import HostSpec, Jump
from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh.reach import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fleetctl.ssh.connection import Connection

ALIVE_S = 2.0  # a living jump host answers in one round trip


@dataclass(frozen=True, slots=True)
class _Way:
    """What makes two hosts share a connection: the hosts passed through, and what is offered to and asked of them."""

    jumps: tuple[Jump, ...]
    private_key: Path | None
    known_hosts: Path | None


class Jumps:
    """The connections to the jump hosts of one run. Close it."""

    def __init__(self) -> None:
        self._opened: dict[_Way, asyncio.Task[Connection]] = {}

    async def connection(
        self, host: HostSpec, dial: Callable[[HostSpec], Coroutine[None, None, Connection]]
    ) -> Connection:
        """A living connection to the last jump host before `host`: that of another host, else a new one by `dial`.

        Raises UnreachableError with Silence.JUMP.
        """
        way = _way(host)
        opening = self._opened.get(way)
        if opening is None or _came_to_nothing(opening):
            opening = self._opened[way] = asyncio.create_task(dial(_last_jump(host)))
            opening.add_done_callback(_heard)
        try:
            return await asyncio.shield(opening)
        except UnreachableError as error:
            raise passage_error(host, error) from None

    async def close(self) -> None:
        """End them all, those behind others first."""
        opened, self._opened = self._opened, {}
        for way in sorted(opened, key=lambda way: -len(way.jumps)):
            opening = opened[way]
            opening.cancel()
            ended = (await asyncio.gather(opening, return_exceptions=True))[0]
            if not isinstance(ended, BaseException):
                await ended.close()


async def answers(jump: Connection) -> bool:
    """Whether the jump host still answers over this connection; one over which it does not is never used again."""
    if await _answers(jump.ssh):
        return True
    jump.ssh.abort()
    return False


def passage_error(host: HostSpec, error: UnreachableError) -> UnreachableError:
    """That `host` can't be reached because the way to it is broken, as `error` says of a jump host."""
    reason = error.reason if error.silence is Silence.JUMP else f"jump host {host.jumps[-1]}: {error.reason}"
    kind = TransientError if isinstance(error, TransientError) else UnreachableError
    return kind(host.name, Silence.JUMP, reason, hint=error.hint)


def _way(host: HostSpec) -> _Way:
    return _Way(host.jumps, host.private_key, host.known_hosts)


def _last_jump(host: HostSpec) -> HostSpec:
    """The jump host as a host of its own, behind those before it; it gets the key of the host behind it."""
    *before, jump = host.jumps
    return HostSpec(
        name=str(jump),
        address=jump.address,
        port=jump.port,
        user=jump.user,
        private_key=host.private_key,
        known_hosts=host.known_hosts,
        jumps=tuple(before),
    )


def _came_to_nothing(opening: asyncio.Task[Connection]) -> bool:
    if not opening.done():
        return False
    return opening.cancelled() or opening.exception() is not None or opening.result().ssh.is_closed()


def _heard(opening: asyncio.Task[Connection]) -> None:
    """Its failure is told to whoever waits; where nobody does any more, asyncio need not complain."""
    if not opening.cancelled():
        opening.exception()


async def _answers(ssh: asyncssh.SSHClientConnection) -> bool:
    await asyncio.sleep(0)  # one that just broke calls itself closed at the loop's next turn
    if ssh.is_closed():
        return False
    try:
        async with asyncio.timeout(ALIVE_S):
            # asyncssh asks this by itself, but has no word for asking it now
            await ssh._make_global_request(b"keepalive@openssh.com")  # noqa: SLF001
    except (OSError, asyncssh.Error):  # TimeoutError is an OSError
        return False
    return not ssh.is_closed()
