"""Brings an artifact back from a host: over SFTP, or as a stream where SFTP does not start.

The host is not trusted: no path leaves the folder, links are made last, and no more is taken than was announced and
than there is room for. Whether it is the right content is not judged here.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

from fleetctl.errors import FleetctlError, HostError
from fleetctl.ssh.bootstrap import open_program, program
from fleetctl.ssh.transfer import CHUNK_BYTES, FILES_AT_ONCE, STALL_S, NoSftpError, carried, mib, sftp_on
from fleetctl.ssh.wire import PATH_BYTES_MAX, GarbledError, Offered, OfferedEntry, parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from fleetctl.ssh.access import Access
    from fleetctl.ssh.channel import LineChannel
    from fleetctl.ssh.connection import Connection

ENTRIES_MAX = 1_000_000  # of one artifact, folders counted: a listing of some hundred MiB
NAME_BYTES_MAX = 255  # Linux's NAME_MAX
OFFER_BYTES_MAX = 16 * PATH_BYTES_MAX  # two paths in JSON's escapes
ROOM_BYTES_KEPT = 64 * 2**20  # the controller's disk is the store's, too


@dataclass(frozen=True, slots=True)
class Item:
    """A file or symbolic link that the host says it has. `path` has forward slashes, as bytes of its name."""

    path: bytes
    size: int
    executable: bool
    target: bytes | None = None  # of a link

    @property
    def folders(self) -> list[bytes]:
        """Parents before their children."""
        parts = self.path.split(b"/")[:-1]
        return [b"/".join(parts[: depth + 1]) for depth in range(len(parts))]


class Intake:
    """The folder that is filled: what is written there, and what is not."""

    def __init__(self, host: str, folder: Path, limit: asyncio.Timeout) -> None:
        self.host, self._folder, self._limit = host, folder, limit

    def alive(self) -> None:
        """Something came."""
        self._limit.reschedule(asyncio.get_running_loop().time() + STALL_S)

    def prepare(self, items: Sequence[Item]) -> None:
        """Make the folders for what was announced. Raises HostError where that is no artifact or has no room here."""
        folders = {folder for item in items for folder in item.folders}
        paths = {item.path for item in items}
        if len(paths) < len(items) or paths & folders:
            raise HostError(self.host, "offers an artifact in which a name is there twice")
        size = sum(item.size for item in items)
        with self._written():
            self._folder.mkdir(0o700)
            free = shutil.disk_usage(self._folder).free
            if size + ROOM_BYTES_KEPT > free:
                raise FleetctlError(
                    f"no room for {mib(size)} at {self._folder}: {mib(free)} are free",
                    hint="make room there",
                )
            for folder in sorted(folders):
                self._place(folder).mkdir(0o700)

    @contextmanager
    def file(self, item: Item) -> Iterator[Callable[[int, bytes], None]]:
        """A new file, to be written at offsets below its announced size."""
        mode = 0o755 if item.executable else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._written():
            descriptor = os.open(self._place(item.path), flags, mode)
        taken = 0

        def write(offset: int, data: bytes) -> None:
            nonlocal taken
            taken += len(data)
            if offset + len(data) > item.size or taken > item.size:
                raise HostError(self.host, f"sent more of {item.path!r} than it announced")
            with self._written():
                while data:
                    count = os.pwrite(descriptor, data, offset)
                    data, offset = data[count:], offset + count
            self.alive()

        try:
            with self._written():
                os.fchmod(descriptor, mode)
            yield write
            if taken < item.size:
                raise HostError(self.host, f"sent less of {item.path!r} than it announced")
        finally:
            os.close(descriptor)

    def link(self, items: Sequence[Item]) -> None:
        """The last thing to be done: then nothing is written through a link."""
        with self._written():
            for item in items:
                if item.target is not None:
                    self._place(item.path).symlink_to(os.fsdecode(item.target))

    def _place(self, path: bytes) -> Path:
        return self._folder / os.fsdecode(path)

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FleetctlError(
                f"{self._folder}: {error.strerror or error}",
                hint="make room or give yourself access there",
            ) from None


async def collect(connection: Connection, access: Access, *, folder: str, into: Path) -> None:
    """Bring the host's `folder` into the new folder `into`, which is then there in part if this fails.

    Files have mode 644, or 755 where their owner may execute them; symbolic links are kept, never followed. Raises
    HostError; FleetctlError where it can't be written here.
    """

    async def carry(connection: Connection, limit: asyncio.Timeout) -> None:
        intake = Intake(connection.host.name, into, limit)
        try:
            await _over_sftp(connection, os.fsencode(folder), intake)
        except NoSftpError:
            await _as_stream(connection, folder, intake)

    await carried(connection, access, "download", carry)


def _checked(host: str, path: bytes) -> bytes:
    """Raises HostError at a path that leads out of the folder, or that no Linux has."""
    parts = path.split(b"/")
    if len(path) > PATH_BYTES_MAX or any(
        part in (b"", b".", b"..") or b"\0" in part or len(part) > NAME_BYTES_MAX for part in parts
    ):
        raise HostError(host, f"offers a path that can't be in an artifact: {path[:NAME_BYTES_MAX]!r}")
    return path


# -- SFTP


async def _over_sftp(connection: Connection, folder: bytes, intake: Intake) -> None:
    async with sftp_on(connection) as sftp:
        try:
            top = await sftp.lstat(folder)
        except asyncssh.SFTPError as error:  # it may show us another tree (a chroot)
            raise NoSftpError from error
        if not stat.S_ISDIR(top.permissions or 0):
            raise HostError(intake.host, f"{os.fsdecode(folder)} is no folder")
        try:
            items = await _listed(sftp, folder, intake)
            intake.prepare(items)
            await _get_all(sftp, folder, items, intake)
            intake.link(items)
        except asyncssh.SFTPError as error:
            raise HostError(intake.host, f"refused the download: {error}") from error


async def _listed(sftp: asyncssh.SFTPClient, top: bytes, intake: Intake) -> list[Item]:
    """All files and links below `top`, as they are there: no link is followed."""
    items: list[Item] = []
    seen, prefixes = 0, [b""]
    while prefixes:
        prefix = prefixes.pop()
        async for path, mode, size in _children(sftp, top, prefix, intake):
            seen += 1
            if seen > ENTRIES_MAX:
                raise HostError(intake.host, f"offers an artifact of more than {ENTRIES_MAX} entries")
            if stat.S_ISDIR(mode):
                prefixes.append(path + b"/")
            elif stat.S_ISREG(mode):
                items.append(Item(path, size, bool(mode & 0o100)))
            elif stat.S_ISLNK(mode):
                target = await sftp.readlink(top + b"/" + path)
                items.append(Item(path, 0, executable=False, target=_target(intake.host, target)))
            else:
                raise HostError(intake.host, f"offers what is neither a file nor a folder nor a link: {path!r}")
    return items


async def _children(
    sftp: asyncssh.SFTPClient, top: bytes, prefix: bytes, intake: Intake
) -> AsyncIterator[tuple[bytes, int, int]]:
    """Path, mode and size of each."""
    async for row in sftp.scandir(top + b"/" + prefix if prefix else top):
        intake.alive()
        name = row.filename if isinstance(row.filename, bytes) else os.fsencode(row.filename)
        if name not in (b".", b".."):
            if b"/" in name:
                raise HostError(intake.host, f"offers a path that can't be in an artifact: {name[:NAME_BYTES_MAX]!r}")
            yield _checked(intake.host, prefix + name), row.attrs.permissions or 0, row.attrs.size or 0


def _target(host: str, target: bytes | str) -> bytes:
    raw = os.fsencode(target)
    if not raw or len(raw) > PATH_BYTES_MAX or b"\0" in raw:
        raise HostError(host, "offers a link whose target can't be one")
    return raw


async def _get_all(sftp: asyncssh.SFTPClient, folder: bytes, items: Sequence[Item], intake: Intake) -> None:
    turns = asyncio.Semaphore(FILES_AT_ONCE)

    async def get(item: Item) -> None:
        async with turns:
            await _get(sftp, folder + b"/" + item.path, item, intake)

    try:
        async with asyncio.TaskGroup() as group:
            for item in items:
                if item.target is None:
                    group.create_task(get(item))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


async def _get(sftp: asyncssh.SFTPClient, path: bytes, item: Item, intake: Intake) -> None:
    with intake.file(item) as write:
        async with sftp.open(path, "rb") as source:
            if item.size:
                async for offset, data in await source.read_parallel(item.size, 0):
                    write(offset, data)


# -- a stream


async def _as_stream(connection: Connection, folder: str, intake: Intake) -> None:
    channel = await open_program(connection, program("send.py"), {"folder": folder})
    try:
        items = await _offered(channel, intake)
        intake.prepare(items)
        for item in items:
            if item.target is None:
                await _take(channel, item, intake)
        intake.link(items)
    except (GarbledError, ValueError, RecursionError) as error:
        raise HostError(intake.host, f"what it offers for the download can't be understood: {error}") from None
    finally:
        await channel.close()


async def _offered(channel: LineChannel, intake: Intake) -> list[Item]:
    offered = parse(Offered, json.loads(await channel.read_line(OFFER_BYTES_MAX)))
    if offered.entries < 0:
        raise HostError(intake.host, f"refused the download: {offered.message}")
    if offered.entries > ENTRIES_MAX:
        raise HostError(intake.host, f"offers an artifact of more than {ENTRIES_MAX} entries")
    items = []
    for _ in range(offered.entries):
        said = parse(OfferedEntry, json.loads(await channel.read_line(OFFER_BYTES_MAX)))
        intake.alive()
        path = _checked(intake.host, said.path.encode("latin-1"))
        if said.target is None:
            items.append(Item(path, said.size, said.executable))
        else:
            target = _target(intake.host, said.target.encode("latin-1"))
            items.append(Item(path, 0, executable=False, target=target))
    return items


async def _take(channel: LineChannel, item: Item, intake: Intake) -> None:
    with intake.file(item) as write:
        offset = 0
        while offset < item.size:
            data = await channel.read(min(CHUNK_BYTES, item.size - offset))
            write(offset, data)
            offset += len(data)
