"""Answers the link from memory while the agent sleeps in the kernel, because the file system of its root hangs.

A thread of the agent, for only another thread can speak for a process that sleeps in a system call. It is reached by an
abstract socket, which is in no file system, and must touch no file but those of /proc: it opens, imports and logs
nothing, and gives no order. While the agent's loop lives it only listens.
"""

import _thread
import errno
import os
import socket
import struct
import time
from binascii import crc32

from . import link, requests
from .loop import Loop
from .protocol import PROTOCOL, ROOT_HANGS

HANGS_S = 4.0  # a slow disk may take seconds to sync; one that takes longer is worth a word
GLANCE_S = 0.5
BELIEVED_S = 30.0  # what entry.py saw of the root: a look, its claim and its orders come within that
CONNECTIONS_MAX = 64
STACK_BYTES = 1024 * 1024  # address space, not memory
SERVED = {"observe": requests.observe, "probe": requests.probe, "wishes": requests.wishes}


def name_of(root: str) -> str:
    """The abstract socket of a root's porter. entry.py makes the same; what collides is told apart by its first line.

    Abstract names are seen in the whole network namespace, so the PID namespace is part of them.
    """
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return "\0fleetctl %d %s %08x" % (os.getuid(), space, crc32(os.fsencode(root)) & 0xFFFFFFFF)


class Quiet(Loop):
    """A loop whose complaints go nowhere: agent.log is in the root."""

    def guarded(self, call, *arguments) -> None:
        try:
            call(*arguments)
        except Exception:
            return


class Sleep:
    """Whether the main thread sleeps in one and the same system call, by /proc: neither the clock nor a pulse alone
    tells that from a machine that is busy."""

    def __init__(self) -> None:
        self.seen = (0.0, -1)
        self.asleep = False

    def look(self, turn: float) -> bool:
        """To be asked every GLANCE_S. `turn`: when the main thread began what it does, in monotonic seconds."""
        before, self.seen = self.seen, (turn, main_thread()[1])
        self.asleep = self.goes_on(turn) and self.seen == before
        return self.asleep

    def goes_on(self, turn: float) -> bool:
        """Whether it did nothing at all since the newest look."""
        state, switches = main_thread()
        return state in "SD" and self.seen == (turn, switches)


def main_thread():
    """(state, how often it was taken from the processor)."""
    descriptor = os.open("/proc/self/task/%d/status" % os.getpid(), os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.read(descriptor, 16384).decode("ascii", "replace").splitlines()
    finally:
        os.close(descriptor)
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    switches = int(fields["voluntary_ctxt_switches"]) + int(fields["nonvoluntary_ctxt_switches"])
    return fields["State"].split()[0], switches


class Porter:
    def __init__(self, root: str) -> None:
        self.root = root
        self.loop = Quiet()
        self.agent = None  # until it has read its records: before that nobody knows what runs here
        self.began = time.monotonic()
        self.sleep = Sleep()
        self.silent: "set[link.Channel]" = set()  # who was told nothing yet
        self.told: "dict[link.Channel, float]" = {}  # until when its word is taken that the root hangs
        self.glancing = False

    def begin(self) -> None:
        """To be called before anything is touched that may hang."""
        self.loop.after(0, self.listen)
        _thread.stack_size(STACK_BYTES)
        _thread.start_new_thread(self.loop.run, ())
        _thread.stack_size(0)

    def listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.setblocking(False)
        try:
            self.listener.bind(name_of(self.root))
            self.listener.listen(CONNECTIONS_MAX)
        except OSError as error:
            self.listener.close()
            if error.errno == errno.EADDRINUSE:  # the agent before this one is on its way out
                self.loop.after(GLANCE_S, self.listen)
            return
        self.loop.watch(self.listener.fileno(), self.accept)

    def accept(self, _events: int) -> None:
        connection, _ = self.listener.accept()
        if peer(connection) != os.getuid() or len(self.silent) + len(self.told) >= CONNECTIONS_MAX:
            connection.close()
            return
        descriptor = connection.detach()
        self.silent.add(link.Channel(self.loop, descriptor, descriptor, self.handle, self.gone))
        if not self.glancing:
            self.glance()

    def gone(self, channel) -> None:
        self.silent.discard(channel)
        self.told.pop(channel, None)

    # Is it asleep?

    def turn(self) -> float:
        """Since when the main thread is about one thing; 0: it waits for something to happen."""
        return self.began if self.agent is None else self.agent.loop.turning_since

    def glance(self) -> None:
        """As long as somebody waits for a word: does the agent sleep?"""
        self.glancing = bool(self.silent or self.told)
        if not self.glancing:
            return
        self.loop.after(GLANCE_S, self.glance)
        turn = self.turn()
        if self.sleep.look(turn) and turn and time.monotonic() - turn >= HANGS_S:
            for channel in list(self.silent):
                self.speak(channel, 0.0)

    def hangs_s(self) -> float:
        """For how long the agent sleeps, by the newest glance and what was done since; 0: it does not."""
        turn = self.turn()
        asleep = turn and self.sleep.asleep and self.sleep.goes_on(turn)
        return time.monotonic() - turn if asleep else 0.0

    def speak(self, channel, believed_until: float) -> None:
        """The first line to those who can't have the agent itself. It is not sent while the agent lives."""
        self.silent.discard(channel)
        self.told[channel] = believed_until
        agent = self.agent
        hello = {"root": self.root, "hangs_s": round(max(self.hangs_s(), HANGS_S), 1), "protocol": PROTOCOL}
        if agent is not None:
            hello.update(version=agent.version, digest=agent.digest)
        channel.send(hello)

    # Answering

    def handle(self, channel, request) -> None:
        """Every answer is given at once. Who asks when the agent lives again is cut off, so that it links to that."""
        try:
            if request.get("do") == "arrive":
                self.arrive(channel, request)
            elif channel not in self.told or not self.is_believed(channel):
                channel.close()
            else:
                self.answer(channel, request)
        except Exception:  # what is read here may be changed by the other thread at the same time
            channel.close()

    def arrive(self, channel, request) -> None:
        """With `hangs_s`, entry.py saw the root hang. That is believed for a while, unless we see the agent asleep."""
        channel.address = str(request.get("address", ""))
        if isinstance(request.get("hangs_s"), (int, float)) and channel in self.silent:
            self.speak(channel, 0.0 if self.hangs_s() else time.monotonic() + BELIEVED_S)

    def is_believed(self, channel) -> bool:
        return self.hangs_s() > 0 or time.monotonic() < self.told[channel]

    def answer(self, channel, request) -> None:
        verb = request.get("do")
        if self.agent is None or verb not in SERVED:
            error = {"kind": ROOT_HANGS, "message": self.complaint(), "hint": remedy(self.root)}
            channel.send({"id": request.get("id"), "ok": False, "error": error})
            return
        found = SERVED[verb](self, channel, request)
        if found is not None:
            requests.reply(channel, request, found)

    def complaint(self) -> str:
        hangs_s = max(self.hangs_s(), HANGS_S)
        message = "the file system of %s has not answered for %d s" % (self.root, hangs_s)
        return message if self.agent is not None else message + ", and its agent has not read its records yet"

    # What `observe`, `probe` and `wishes` of requests.py ask of a host

    @property
    def guard(self):
        return self.agent.guard

    def report(self, address: str):
        why = self.complaint()
        notes = [*self.agent.notes, why + ": this is from memory, and nothing can be ordered"]
        told = "the file system of %s does not answer" % self.root
        return dict(self.agent.remembered(address, notes), from_memory=told)


def peer(connection: socket.socket) -> int:
    """The uid at the other end."""
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def remedy(root: str) -> str:
    return "see what its disk or mount does, there: findmnt -T %s; dmesg | tail" % root
