"""What a log is made of on the disk: its files by number, the times of their bytes, the count of what is lost.

Bytes are spliced, so no line passes through us: when they came is kept as entries of a side file, `00000003.times`.
An entry that is missing or torn costs times, never bytes. The file that is written now is `current`, its number that
of its times.
"""

import os
import struct
from collections import namedtuple

CURRENT = "current"
TIMES = ".times"
DROPPED = "dropped"
DROPPED_FORM = "%20d %10d %20d %20d"  # a few digits, written in place, so that a full disk takes them

ENTRY = struct.Struct("<QQdQ")
Entry = namedtuple("Entry", "offset run at dropped")  # noqa: PYI024  (typing would cost each host memory)
"""From `offset` on, bytes are of this run and came at `at` (wall clock) or later; right before it so many were lost."""

Gap = namedtuple("Gap", "number offset dropped")  # noqa: PYI024  (as above)
"""So many bytes were thrown away, all in all, at this place of this file."""

NO_GAP = Gap(0, 0, 0)


class Times:
    """The entries of one file, oldest first. Bounded: see `Log.note_time`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.count = os.fstat(descriptor).st_size // ENTRY.size  # a torn last one is written over
        self.last = self.entry(self.count - 1) if self.count else None

    def entry(self, place: int) -> Entry:
        content = os.pread(self.descriptor, ENTRY.size, place * ENTRY.size)
        return Entry(*ENTRY.unpack(content.ljust(ENTRY.size, b"\0")))

    def entries(self, place: int, count: int):
        content = os.pread(self.descriptor, count * ENTRY.size, place * ENTRY.size)
        return [Entry(*found) for found in ENTRY.iter_unpack(content[: len(content) // ENTRY.size * ENTRY.size])]

    def first_place(self, holds) -> int:
        """The first entry of which `holds` is true, given that it stays true from there on; else how many there are."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if holds(self.entry(middle)):
                high = middle
            else:
                low = middle + 1
        return low

    def put(self, entry: Entry) -> None:
        """Add it, or put it in place of the last where it is of the same offset. OSError: it was not kept."""
        again = self.last is not None and self.last.offset == entry.offset
        place = self.count - 1 if again else self.count
        if os.pwrite(self.descriptor, ENTRY.pack(*entry), place * ENTRY.size) != ENTRY.size:
            raise OSError("half an entry was written")
        self.count, self.last = place + 1, entry

    def cut(self, size: int) -> None:
        """Forget what was said of bytes that the file does not have."""
        self.count = self.first_place(lambda entry: entry.offset > size)
        self.last = self.entry(self.count - 1) if self.count else None

    def close(self) -> None:
        os.close(self.descriptor)


def open_times(folder: str, number: int, flags: int = os.O_RDONLY):
    """Times of that file, or None where there are none."""
    try:
        return Times(os.open(times_path(folder, number), flags | os.O_CLOEXEC, 0o600))
    except OSError:
        return None


def path_of(folder: str, number: int) -> str:
    return os.path.join(folder, "%08d" % number)


def times_path(folder: str, number: int) -> str:
    return path_of(folder, number) + TIMES


def rotated(folder: str):
    """The numbers of the files that were cut off, oldest first."""
    return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def timed(folder: str):
    """The numbers of files, gone ones maybe, that there are times of, oldest first."""
    names = [name[: -len(TIMES)] for name in os.listdir(folder) if name.endswith(TIMES)]
    return sorted(int(name) for name in names if name.isdigit())


def current_number(folder: str) -> int:
    """The number that `current` will have when it is cut off."""
    return max([*timed(folder)[-1:], *(number + 1 for number in rotated(folder)[-1:]), 1])


def kept(folder: str):
    """[(number, path)] of a log's files, oldest first, `current` last."""
    files = [(number, path_of(folder, number)) for number in rotated(folder)]
    current = os.path.join(folder, CURRENT)
    if os.path.exists(current):
        files.append((current_number(folder), current))
    return files


def is_named(path: str, state: os.stat_result) -> bool:
    """Whether this file still has its name. Its count of links does not tell: on fuse-overlayfs it stays 1."""
    try:
        named = os.stat(path)
    except OSError:
        return False
    return (named.st_dev, named.st_ino) == (state.st_dev, state.st_ino)


def forget(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


# What was thrown away


def read_dropped(folder: str):
    """(bytes thrown away since the instance began, the newest Gap)."""
    try:
        with open(os.path.join(folder, DROPPED), "rb") as file:
            words = [int(word) for word in file.read(100).split()]
        return words[0], Gap(*words[1:4]) if len(words) == 4 else NO_GAP
    except (OSError, ValueError, IndexError):
        return 0, NO_GAP


def dropped_bytes(folder: str) -> int:
    return int(read_dropped(folder)[0])


def packed_dropped(total: int, gap: Gap) -> bytes:
    return (DROPPED_FORM % (total, *gap)).encode("ascii")
