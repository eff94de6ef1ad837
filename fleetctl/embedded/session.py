"""One exec request on an embedded host: a real process, its three descriptors joined to the channel as sshd does it.

It does not know what runs. Data flows in both directions with backpressure; when the channel is gone, the process is
told by end of file, then by SIGHUP. What it started and detached lives on.
"""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, SubprocessStreamProtocol
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

from fleetctl.embedded.tap import Piece, Tap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CHUNK_BYTES = 64 * 1024
LAST_WORDS_S = 1.0  # between the end of a channel and SIGHUP, and between that and SIGKILL

_GONE = (OSError, asyncssh.Error)  # the other side of a pipe or channel is not there any more


@dataclass(frozen=True, slots=True)
class Wire:
    """What stands between a host and its channels: called before a piece is passed on; False loses it."""

    outward: Callable[[Piece], Awaitable[bool]]
    inward: Callable[[Piece], Awaitable[bool]]


async def run_command(
    process: asyncssh.SSHServerProcess[bytes], *, argv: tuple[str, ...], home: Path, env: Mapping[str, str], wire: Wire
) -> None:
    """Run `argv` until it ends or its channel does; its status becomes the channel's."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit=CHUNK_BYTES, loop=loop),
        *argv,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=home,
        env=dict(env),
        start_new_session=True,
    )
    child = asyncio.subprocess.Process(transport, protocol, loop)
    pumps = asyncio.create_task(_pump_all(process, child, Tap(), wire))
    channel_end = asyncio.create_task(process.wait_closed())
    try:
        await asyncio.wait((pumps, channel_end), return_when=asyncio.FIRST_COMPLETED)
        if not channel_end.done():
            await _tell_status(process, await child.wait())
    finally:
        for task in (pumps, channel_end):
            task.cancel()
        await asyncio.gather(pumps, channel_end, return_exceptions=True)
        for descriptor in (0, 1, 2):
            if (pipe := transport.get_pipe_transport(descriptor)) is not None:
                pipe.close()
        await _see_off(child)
        transport.close()


async def _pump_all(
    process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process, tap: Tap, wire: Wire
) -> None:
    """Ends when the child has closed its output for good."""
    feeding = asyncio.create_task(_feed(process.stdin, child, tap, wire))
    try:
        await asyncio.gather(_drain_output(child, process, tap, wire), _drain_errors(child, process))
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(source: asyncssh.SSHReader[bytes], child: asyncio.subprocess.Process, tap: Tap, wire: Wire) -> None:
    assert child.stdin is not None
    with suppress(*_GONE):
        while data := await source.read(CHUNK_BYTES):
            await _pass_on(tap.outward(data), wire.outward, child.stdin)
        child.stdin.write(tap.rest_outward())
        await child.stdin.drain()
    child.stdin.close()
    with suppress(*_GONE):
        await child.stdin.wait_closed()


async def _drain_output(
    child: asyncio.subprocess.Process, process: asyncssh.SSHServerProcess[bytes], tap: Tap, wire: Wire
) -> None:
    assert child.stdout is not None
    with suppress(*_GONE):
        while data := await child.stdout.read(CHUNK_BYTES):
            await _pass_on(tap.inward(data), wire.inward, process.stdout)
        process.stdout.write(tap.rest_inward())
        await process.stdout.drain()


async def _drain_errors(child: asyncio.subprocess.Process, process: asyncssh.SSHServerProcess[bytes]) -> None:
    assert child.stderr is not None
    with suppress(*_GONE):
        while data := await child.stderr.read(CHUNK_BYTES):
            process.stderr.write(data)
            await process.stderr.drain()


async def _pass_on(
    pieces: Iterable[Piece],
    allowed: Callable[[Piece], Awaitable[bool]],
    target: asyncio.StreamWriter | asyncssh.SSHWriter[bytes],
) -> None:
    for piece in pieces:
        if await allowed(piece):
            target.write(piece.data)
            await target.drain()


async def _tell_status(process: asyncssh.SSHServerProcess[bytes], status: int) -> None:
    with suppress(*_GONE):
        if status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)
        await process.wait_closed()


async def _see_off(child: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGHUP, signal.SIGKILL):
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await child.wait()
                return
        with suppress(ProcessLookupError):
            child.send_signal(number)
    await child.wait()
