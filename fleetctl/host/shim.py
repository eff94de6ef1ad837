"""The parent of one program: a fork of the nursery that never executes anything itself.

It holds the instance's lock and its output, records the program's end when it comes, signals its tree, and stays until
the agent has read both the record and the last of the log. It must import nothing once forked. It begins in nursery.py
and waits there; here is what it does once something happened.
"""

import posix

import _signal

from . import child, group, linux, proc, records
from .child import Launch, pack_launch
from .complaints import complain
from .fifos import drain, fifo, open_pipe, ring
from .records import now

__all__ = [
    "Launch",
    "complain",
    "drain",
    "fifo",
    "now",
    "open_pipe",
    "pack_launch",
    "ring",
]  # others know them from here

AGAIN_MS = 1000  # what could not be done is tried again
LINGER_PAUSE_MS, LINGER_ROUNDS, LINGER_SLOW_MS = 10, 100, 500  # looks at a control group that is not empty yet
ADOPTED_PAUSE_MS = 1000  # looks at a program that is nobody's child of ours, where the kernel has no pidfd
SWEEP_PAUSE_MS, SWEEP_ROUNDS, SWEEP_SLOW_MS = 2, 1000, 500  # what outlives two seconds of it sleeps in the kernel


def fail(name: bytes) -> None:
    """What a shim needs can't be had: say so and end. Never returns."""
    complain("shim %s: %s" % (name.decode(), posix.strerror(linux.errno())))
    posix._exit(1)


def run_on(root: str, name: str, orders: int, hearing: int) -> None:
    """Something happened to a shim for the first time: from now on it is this. Ends with the process."""
    status = 1
    try:
        Shim(root, name, orders, hearing).run()
        status = 0
    except BaseException as error:
        complain("shim %s: %r" % (name, error))
    finally:
        posix._exit(status)


class Shim:
    """What it is once something happened: a word to it, or an end."""

    def __init__(self, root: str, name: str, orders: int, hearing: int) -> None:
        self.root, self.name, self.orders, self.hearing = root, name, orders, hearing
        self.folder = root + "/instances/" + name
        self.path = ""
        self.record = records.Record(0, "")  # blank until the program is on record
        self.groups: "list[tuple[bytes, bool]]" = []
        self.heard = b""
        self.unsaved = self.unrung = False
        self.sweeping = False
        self.rounds = 0
        self.lingering = 0  # looks at a control group that is not empty, though we have no child left
        self.successor = (0, 0)  # who the program said is its main process
        self.adopted = False  # the program is no child that we forked
        self.watch = -1  # a pidfd of a main process that is no child of ours
        self.waits = linux.Waits()
        self.dismissed = False

    def run(self) -> None:
        """Until dismissed. Our child has become the program by now, or has ended."""
        while not self.surely(self.find_record):
            pass
        while self.record.run and not self.dismissed:
            if self.surely(self.turn) and not self.dismissed:
                self.wait()

    def surely(self, call) -> bool:
        """False: there were no descriptors or no memory for it. It is to be called again, a second has passed."""
        try:
            call()
        except OSError as error:
            complain("shim %s: %s" % (self.name, error))
            linux.wait_readable(self.waits, 0, AGAIN_MS)
            return False
        return True

    def turn(self) -> None:
        self.heard += drain(self.orders)
        drain(self.hearing)
        while b"\n" in self.heard:
            line, _, rest = self.heard.partition(b"\n")
            self.obey(line.split())
            self.heard = rest
        self.look()

    def wait(self) -> None:
        watched = (self.watch,) if self.watch >= 0 else ()
        count = linux.wait_for(self.waits, (self.orders, self.hearing, *watched))
        linux.wait_readable(self.waits, count, self.pause_ms())

    def find_record(self) -> None:
        """The record that our child has made, if it did not fail before."""
        for run in records.runs(self.folder + "/exit")[-1:]:
            path = "%s/exit/%d" % (self.folder, run)
            found = records.read(path)
            if found is not None and found.shim == posix.getpid():
                self.path, self.record = path, found
                self.groups = self.groups_of(run)

    def groups_of(self, run: int):
        try:
            launch = Launch(child.content_of(self.folder + "/launch"))
        except FileNotFoundError:
            return []
        return launch.groups if launch.run == run else []

    def pause_ms(self):
        if self.sweeping:
            return SWEEP_PAUSE_MS if self.rounds < SWEEP_ROUNDS else SWEEP_SLOW_MS
        if self.lingering:
            return LINGER_PAUSE_MS if self.lingering < LINGER_ROUNDS else LINGER_SLOW_MS
        if self.unsaved or self.unrung:
            return AGAIN_MS
        return ADOPTED_PAUSE_MS if self.adopted and self.watch < 0 else -1

    def obey(self, words) -> None:
        if words[:1] == [b"term"] and words[1:] and words[1].isdigit():
            proc.send_all(self.tree(), int(words[1]))
        elif words == [b"abort"]:
            if self.record.ended == records.PENDING:
                proc.send_all([(self.record.pid, self.record.start)], _signal.SIGABRT)
        elif words == [b"kill"]:
            self.sweeping, self.rounds = True, 0
        elif words[:1] == [b"main"] and len(words) == 3 and words[1].isdigit() and words[2].isdigit():
            self.name_successor(int(words[1]), int(words[2]))
        elif words == [b"done", b"%d" % self.record.run]:
            self.dismissed = self.record.tree == records.EMPTY

    def tree(self):
        """[(pid, start)] of what there is of this instance."""
        found = proc.descendants(posix.getpid())
        for folder, _ in self.groups:
            found += [member for member in group.members(folder) if member not in found]
        return found

    def name_successor(self, pid: int, start: int) -> None:
        """The program says that this process is what it is about: its end counts, once the program's own has come."""
        if (pid, start) == (self.record.pid, self.record.start):
            self.successor = (0, 0)
        elif (pid, start) in proc.descendants(posix.getpid()):
            self.successor = (pid, start)
            if self.record.ended != records.PENDING and self.record.tree == records.LEFT and self.succeeded():
                self.unsaved = True

    def succeeded(self) -> bool:
        """Where a living successor was named, it is the program from now on."""
        (pid, start), self.successor = self.successor, (0, 0)
        if pid == 0 or proc.ended(pid, start):
            return False
        self.record.pid, self.record.start = pid, start
        self.record.ended = self.record.tree = records.PENDING
        self.record.ended_at = "0"
        self.adopted = True
        try:
            self.watch = linux.pidfd_open(pid)
        except OSError:
            pass  # it ended right now, which the next look finds
        return True

    def look(self) -> None:
        """Reap what ended, sweep what is to end, and write down what that changed."""
        if self.sweeping:
            self.sweep()
        childless = self.reap()
        if self.adopted and self.gone():
            self.note_end("unknown")  # its own parent was told how
        if not childless:
            self.lingering = 0
        if childless and self.record.tree == records.LEFT and not self.others_linger():
            self.record.tree = records.EMPTY
            self.unsaved = True
        if childless and self.record.tree == records.EMPTY:
            self.sweeping = False
        self.save()

    def gone(self) -> bool:
        """The program ended, and not as a child of ours: those are reaped."""
        state, parent, start = found = proc.stat_of(self.record.pid)
        if found == proc.GONE:
            return not proc.exists("/proc/%d" % self.record.pid)
        return start != self.record.start or (state in ("Z", "X", "x") and parent != posix.getpid())

    def sweep(self) -> None:
        self.rounds += 1
        for folder, _ in self.groups:
            group.kill(folder)
        for pid, start in proc.descendants(posix.getpid()):
            proc.send(pid, start, _signal.SIGKILL)

    def reap(self) -> bool:
        """True: there is no child left, so nothing below either, for orphans would be our children.

        The program's end is written down first: whoever kills us in between finds either the record or the zombie.
        """
        while True:
            try:
                found = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
            except ChildProcessError:
                return True
            if found is None:
                return False
            if found.si_pid == self.record.pid and self.record.ended == records.PENDING:
                self.note_end(records.describe(found.si_code, found.si_status))
            posix.waitpid(found.si_pid, 0)

    def note_end(self, ended: str) -> None:
        alone = proc.children_of(posix.getpid()) in ([], [self.record.pid]) and not self.others_linger()
        if self.watch >= 0:
            posix.close(self.watch)
        self.watch, self.adopted = -1, False
        if not self.succeeded():
            self.record.ended, self.record.ended_at = ended, records.now()
            self.record.tree = records.EMPTY if alone else records.LEFT
        self.unsaved = True
        self.save()

    def others_linger(self) -> bool:
        """Somebody is in one of our control groups. The kernel takes a moment to say that nobody is."""
        if any(group.populated(folder) for folder, _ in self.groups):
            self.lingering += 1
            return True
        self.lingering = 0
        return False

    def save(self) -> None:
        if self.unsaved:
            try:
                self.record.write(self.path)
            except OSError:
                return  # tried again every second
            self.unsaved, self.unrung = False, True
        if self.unrung:
            self.unrung = not ring(self.root + "/doorbell", self.name)
