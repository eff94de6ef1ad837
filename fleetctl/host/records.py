"""The record of one run of a program: who it is, and how it ended. One small file, written in place.

It is made full-size when the run begins, so that the end can be written on a full disk. Shim and supervisor write it,
the agent reads it. Used by the lean processes: no json.
"""

import os
import signal
from binascii import crc32

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
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, self.pack(), 0)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def create(self, path: str) -> None:
        """The file, its room and its name on the disk: after this an end can always be written."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, self.pack())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


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
    """The record in a file, or None. Looks twice: it may be written right now."""
    for _ in range(2):
        try:
            with open(path, "rb") as file:
                record = parse(file.read(BYTES))
        except OSError:
            return None
        if record is not None:
            return record
    return None


def runs(folder: str):
    """The numbers of the runs recorded in an `exit/` folder, oldest first."""
    try:
        return sorted(int(name) for name in os.listdir(folder) if name.isdigit())
    except OSError:
        return []


def describe(status: int) -> str:
    """What waitpid said, in words: 137 and death by SIGKILL are told apart."""
    if os.WIFEXITED(status):
        return "exited %d" % os.WEXITSTATUS(status)
    number = os.WTERMSIG(status)
    return "killed by %s%s" % (signal_name(number), " (core dumped)" if os.WCOREDUMP(status) else "")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number
