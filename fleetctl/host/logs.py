"""A program's output: from its pipe to files, cut by size at line ends. `log_reading.py` reads them back.

Bytes are moved by splice: they are in the pipe or in the file, never in this process, so its death loses none. What
can't be written never fails the program. `drop` throws it away, counts it first, and keeps where it is missing;
`block` leaves it in the pipe, so that the program waits, until there is room or the program is to be stopped.
"""

import fcntl
import os
import resource
import struct
import termios
import time

from . import linux, shim
from .log_files import (
    CURRENT,
    DROPPED,
    ENTRY,
    Entry,
    Gap,
    current_number,
    forget,
    is_named,
    open_times,
    packed_dropped,
    path_of,
    read_dropped,
    rotated,
    timed,
    times_path,
)
from .loop import Loop, Timer

CHUNK_BYTES = 256 * 1024
TURN_CHUNKS = 8  # 2 MiB, then it is somebody else's turn
TURN_S = 0.05  # so it is after a slow disk took so long
SLOW_S = 2.0  # a disk that takes longer than that for each chunk, all this time, is spared half of them
SMALL_BYTES = 64 * 1024  # after so little the pipe was empty
LINE_BYTES = 64 * 1024  # a longer line may be cut by a rotation
RETRY_MIN_S, RETRY_MAX_S = 0.1, 1.0

# An entry of the times costs 32 bytes. There is one each turn, but not for less than STEP_BYTES within STEP_S, and
# never more of them than TIMES_FREE_BYTES and a quarter of what the program said.
STEP_S, STEP_BYTES = 0.1, 512
TIMES_FREE_BYTES, TIMES_SHARE = 64 * 1024, 4


class Log:
    def __init__(self, loop: Loop, folder: str, size_bytes: int, keep: int, when_full: str = "drop") -> None:
        self.loop, self.folder = loop, folder
        self.size_bytes, self.keep = max(size_bytes, LINE_BYTES), keep
        self.blocks = when_full == "block"
        self.pipe = self.file = self.counter = -1
        self.times = None  # of the current file; None where they can't be kept
        self.number = self.size = 0  # of the current file
        self.run = 0
        self.waits = False  # for a program that may wait for the disk; one that is to end may not
        self.retry, self.retry_s = Timer(), 0.0
        self.slow_s = self.spared_until = 0.0
        self.dropped_bytes, self.gap = read_dropped(folder)
        self.gap_is_last = False  # nothing was kept since

    def open(self, run: int) -> None:
        """From now on, what comes is of this run."""
        self.run, self.waits = run, self.blocks
        if self.pipe < 0:
            self.pipe = shim.open_pipe(os.path.join(self.folder, "pipe"), os.O_NONBLOCK)
            self.open_counter()
            self.listen()

    def listen(self) -> None:
        if self.pipe >= 0:
            self.loop.watch(self.pipe, self.pump)

    def close(self) -> None:
        self.retry.cancel()
        if self.pipe >= 0:
            self.loop.unwatch(self.pipe)
            os.close(self.pipe)
            self.pipe = -1
        if self.counter >= 0:
            os.close(self.counter)
            self.counter = -1
        self.close_file()

    def let_go(self) -> None:
        """Its program is to end: it may not wait for a disk any more."""
        if self.waits:
            self.waits, self.retry_s = False, 0.0
            self.retry.cancel()
            self.listen()

    def finish(self) -> None:
        """The program is over: what is left in the pipe is written, or else counted. Never waits."""
        self.let_go()
        self.drain()
        self.close()

    # Moving

    def drain(self) -> None:
        """Everything that is in the pipe now."""
        waiting = waiting_bytes(self.pipe) if self.pipe >= 0 else 0
        while waiting > 0:
            moved = self.move()
            if moved == 0:
                break
            waiting -= moved

    def pump(self, _events: int = 0) -> None:
        began, slept = time.monotonic(), times_slept()
        if began < self.spared_until:
            self.throw_away()
            return
        took = 0.0
        for chunk in range(TURN_CHUNKS):
            if self.move() < SMALL_BYTES:
                self.slow_s = 0.0
                return
            took = time.monotonic() - began
            if took > TURN_S:
                self.slow_s = self.slow_s + took if chunk == 0 and times_slept() > slept else 0.0
                break
        if self.slow_s > SLOW_S and not self.waits:
            self.spared_until = time.monotonic() + took

    def move(self) -> int:
        """One step: so many bytes left the pipe."""
        try:
            size = self.open_file()
            self.note_time(size)
            count = self.splice(size)
        except BlockingIOError:
            return 0
        except OSError:
            if self.waits:
                self.try_later()
                return 0
            return self.throw_away()
        self.retry_s = 0.0
        if count:
            self.size += count
            self.gap_is_last = False
        return count

    def splice(self, size: int) -> int:
        if not self.is_full(size):
            return linux.splice_to_file(self.pipe, self.file, size, min(CHUNK_BYTES, self.size_bytes - size))
        most = self.size_bytes + LINE_BYTES - size
        if most > 0 and not self.at_line_end(size):
            return linux.splice_to_file(self.pipe, self.file, size, min(most, self.rest_of_line()))
        if waiting_bytes(self.pipe) == 0:
            return 0
        size = self.rotate()
        self.note_time(size)
        return linux.splice_to_file(self.pipe, self.file, size, min(CHUNK_BYTES, self.size_bytes))

    def try_later(self) -> None:
        """There is no room: the bytes stay in the pipe, and once that is full the program waits."""
        if self.retry.pending():
            return
        self.loop.unwatch(self.pipe)
        self.retry_s = min(RETRY_MAX_S, max(RETRY_MIN_S, self.retry_s * 2))
        self.retry = self.loop.after(self.retry_s, self.listen)

    def throw_away(self) -> int:
        """Counted first: who is killed in between counts it twice, and never not at all."""
        asked = min(CHUNK_BYTES, waiting_bytes(self.pipe))
        if asked == 0:
            return 0
        total, gap = self.dropped_bytes, self.gap_here()
        self.gap_is_last = True
        self.count(total + asked, gap._replace(dropped=gap.dropped + asked))
        try:
            count = away(self.pipe, asked)
        except OSError:
            count = 0
        if count != asked:
            self.count(total + count, gap._replace(dropped=gap.dropped + count))
        return count

    # The count of what is lost, and where

    def open_counter(self) -> None:
        try:
            self.counter = os.open(os.path.join(self.folder, DROPPED), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.count(self.dropped_bytes, self.gap)
        except OSError:
            pass  # no room for it: then it is counted for as long as this agent lives

    def count(self, total: int, gap: Gap) -> None:
        self.dropped_bytes, self.gap = total, gap
        try:
            if self.counter >= 0:
                os.pwrite(self.counter, packed_dropped(total, gap), 0)
        except OSError:
            pass  # as above

    def gap_here(self) -> Gap:
        """What is lost already right where the current file ends."""
        try:
            size = os.stat(os.path.join(self.folder, CURRENT)).st_size
        except OSError:
            size = 0
        if (self.gap.number, self.gap.offset) == (self.number, size):
            return self.gap
        return Gap(self.number, size, 0)

    # The times of what is kept

    def note_time(self, size: int) -> None:
        """What is read next comes now. A gap must be noted before anything is written behind it, or else OSError."""
        now = round(time.time(), 3)
        dropped = self.gap.dropped if (self.gap.number, self.gap.offset) == (self.number, size) else 0
        if self.times is None and dropped:
            self.times = open_times(self.folder, self.number, os.O_RDWR | os.O_CREAT)  # there may be room for it now
        if self.times is None:
            return
        times, last = self.times, self.times.last
        known = last is not None and (not dropped or (last.offset, last.dropped) == (size, dropped))
        if known and last.run == self.run and not is_due(last, size, now, times.count):
            return
        try:
            times.put(Entry(size, self.run, now, dropped))
        except OSError:
            if dropped:
                raise

    # Files

    def open_file(self) -> int:
        """The current file's size; opened, and made again where somebody removed or emptied it."""
        path = os.path.join(self.folder, CURRENT)
        if self.file >= 0:
            state = os.fstat(self.file)
            if is_named(path, state):
                if state.st_size < self.size:
                    self.begin_times(self.number + 1)
                self.size = state.st_size
                return self.size
            self.close_file()
        is_new = not os.path.exists(path)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # no O_APPEND: splice refuses it
        number = max(current_number(self.folder), self.number)
        if is_new and (number == self.number or os.path.exists(times_path(self.folder, number))):
            number += 1  # one of that number was removed by hand
        self.begin_times(number)
        self.size = os.fstat(self.file).st_size
        return self.size

    def begin_times(self, number: int) -> None:
        """The file that is open is that one. A gap behind all that was kept comes before what is kept now."""
        if self.gap_is_last and self.number != number:
            self.count(self.dropped_bytes, Gap(number, 0, self.gap.dropped))
        self.close_times()
        self.number = number
        self.times = open_times(self.folder, number, os.O_RDWR | os.O_CREAT)
        if self.times is not None:
            self.times.cut(os.fstat(self.file).st_size)
        files = rotated(self.folder)
        for other in timed(self.folder):
            if other != number and other not in files:
                forget(times_path(self.folder, other))

    def close_times(self) -> None:
        if self.times is not None:
            self.times.close()
            self.times = None

    def close_file(self) -> None:
        self.close_times()
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def is_full(self, size: int) -> bool:
        """By size; or by its times, where it holds many runs that said little."""
        if size >= self.size_bytes:
            return True
        most = TIMES_FREE_BYTES + self.size_bytes // TIMES_SHARE
        return self.times is not None and self.times.count * ENTRY.size > most

    def at_line_end(self, size: int) -> bool:
        return size == 0 or os.pread(self.file, 1, size - 1) == b"\n"

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

    def rotate(self) -> int:
        """Cut the file off and begin another, then remove what is beyond `keep`: its size, which is 0."""
        os.rename(os.path.join(self.folder, CURRENT), path_of(self.folder, self.number))
        self.gap_is_last = False
        self.close_file()
        size = self.open_file()
        numbers = rotated(self.folder)
        for number in numbers[: max(0, len(numbers) - self.keep)]:
            forget(path_of(self.folder, number))
            forget(times_path(self.folder, number))
        return size


def is_due(last: Entry, size: int, now: float, count: int) -> bool:
    """Whether another entry says enough that is new."""
    if count * ENTRY.size > TIMES_FREE_BYTES + size // TIMES_SHARE:
        return False
    return abs(now - last.at) >= STEP_S or size - last.offset >= STEP_BYTES


def waiting_bytes(pipe: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"))[0])


def times_slept() -> int:
    """How often this thread gave up the CPU to wait for something: a busy machine that takes it away does not count."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def away(pipe: int, count: int) -> int:
    null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    try:
        return linux.splice_away(pipe, null, count)
    finally:
        os.close(null)
