"""What jobs run, named by its content, and the copies kept of it: heal needs no build folder.

Blocks while it reads and writes: call it from a thread. Sends nothing anywhere.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleetctl.errors import StateError, UsageError
from fleetctl.model.job import Digest
from fleetctl.state.folder import prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from io import BufferedReader

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1024 * 1024
_UNFINISHED = "unfinished-"


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file or symlink of an artifact."""

    name: str  # relative to the artifact, with `/`; bytes that are no text are escaped as Python does in paths
    place: Path
    executable: bool = False
    target: str | None = None  # of a symlink


def digest_of(path: Path) -> Digest:
    """The name of the artifact at `path`: the SHA-256 of its listing, a line an entry, sorted by the bytes of its name.

    `644 SHA256 NAME` or, where its owner may execute it, `755 SHA256 NAME` for a file, `link TARGET NAME` for a
    symlink. A file is a folder with one entry, its base name; empty folders, owners, times and other mode bits do not
    count. Raises UsageError where there is nothing, something unreadable, or something that is neither file, folder
    nor symlink.
    """
    listing = hashlib.sha256()
    for entry in _entries(path):
        listing.update(_line(entry))
    return Digest(listing.hexdigest())


class KeptArtifacts:
    """Copies of artifacts beside the store, each whole or absent, each under its digest.

    From its first use on, and as long as this object lives, no other one removes a copy.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is the state folder."""
        self._folder = folder / "artifacts"
        self._in_use = _Use(self._folder)

    def keep(self, path: Path) -> Digest:
        """Keeps a copy of the artifact at `path`; a sound one that is there is left alone.

        Raises UsageError where it can't be read or changes meanwhile, StateError where the copy can't be written.
        """
        digest = digest_of(path)
        with _explained(self._folder, f"keeping a copy of {path}"):
            prepare(self._folder)
            self._in_use.begin()
            kept = self._folder / digest
            if kept.is_dir():
                if self._is_sound(digest):
                    return digest
                kept.rename(self._aside())
            building = self._aside()
            try:
                _copy(path, building)
                if digest_of(building) != digest:
                    raise UsageError(
                        f"{path} changed while it was copied", hint="deploy again once whatever builds it is done"
                    )
                self._settle(building, kept)
            finally:
                _remove(building)
        return digest

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        """A place for a copy that comes from elsewhere: nothing is there yet, and nothing is left there in the end.

        Raises StateError where the copies' folder can't be written.
        """
        with _explained(self._folder, "making room for an artifact that is fetched back"):
            prepare(self._folder)
            self._in_use.begin()
        received = self._aside()
        try:
            yield received
        finally:
            with _explained(self._folder, "removing what was left of an artifact that was fetched back"):
                _remove(received)

    def take_back(self, digest: Digest, received: Path) -> bool:
        """Makes the folder, of `receiving`, the kept copy of `digest`; False, with nothing kept, where it is not that.

        Raises StateError where the copy can't be written.
        """
        with _explained(self._folder, f"keeping artifact {digest[:12]}, which was fetched back"):
            if not _is(digest, received):
                return False
            _seal(received)
            self._settle(received, self._folder / digest)
        return True

    def path(self, digest: Digest) -> Path:
        """The folder of the kept copy. Raises StateError, with what to do, where there is none."""
        kept = self._folder / digest
        if self._folder.is_dir():
            self._in_use.begin()
        if not _DIGEST.fullmatch(digest) or not kept.is_dir():
            raise StateError(
                f"no copy of artifact {digest[:12]} is kept in {self._folder}",
                hint="restore that folder from a backup, or deploy the job again from its build",
            )
        return kept

    def forget_unused(self, needed: Collection[Digest]) -> tuple[Digest, ...]:
        """Removes the copies that are not `needed`, and what a killed run left half done; says which copies.

        Does nothing while another run works with kept copies: it may have kept what no release names yet.
        """
        if not self._folder.is_dir():
            return ()
        forgotten = []
        with _explained(self._folder, "removing artifacts that are not needed"), self._in_use.alone() as alone:
            for kept in sorted(self._folder.iterdir()) if alone else ():
                if kept.name.startswith(_UNFINISHED):
                    _remove(kept)
                elif _DIGEST.fullmatch(kept.name) and kept.name not in needed:
                    aside = self._folder / f"{_UNFINISHED}{kept.name}"
                    kept.rename(aside)  # so that no half a copy ever has a digest's name
                    _remove(aside)
                    forgotten.append(Digest(kept.name))
        return tuple(forgotten)

    def _is_sound(self, digest: Digest) -> bool:
        return _is(digest, self._folder / digest)

    def _aside(self) -> Path:
        return self._folder / f"{_UNFINISHED}{secrets.token_hex(8)}"

    def _settle(self, building: Path, kept: Path) -> None:
        _finish(building)
        _rename(building, kept)
        _sync(self._folder)


def _is(digest: Digest, folder: Path) -> bool:
    try:
        return digest_of(folder) == digest
    except UsageError:
        return False


class _Use:
    """Says to other runs that this one works with the kept copies; ends with this object or its process."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / ".in-use"
        self._descriptor: int | None = None

    def begin(self) -> None:
        if self._descriptor is None:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            weakref.finalize(self, os.close, self._descriptor)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody else works with them; while that is so, nobody begins."""
        self.begin()
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        try:
            yield alone
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)


def _entries(path: Path) -> list[_Entry]:
    """Everything in the artifact that counts, sorted."""
    try:  # what the user names may be a symlink to the build; what lies in a folder stays what it is
        mode = path.stat().st_mode
        found = list(_walk(path)) if stat.S_ISDIR(mode) else [_entry(path.name, path, mode)]
    except OSError as error:
        raise _unreadable(error.filename or path, error) from None
    if not found:
        raise UsageError(f"{path} is an empty folder: there is nothing to run in it")
    return sorted(found, key=lambda entry: os.fsencode(entry.name))


def _walk(root: Path) -> Iterator[_Entry]:
    folders = [root]
    while folders:
        for place in folders.pop().iterdir():
            mode = place.lstat().st_mode
            if stat.S_ISDIR(mode):
                folders.append(place)
            else:
                yield _entry(place.relative_to(root).as_posix(), place, mode)


def _entry(name: str, place: Path, mode: int) -> _Entry:
    if "\n" in name:
        raise UsageError(f"{str(place)!r}: the name of a file in an artifact can't contain a line break")
    if stat.S_ISREG(mode):
        return _Entry(name, place, executable=bool(mode & stat.S_IXUSR))
    if stat.S_ISLNK(mode):
        target = os.readlink(place)  # noqa: PTH115 (a path would lose a leading ./)
        if " " in target or "\n" in target:  # two different listings could read the same
            raise UsageError(f"{str(place)!r}: the target of a symlink in an artifact can't contain spaces")
        return _Entry(name, place, target=target)
    raise UsageError(f"{place} is neither a file, a folder nor a symlink: it can't be part of an artifact")


def _line(entry: _Entry) -> bytes:
    name = os.fsencode(entry.name)
    if entry.target is not None:
        return b"link %s %s\n" % (os.fsencode(entry.target), name)
    try:
        with _opened(entry) as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(entry.place, error) from None
    return b"%d %s %s\n" % (755 if entry.executable else 644, content.encode(), name)


def _opened(entry: _Entry) -> BufferedReader:
    try:
        return entry.place.open("rb")
    except OSError as error:
        raise _unreadable(entry.place, error) from None


def _copy(source: Path, into: Path) -> None:
    """The files and symlinks of `source`, synced, with everyone's write bits off."""
    into.mkdir(mode=0o700)
    for entry in _entries(source):
        place = into / entry.name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if entry.target is not None:
            place.symlink_to(entry.target)
            continue
        with _opened(entry) as old, place.open("xb") as new:
            shutil.copyfileobj(old, new, _BLOCK_BYTES)
            new.flush()
            os.fchmod(new.fileno(), 0o555 if entry.executable else 0o444)
            os.fsync(new.fileno())


def _seal(received: Path) -> None:
    """Makes the files durable and takes their write bits."""
    for entry in _entries(received):
        if entry.target is None:
            with entry.place.open("rb") as file:
                os.fchmod(file.fileno(), 0o555 if entry.executable else 0o444)
                os.fsync(file.fileno())


def _rename(building: Path, kept: Path) -> None:
    """Another run may have kept the same meanwhile: then its copy stays."""
    try:
        building.rename(kept)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _finish(building: Path) -> None:
    """Makes the folders durable and takes their write bits."""
    for folder in _folders(building):
        _sync(folder)
        folder.chmod(0o555)


def _folders(copy: Path) -> list[Path]:
    """The copy's folders, the inner ones first."""
    return [Path(folder) for folder, _, _ in os.walk(copy, topdown=False)]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(copy: Path) -> None:
    """A copy that may be absent, half done, or without write bits."""
    if not copy.is_dir():
        return
    for folder in _folders(copy):
        folder.chmod(0o700)
    shutil.rmtree(copy)


@contextmanager
def _explained(folder: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"{folder}: {error.strerror or error}", context=doing, hint="make room or give yourself access there"
        ) from None


def _unreadable(place: Path | str, error: OSError) -> UsageError:
    return UsageError(f"{place} can't be read: {error.strerror or error}", hint="build it, or mend `artifact:`")
