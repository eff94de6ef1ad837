"""The first words on a host: brings the host program over a channel and links to its agent, as `host/entry.py` says.

Needs nothing on the host but python3 and a login shell, however noisy. Sends no order.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import shlex
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import asyncssh

from fleetctl.model.snapshot import Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.ssh.channel import ChannelEndError, LineChannel
from fleetctl.ssh.reach import TransientError
from fleetctl.ssh.wire import Complaint, GarbledError, Hello, Linked, parse

if TYPE_CHECKING:
    from fleetctl.model.host import HostSpec
    from fleetctl.ssh.connection import Connection

Mode = Literal["drive", "look"]

HELLO_S = 10.0  # a login shell may run a lot before our program begins
LINKED_S = 95.0  # the host allows itself 90, most of it for a slow disk and a slow systemd at the first contact
NOISE_BYTES_MAX = 1024 * 1024
HANDSHAKE_BYTES_MAX = 64 * 1024

_NEWER = "newer"  # the kind of error of a host that a newer fleetctl drives
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # a shell's exit status


@dataclass(frozen=True, slots=True)
class Bundle:
    """The host program as it is sent. The digest is that of its text, not of what zlib made of it."""

    version: str
    digest: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Linkage:
    """A channel at whose other end the host program listens for requests."""

    channel: LineChannel
    hello: Hello
    by: Literal["agent", "look"]


@cache
def bundle() -> Bundle:
    files = {
        file.name: file.read_text("utf-8")
        for file in resources.files("fleetctl.host").iterdir()
        if file.name.endswith(".py")
    }
    text = json.dumps(files, sort_keys=True, separators=(",", ":")).encode("ascii")
    return Bundle(metadata.version("fleetctl"), hashlib.sha256(text).hexdigest(), zlib.compress(text, 9))


@cache
def program(name: str) -> bytes:
    """The source of one file of the host program."""
    return (resources.files("fleetctl.host") / name).read_bytes()


def loader(python: str, source: bytes, marker: str) -> str:
    """The one command we ever run on a host, quoted for any shell: it prints the marker and becomes `source`."""
    code = (
        f'import os;os.write(1,b"{marker}\\n");'
        'r=lambda n:(lambda b:b+r(n-len(b)))(os.read(0,n)or os._exit(1))if n else b"";'
        f'exec(compile(r({len(source)}),"entry","exec"),{{"__name__":"__fleetctl_entry__"}})'
    )
    return f"exec {shlex.join([python, '-I', '-S', '-E', '-c', code])}"


async def open_program(connection: Connection, source: bytes, request: dict[str, Any]) -> LineChannel:
    """Run `source` on the host and hand it `request`; what its login shell printed before is thrown away.

    Raises UnreachableError with Silence.AGENT.
    """
    host = connection.host
    marker = f"fleetctl-{secrets.token_hex(16)}"
    try:
        async with asyncio.timeout(HELLO_S):
            process = await connection.start(loader(host.python, source, marker))
    except (OSError, asyncssh.Error) as error:  # TimeoutError is an OSError
        reason = str(error) or f"no answer in {HELLO_S:g} s"
        raise TransientError(host.name, Silence.AGENT, f"no command can be run there: {reason}") from None
    channel = LineChannel(process)
    try:
        async with asyncio.timeout(HELLO_S):
            channel.write(source + json.dumps(request).encode() + b"\n")
            await channel.skip_to(marker.encode() + b"\n", NOISE_BYTES_MAX)
    except TimeoutError:
        await channel.close()
        raise TransientError(
            host.name,
            Silence.AGENT,
            f"logged in, but its login shell did not start {host.python} in {HELLO_S:g} s",
            hint="does its disk hang, or does a login file wait for input?",
        ) from None
    except ChannelEndError as error:
        await _explain_early_end(host, channel, str(error))
    except BaseException:
        await channel.close()
        raise
    return channel


async def link(connection: Connection, *, mode: Mode, fleet: str) -> Linkage:
    """Steps 1 to 5 of the handshake. Raises UnreachableError with Silence.AGENT or, in `drive` alone, Silence.NEWER."""
    host, ours = connection.host, bundle()
    request = {
        "mode": mode,
        "root": host.root,
        "fleet": fleet,
        "program": {"version": ours.version, "digest": ours.digest, "bytes": len(ours.data)},
    }
    channel = await open_program(connection, program("entry.py"), request)
    try:
        return await _shake_hands(host, channel, ours)
    except TimeoutError:
        await channel.close()
        raise TransientError(
            host.name, Silence.AGENT, "logged in, but its host program gives no answer", hint="does its disk hang?"
        ) from None
    except (ChannelEndError, GarbledError) as error:
        status, words = await channel.last_words()
        await channel.close()
        raise TransientError(
            host.name,
            Silence.AGENT,
            f"logged in, but its host program broke off: {error}{_ended(status, words)}",
        ) from None
    except BaseException:
        await channel.close()
        raise


async def _shake_hands(host: HostSpec, channel: LineChannel, ours: Bundle) -> Linkage:
    async with asyncio.timeout(HELLO_S):
        hello = parse(Hello, await _object(channel))
    if hello.error is not None:
        raise _complained(host, hello.error)
    async with asyncio.timeout(LINKED_S):
        if hello.send:
            channel.write(ours.data)
            await channel.drain()
        linked = parse(Linked, await _object(channel))
    if not linked.linked:
        raise _complained(host, linked.error or Complaint(kind="start", message="the host program did not start"))
    return Linkage(channel, hello, linked.by)


async def _object(channel: LineChannel) -> Any:
    line = await channel.read_line(HANDSHAKE_BYTES_MAX)
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise GarbledError("what it says is not JSON") from None


def _complained(host: HostSpec, complaint: Complaint) -> UnreachableError:
    silence = Silence.NEWER if complaint.kind == _NEWER else Silence.AGENT
    return UnreachableError(host.name, silence, complaint.message, hint=complaint.hint)


async def _explain_early_end(host: HostSpec, channel: LineChannel, reason: str) -> NoReturn:
    status, words = await channel.last_words()
    await channel.close()
    if status in (_NOT_FOUND, _NOT_EXECUTABLE):
        raise UnreachableError(
            host.name,
            Silence.AGENT,
            f"{host.python} can't be run there{_ended(status, words)}",
            hint="install python3 (3.6 or newer) on the host, or name another in fleet_python",
        ) from None
    if status is not None:
        raise UnreachableError(
            host.name,
            Silence.AGENT,
            f"its login shell ended before our program began{_ended(status, words)}",
            hint="may that user run commands?",
        ) from None
    raise TransientError(host.name, Silence.AGENT, f"the connection broke before our program began: {reason}") from None


def _ended(status: int | None, words: str) -> str:
    told = ", ".join(part for part in (f"exit status {status}" if status is not None else "", words) if part)
    return f" ({told})" if told else ""
