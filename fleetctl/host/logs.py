"""A program's output: from its pipe to files, cut by size at line ends, and read back.

Bytes are moved by splice: they are in the pipe or in the file, never in this process, so its death loses none.
A full disk never fails or blocks the program: what can't be kept is thrown away and counted.
"""

import fcntl
import os
import struct
import termios

from . import linux, shim
from .loop import Loop

CHUNK_BYTES = 256 * 1024
TURN_CHUNKS = 8  # 2 MiB, then it is somebody else's turn
LINE_BYTES = 64 * 1024  # a longer line may be cut by a rotation
TAIL_BYTES_MAX = 2 * 1024 * 1024  # each byte may take six in JSON, and an answer is one line of at most 16 MiB
CURRENT = "current"
DROPPED = "dropped"  # how many bytes were thrown away: a few digits, written in place, so that a full disk takes them
DIGITS = 20


class Log:
    def __init__(self, loop: Loop, folder: str, size_bytes: int, keep: int) -> None:
        self.loop, self.folder = loop, folder
        self.size_bytes, self.keep = max(size_bytes, LINE_BYTES), keep
        self.pipe = self.file = self.counter = -1
        self.dropped_bytes = dropped_bytes(folder)

    def open(self) -> None:
        if self.pipe < 0:
            self.pipe = shim.open_pipe(os.path.join(self.folder, "pipe"), os.O_NONBLOCK)
            self.loop.watch(self.pipe, self.pump)
            self.open_counter()

    def close(self) -> None:
        if self.pipe >= 0:
            self.loop.unwatch(self.pipe)
            os.close(self.pipe)
            self.pipe = -1
        if self.counter >= 0:
            os.close(self.counter)
            self.counter = -1
        self.close_file()

    def drain(self) -> None:
        """Everything that is in the pipe now."""
        waiting = waiting_bytes(self.pipe) if self.pipe >= 0 else 0
        while waiting > 0:
            moved = self.move()
            if moved == 0:
                break
            waiting -= moved

    def pump(self, _events: int = 0) -> None:
        for _ in range(TURN_CHUNKS):
            if self.move() == 0:
                return

    def move(self) -> int:
        """One step: so many bytes left the pipe."""
        try:
            size = self.open_file()
            if size < self.size_bytes:
                return linux.splice_to_file(self.pipe, self.file, size, min(CHUNK_BYTES, self.size_bytes - size))
            most = self.size_bytes + LINE_BYTES - size
            if most > 0 and not self.at_line_end(size):
                return linux.splice_to_file(self.pipe, self.file, size, min(most, self.rest_of_line()))
            if waiting_bytes(self.pipe) == 0:
                return 0
            self.rotate()
            size = self.open_file()
            return linux.splice_to_file(self.pipe, self.file, size, min(CHUNK_BYTES, self.size_bytes))
        except BlockingIOError:
            return 0
        except OSError:
            return self.throw_away()

    def throw_away(self) -> int:
        try:
            null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            try:
                count = linux.splice_away(self.pipe, null, CHUNK_BYTES)
            finally:
                os.close(null)
        except BlockingIOError:
            return 0
        self.count(count)
        return count

    def open_counter(self) -> None:
        try:
            self.counter = os.open(os.path.join(self.folder, DROPPED), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.count(0)
        except OSError:
            pass  # no room for it: then it is counted for as long as this agent lives

    def count(self, dropped: int) -> None:
        self.dropped_bytes += dropped
        if self.counter >= 0:
            os.pwrite(self.counter, b"%*d" % (DIGITS, self.dropped_bytes), 0)

    def open_file(self) -> int:
        """The current file's size; opened, and made again where somebody removed it."""
        path = os.path.join(self.folder, CURRENT)
        if self.file >= 0:
            state = os.fstat(self.file)
            if is_named(path, state):
                return state.st_size
            self.close_file()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC  # no O_APPEND: splice refuses it
        self.file = os.open(path, flags, 0o600)
        return os.fstat(self.file).st_size

    def close_file(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def at_line_end(self, size: int) -> bool:
        return os.pread(self.file, 1, size - 1) == b"\n"

    def rest_of_line(self) -> int:
        """How many bytes of the pipe belong to the line that the file ends in. Looks without taking them."""
        read, write = os.pipe()
        try:
            count = linux.tee(self.pipe, write, LINE_BYTES)
            content = b""
            while len(content) < count:
                content += os.read(read, count - len(content))
        finally:
            os.close(read)
            os.close(write)
        return content.find(b"\n") + 1 or len(content)

    def rotate(self) -> None:
        numbers = rotated(self.folder)
        following = numbers[-1] + 1 if numbers else 1
        os.rename(os.path.join(self.folder, CURRENT), os.path.join(self.folder, "%08d" % following))
        self.close_file()
        kept = [*numbers, following]
        for number in kept[: max(0, len(kept) - self.keep)]:
            os.unlink(os.path.join(self.folder, "%08d" % number))


def is_named(path: str, state: os.stat_result) -> bool:
    """Whether this file still has its name. Its count of links does not tell: on fuse-overlayfs it stays 1."""
    try:
        named = os.stat(path)
    except OSError:
        return False
    return (named.st_dev, named.st_ino) == (state.st_dev, state.st_ino)


def dropped_bytes(folder: str) -> int:
    try:
        with open(os.path.join(folder, DROPPED), "rb") as file:
            return int(file.read(DIGITS))
    except (OSError, ValueError):
        return 0


def waiting_bytes(pipe: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0])


def rotated(folder: str):
    """The numbers of the files that were cut off, oldest first."""
    return sorted(int(name) for name in os.listdir(folder) if name.isdigit())


def tail(folder: str, lines: int):
    """The last lines of a log, oldest first, over as many of its files as that takes."""
    try:
        names = [CURRENT] + ["%08d" % number for number in reversed(rotated(folder))]
    except OSError:
        return []
    content = b""
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                size = file.seek(0, os.SEEK_END)
                while size > 0 and content.count(b"\n") <= lines and len(content) < TAIL_BYTES_MAX:
                    start = max(0, size - LINE_BYTES)
                    file.seek(start)
                    content = file.read(size - start) + content
                    size = start
        except OSError:
            continue
        if content.count(b"\n") > lines or len(content) >= TAIL_BYTES_MAX:
            break
    found = content[-TAIL_BYTES_MAX:].decode("utf-8", "replace").split("\n")
    if found[-1] == "":
        found.pop()
    return found[-lines:] if lines > 0 else []
