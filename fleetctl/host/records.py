"""The record of one run of a program: who it is, and how it ended. One small file, written in place.

It is made full-size when the run begins, so that the end can be written on a full disk. Shim and supervisor write it,
the agent reads it. Used by the lean processes: no json.
"""

import posix
import time
from binascii import crc32

import _signal

from . import ballast, linux

BYTES = 1024
PENDING = "-"
EMPTY, LEFT = "empty", "left"  # of the program's tree, once the program itself has ended


class Record:
    """What is known of one run. `ended`: `-` while it runs; `exited N`, `killed by S`, `unexecutable E`, `unknown`."""

    FIELDS = ("run", "boot", "shim", "shim_start", "pid", "start", "began", "ended", "ended_at", "tree")
    NUMBERS = ("run", "shim", "shim_start", "pid", "start")

    def __init__(self, run: int, boot: str) -> None:
        self.run = run
        self.boot = boot
        self.shim = 0
        self.shim_start = 0
        self.pid = 0
        self.start = 0
        self.began = "0"  # seconds of CLOCK_BOOTTIME, as text
        self.ended = PENDING
        self.ended_at = "0"
        self.tree = PENDING

    def pack(self) -> bytes:
        text = "".join("%s %s\n" % (name, getattr(self, name)) for name in self.FIELDS).encode("utf-8", "replace")
        text = text[: BYTES - 32]
        text += b"crc %08x\n" % (crc32(text) & 0xFFFFFFFF)
        return text.ljust(BYTES - 1) + b"\n"

    def write(self, path: str) -> None:
        """Into the file that is already there, and on to the disk."""
        descriptor = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.pwrite(descriptor, self.pack(), 0)
            posix.fdatasync(descriptor)
        finally:
            posix.close(descriptor)

    def create(self, root: str, path: str) -> None:
        """The file, its room and its name on the disk: after this an end can always be written."""
        try:
            self.create_anew(path)
        except OSError as error:
            if error.errno not in ballast.FULL:
                raise
            ballast.forget(path)
            ballast.become(root, path, self.pack(), ballast.FOR_STOPS)

    def create_anew(self, path: str) -> None:
        descriptor = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
        try:
            posix.write(descriptor, self.pack())
            posix.fsync(descriptor)
        finally:
            posix.close(descriptor)
        ballast.sync_folder(path.rpartition("/")[0])


def parse(content: bytes):
    """The record, or None where the content is torn or none of ours."""
    body, found, rest = content.partition(b"crc ")
    try:
        if not found or int(rest.split()[0], 16) != crc32(body) & 0xFFFFFFFF:
            return None
        values = dict(line.split(" ", 1) for line in body.decode().splitlines())
        record = Record(int(values["run"]), values["boot"])
        for name in Record.FIELDS:
            setattr(record, name, int(values[name]) if name in Record.NUMBERS else values[name])
    except (ValueError, KeyError, IndexError):
        return None
    return record


def read(path: str):
    """The record in a file, or None where there is none. Looks twice: it may be written right now.

    OSError where nobody can tell.
    """
    for _ in range(2):
        try:
            with open(path, "rb") as file:
                record = parse(file.read(BYTES))
        except FileNotFoundError:
            return None
        if record is not None:
            return record
    return None


def runs(folder: str):
    """The numbers of the runs recorded in an `exit/` folder, oldest first."""
    try:
        return sorted(int(name) for name in posix.listdir(folder) if name.isdigit())
    except (FileNotFoundError, NotADirectoryError):
        return []


def describe(code: int, status: int) -> str:
    """What waitid said of a child, in words: 137 and death by SIGKILL are told apart."""
    if code == linux.CLD_EXITED:
        return "exited %d" % status
    return "killed by %s%s" % (signal_name(status), " (core dumped)" if code == linux.CLD_DUMPED else "")


def signal_name(number: int) -> str:
    names = [name for name in dir(_signal) if name[:3] == "SIG" and name[3] != "_"]
    found = [name for name in names if getattr(_signal, name) == number]
    return found[0] if found else "signal %d" % number  # of two names for one number the usual one comes first


def now() -> str:
    """As records have it: seconds since the boot."""
    return "%.3f" % time.clock_gettime(linux.CLOCK_BOOTTIME)
