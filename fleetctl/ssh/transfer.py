"""Brings an artifact's files to a host, beside what runs there: over SFTP, or as a stream where SFTP does not start.

It only delivers. Verifying, making durable and renaming is the host's own doing, on the `adopt` order.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tarfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
from asyncssh.constants import OPEN_REQUEST_SESSION_FAILED

from fleetctl.errors import FleetctlError, HostError
from fleetctl.ssh.bootstrap import open_program, program
from fleetctl.ssh.channel import ChannelEndError
from fleetctl.ssh.connection import dial
from fleetctl.ssh.wire import GarbledError, Received, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from fleetctl.ssh.access import Access
    from fleetctl.ssh.channel import LineChannel
    from fleetctl.ssh.connection import Connection

SFTP_START_S = 5.0  # a noisy shell's words may read like the length of a packet that never comes
STALL_S = 30.0  # without a byte moved: then the transfer has failed
CHUNK_BYTES = 256 * 1024
FILES_AT_ONCE = 8  # of one transfer: small files cost round trips
ANSWER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or symbolic link below an artifact's folder. `path` has forward slashes, as bytes of its name."""

    path: bytes
    source: Path
    size: int
    executable: bool
    target: bytes | None = None  # of a link

    @property
    def mode(self) -> int:
        return 0o755 if self.executable else 0o644


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent: all of a folder, or one file under its own name."""

    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    @property
    def folders(self) -> list[bytes]:
        """Parents before their children."""
        found: set[bytes] = set()
        for entry in self.entries:
            parts = entry.path.split(b"/")[:-1]
            found.update(b"/".join(parts[: depth + 1]) for depth in range(len(parts)))
        return sorted(found)


class Meter:
    """Counts bytes, tells whoever watches, and notices when they stop to flow."""

    def __init__(self, total: int, progress: Callable[[int, int], None], limit: asyncio.Timeout) -> None:
        self._done, self._total, self._progress, self._limit = 0, total, progress, limit
        progress(0, total)

    def add(self, count: int) -> None:
        self._done += count
        self._limit.reschedule(asyncio.get_running_loop().time() + STALL_S)
        if count:
            self._progress(self._done, self._total)


class NoSftpError(Exception):
    """SFTP does not start here."""


def pack(source: Path) -> Parcel:
    """Raises FleetctlError at what is neither file, folder nor link."""
    if stat.S_ISDIR(source.stat().st_mode):
        return Parcel(tuple(sorted(_entries(source, b""), key=lambda entry: entry.path)))
    return Parcel((_entry(source, os.fsencode(source.name)),))


async def deliver(
    connection: Connection, access: Access, *, folder: str, source: Path, progress: Callable[[int, int], None]
) -> None:
    """Bring `source` to the new `folder` on the host. Raises HostError; the folder may then be there in part."""
    parcel = pack(source)

    async def carry(connection: Connection, limit: asyncio.Timeout) -> None:
        await _deliver_on(connection, folder.encode(), parcel, Meter(parcel.size, progress, limit))

    await carried(connection, access, "upload", carry)


async def carried(
    connection: Connection, access: Access, what: str, carry: Callable[[Connection, asyncio.Timeout], Awaitable[None]]
) -> None:
    """Do `carry`, which moves the limit on whenever bytes have moved. Raises HostError, which names it by `what`."""
    host = connection.host.name
    try:
        async with asyncio.timeout(STALL_S) as limit:
            try:
                await carry(connection, limit)
            except asyncssh.ChannelOpenError:  # no further channel on this connection (MaxSessions): on one of its own
                second = await dial(connection.host, access)
                try:
                    await carry(second, limit)
                finally:
                    await second.close()
    except TimeoutError:
        raise HostError(host, f"the {what} stood still for {STALL_S:g} s") from None
    except asyncssh.ChannelOpenError as error:
        raise HostError(host, f"opens no channel for the {what}: {error.reason}") from None
    except (OSError, asyncssh.Error, ChannelEndError) as error:
        raise HostError(host, f"the {what} broke off: {str(error) or 'the host closed it'}") from None


async def _deliver_on(connection: Connection, folder: bytes, parcel: Parcel, meter: Meter) -> None:
    try:
        await _over_sftp(connection, folder, parcel, meter)
    except NoSftpError:
        await _as_stream(connection, folder, parcel, meter)


# -- SFTP


async def _over_sftp(connection: Connection, folder: bytes, parcel: Parcel, meter: Meter) -> None:
    async with sftp_on(connection) as sftp:
        try:
            await sftp.mkdir(folder, asyncssh.SFTPAttrs(permissions=0o700))
        except asyncssh.SFTPError as error:  # it may show us another tree (a chroot) or be read-only
            raise NoSftpError from error
        await _put_all(connection.host.name, sftp, folder, parcel, meter)


@asynccontextmanager
async def sftp_on(connection: Connection) -> AsyncIterator[asyncssh.SFTPClient]:
    """Raises NoSftpError, or ChannelOpenError where the connection takes no further channel."""
    sftp = await _start_sftp(connection)
    try:
        yield sftp
    finally:
        sftp.exit()
        with suppress(TimeoutError):
            async with asyncio.timeout(SFTP_START_S):
                await sftp.wait_closed()


async def _start_sftp(connection: Connection) -> asyncssh.SFTPClient:
    try:
        async with asyncio.timeout(SFTP_START_S):
            return await connection.ssh.start_sftp_client()
    except (asyncssh.SFTPError, TimeoutError) as error:
        raise NoSftpError from error
    except asyncssh.ChannelOpenError as error:
        if error.code == OPEN_REQUEST_SESSION_FAILED:
            raise NoSftpError from error
        raise


async def _put_all(host: str, sftp: asyncssh.SFTPClient, folder: bytes, parcel: Parcel, meter: Meter) -> None:
    turns = asyncio.Semaphore(FILES_AT_ONCE)

    async def put(entry: Entry) -> None:
        async with turns:
            await _put(sftp, folder + b"/" + entry.path, entry, meter)

    try:
        for inner in parcel.folders:
            await sftp.mkdir(folder + b"/" + inner, asyncssh.SFTPAttrs(permissions=0o755))
        async with asyncio.TaskGroup() as group:
            for entry in parcel.entries:
                group.create_task(put(entry))
    except (asyncssh.SFTPError, OSError) as error:
        failure: Exception = error
    except ExceptionGroup as several:
        failure = several.exceptions[0]
        if not isinstance(failure, (asyncssh.SFTPError, OSError)):
            raise
    else:
        return
    raise HostError(host, await _why(sftp, folder, parcel, failure)) from failure


async def _put(sftp: asyncssh.SFTPClient, path: bytes, entry: Entry, meter: Meter) -> None:
    if entry.target is not None:
        await sftp.symlink(entry.target, path)
        return
    seen = 0

    def count(_source: bytes, _target: bytes, copied: int, _size: int) -> None:
        nonlocal seen
        meter.add(copied - seen)
        seen = copied

    await sftp.put(os.fsencode(entry.source), path, progress_handler=count)
    await sftp.chmod(path, entry.mode)
    meter.add(entry.size - seen)


async def _why(sftp: asyncssh.SFTPClient, folder: bytes, parcel: Parcel, failure: Exception) -> str:
    """SFTP has no word of its own for a full disk: look."""
    if isinstance(failure, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)):
        return f"the upload broke off: {failure}"
    with suppress(asyncssh.SFTPError, OSError):
        there = await sftp.statvfs(folder)
        if there.bavail is not None and there.frsize is not None and there.bavail * there.frsize < CHUNK_BYTES:
            return f"refused the upload of {mib(parcel.size)}: no space left at {os.fsdecode(folder)}"
    return f"refused the upload: {failure}"


# -- a stream


async def _as_stream(connection: Connection, folder: bytes, parcel: Parcel, meter: Meter) -> None:
    request = {"folder": os.fsdecode(folder), "bytes": parcel.size, "entries": len(parcel.entries)}
    channel = await open_program(connection, program("receive.py"), request)
    try:
        with suppress(ChannelEndError):  # where it stopped to listen, it has said why
            await _send_archive(channel, parcel, meter)
        answer = parse(Received, json.loads(await channel.read_line(ANSWER_BYTES_MAX)))
    except (GarbledError, ValueError) as error:
        raise HostError(connection.host.name, f"its answer to the upload can't be understood: {error}") from None
    finally:
        await channel.close()
    if answer.received < 0:
        what = f"no space left for {mib(parcel.size)}" if answer.kind == "no_space" else answer.message
        raise HostError(connection.host.name, f"refused the upload: {what}")


async def _send_archive(channel: LineChannel, parcel: Parcel, meter: Meter) -> None:
    for entry in parcel.entries:
        for part, content_bytes in _tar_of(entry):
            channel.write(part)
            await channel.drain()
            meter.add(content_bytes)
    channel.write(b"\0" * 1024)  # the end of an archive
    await channel.drain()


def _tar_of(entry: Entry) -> Iterator[tuple[bytes, int]]:
    """Parts of an archive, each with how much of the file's content is in it."""
    header = tarfile.TarInfo(os.fsdecode(entry.path))
    header.mode = entry.mode
    if entry.target is not None:
        header.type, header.linkname = tarfile.SYMTYPE, os.fsdecode(entry.target)
        yield header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), 0
        return
    header.size = entry.size
    yield header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), 0
    left = entry.size
    with entry.source.open("rb") as file:
        while left:
            part = file.read(min(CHUNK_BYTES, left))
            if not part:
                raise OSError(f"{entry.source} became shorter while it was sent")
            left -= len(part)
            yield part, len(part)
    yield b"\0" * (-entry.size % 512), 0


# -- the source


def _entries(folder: Path, prefix: bytes) -> Iterator[Entry]:
    for child in sorted(folder.iterdir()):
        path = prefix + os.fsencode(child.name)
        if stat.S_ISDIR(child.lstat().st_mode):
            yield from _entries(child, path + b"/")
        else:
            yield _entry(child, path)


def _entry(source: Path, path: bytes) -> Entry:
    state = source.lstat()
    if stat.S_ISLNK(state.st_mode):
        return Entry(path, source, 0, executable=False, target=os.fsencode(source.readlink()))
    if not stat.S_ISREG(state.st_mode):
        raise FleetctlError(f"{source} is neither a file nor a folder nor a link: it can't be part of an artifact")
    return Entry(path, source, state.st_size, executable=bool(state.st_mode & 0o100))


def mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size} bytes"
