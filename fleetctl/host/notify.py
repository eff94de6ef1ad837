"""What a program says of itself by sd_notify, on a datagram socket of its instance's own.

Where it is: launch.notify_address. A message is believed of our user or root, sent by a process of the instance's
tree. It is taken out of the socket only once it was acted on.
"""

import os
import socket
import struct

from . import launch, proc, readiness, rows, table
from .loop import READ, Timer, boottime

MESSAGE_BYTES = 4096
PER_TURN = 32  # messages in one go; then a pause, so that a flood costs little. Its sender waits
PAUSE_S = 0.05
DISCARDED_MAX = 10000
LEAVING = "it says that it is stopping"
SAID_MAX = 256
EXTENSION_S = 3600.0
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
SCM_CREDENTIALS = 2
ABOVE_MAX = 64  # how far up a sender is followed


class Notify:
    """The ear of one instance. What it hears it does by the instance's own methods."""

    def __init__(self, instance) -> None:
        self.instance, self.loop = instance, instance.loop
        self.socket: "socket.socket | None" = None
        self.pause = Timer()
        self.busy = False  # at a message, which is still in the socket
        self.ignored = 0  # messages that were none of ours, or made no sense

    def open(self) -> None:
        """For a new run: what the run before sent is thrown away. The socket is the same, unless its name is gone."""
        name = launch.notify_address(self.instance.folder)
        self.take_held()
        if self.socket is not None and (name.startswith("@") or os.path.exists(name)):
            self.discard()
            return
        self.close()
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            found.setblocking(False)
            if name.startswith("@"):
                found.bind(b"\0" + name[1:].encode())
            else:
                if os.path.lexists(name):
                    os.unlink(name)
                found.bind(name)
        except OSError as error:  # the program is run all the same: it may have nothing to say
            found.close()
            self.instance.agent.say("%s: no socket for sd_notify: %s" % (self.instance.name, error))
            return
        self.take(found)
        self.instance.agent.hold(self.instance.name, found.fileno())

    def take_up(self) -> None:
        """For a run that is there: what was sent while no agent lived is heard. A new socket where it was not held."""
        self.take_held()
        if self.socket is None:
            self.open()

    def take_held(self) -> None:
        held = self.instance.agent.take_held().get(self.instance.name)
        if self.socket is None and held is not None:
            self.take(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0, held))

    def discard(self) -> None:
        try:
            for _ in range(DISCARDED_MAX):
                if self.socket is not None:
                    self.socket.recv(1)
        except OSError:
            pass  # nothing is left

    def take(self, found: socket.socket) -> None:
        self.socket = found
        self.loop.watch(found.fileno(), self.readable, READ)

    def close(self) -> None:
        self.pause.cancel()
        self.take_held()
        self.instance.agent.drop_held(self.instance.name)
        if self.socket is not None:
            self.loop.unwatch(self.socket.fileno())
            self.socket.close()
            self.socket = None

    # Hearing

    def readable(self, _events: int) -> None:
        if self.read() and self.socket is not None:
            self.loop.unwatch(self.socket.fileno())
            self.pause = self.loop.after(PAUSE_S, self.go_on)

    def go_on(self) -> None:
        if self.socket is not None:
            self.loop.watch(self.socket.fileno(), self.readable, READ)

    def read(self) -> bool:
        """Act on what was sent. True: there may be more than is done in one go."""
        for _ in range(0 if self.busy else PER_TURN):
            if self.socket is None:
                return False
            listening = self.socket
            try:
                # No room for descriptors: the kernel closes those that were sent along.
                content, extra, flags, _ = listening.recvmsg(
                    MESSAGE_BYTES, socket.CMSG_SPACE(CREDENTIALS.size), socket.MSG_PEEK
                )
            except OSError:
                return False
            self.busy = True
            try:
                if flags & socket.MSG_TRUNC or not self.hear(content, sender(extra)):
                    self.ignore()
            finally:
                self.busy = False
                if self.socket is listening:
                    listening.recv(1)
        return not self.busy

    def read_all(self) -> None:
        """Act on all that was sent until now, but for an endless flood."""
        for _ in range(PER_TURN):
            if not self.read():
                return

    def ignore(self) -> None:
        self.ignored += 1
        if str(self.ignored).strip("0") == "1":  # 1, 10, 100, ...
            self.instance.agent.say("%s: %d messages to its notify socket ignored" % (self.instance.name, self.ignored))

    def hear(self, content: bytes, credentials) -> bool:
        """One message. False: it is not to be believed, or says nothing."""
        if not self.instance.record.run:
            self.instance.refresh()  # it may be that its running was not seen yet
        pid, uid = credentials
        if pid <= 0 or uid not in (0, os.getuid()):
            return False
        alive = os.path.exists("/proc/%d" % pid)
        if alive and not self.belongs(pid):
            return False
        words = parse(content)
        if not words:
            return False
        for key, value in sorted(words, key=lambda word: ORDER.get(word[0], 1)):
            word = WORDS.get(key)
            if word is not None:
                word(self, value, pid, alive)
        return True

    def belongs(self, pid: int) -> bool:
        """It is of the instance's tree: below its shim, or by its environment."""
        record = self.instance.record
        ours = {(record.shim, record.shim_start), (record.pid, record.start)}
        above = pid
        for _ in range(ABOVE_MAX):
            _, parent, start = proc.stat_of(above)
            if (above, start) in ours:
                return True
            if parent <= 1:
                break
            above = parent
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                return launch.mark(self.instance.folder) in file.read().split(b"\0")
        except OSError:
            return not os.path.exists("/proc/%d" % pid)  # it ended just now

    # What it says

    def ready(self, value: str, _pid: int, _alive: bool) -> None:
        found = self.instance
        if value == "1" and found.spec["ready"] is not None and found.spec["ready"]["kind"] == "notify":
            found.status["leaving"] = 0
            if found.state in (table.STARTING, table.UNREADY):
                found.told_ready("ready", "")

    def stopping(self, value: str, _pid: int, _alive: bool) -> None:
        found = self.instance
        if value == "1" and found.state in table.LIVE and found.status["leaving"] != found.status["run"]:
            rows.tell(found.status, LEAVING)
            found.told_ready("unready" if found.state == table.READY else "", "%s: %s" % (readiness.NOT_READY, LEAVING))
            found.status["leaving"] = found.status["run"]
            found.save()

    def status(self, value: str, _pid: int, _alive: bool) -> None:
        text = "".join(letter if letter.isprintable() else " " for letter in value).strip()[:SAID_MAX]
        if text != self.instance.status["said"]:
            self.instance.status["said"] = text
            self.instance.save()

    def watchdog(self, value: str, _pid: int, _alive: bool) -> None:
        heartbeat = self.instance.watchdog.heartbeat
        if value == "trigger":
            self.instance.hang("it asked for it: WATCHDOG=trigger")
        elif value == "1" and heartbeat is not None:
            heartbeat.beat()

    def interval(self, value: str, _pid: int, _alive: bool) -> None:
        heartbeat, seconds = self.instance.watchdog.heartbeat, microseconds(value)
        if heartbeat is not None and seconds > 0:
            heartbeat.take(seconds)
            self.instance.status["interval"] = [self.instance.status["run"], heartbeat.timeout_s]
            self.instance.save()

    def main_pid(self, value: str, sender_pid: int, alive: bool) -> None:
        """Of a dead sender it counts only where that was the program itself: it forked, said so and ended."""
        if value.isdecimal() and len(value) < 10 and (alive or sender_pid == self.instance.record.pid):
            pid = int(value)
            start = proc.start_of(pid)
            if start >= 0 and proc.lives(pid, start) and self.belongs(pid):
                self.instance.take_main(pid, start)

    def extend(self, value: str, _pid: int, _alive: bool) -> None:
        found, seconds = self.instance, min(microseconds(value), EXTENSION_S)
        until = boottime() + seconds
        if seconds > 0 and found.state == table.STOPPING:
            self.extend_grace(until)
        elif seconds > 0 and found.watchdog.heartbeat is not None:
            found.watchdog.heartbeat.extend(seconds)
            found.status["extended"] = until
            found.save()

    def extend_grace(self, until: float) -> None:
        """More time to end, but never beyond an hour after it was told to."""
        found = self.instance
        told = found.status["stopping_since"]
        until = min(until, told + EXTENSION_S)
        if until > max(found.status["extended"], told + found.spec["stop"]["timeout_s"]):
            found.status["extended"] = until
            found.arm(until - boottime(), "grace")
            found.save()


ORDER = {"MAINPID": 0, "READY": 2}  # of the words of one message: first who it is, last what others wait for
WORDS = {
    "READY": Notify.ready,
    "STOPPING": Notify.stopping,
    "STATUS": Notify.status,
    "WATCHDOG": Notify.watchdog,
    "WATCHDOG_USEC": Notify.interval,
    "MAINPID": Notify.main_pid,
    "EXTEND_TIMEOUT_USEC": Notify.extend,
}


def sender(extra):
    """(pid, uid) as the kernel vouches for them; (0, -1) where it does not."""
    for level, kind, content in extra:
        if level == socket.SOL_SOCKET and kind == SCM_CREDENTIALS and len(content) >= CREDENTIALS.size:
            pid, uid, _ = CREDENTIALS.unpack(content[: CREDENTIALS.size])
            return pid, uid
    return 0, -1


def parse(content: bytes):
    """[(key, value)] of the lines that are assignments."""
    found = []
    for line in content.decode("utf-8", "replace").split("\n"):
        key, mark, value = line.partition("=")
        if mark and key.replace("_", "").isalnum():
            found.append((key, value))
    return found


def microseconds(value: str) -> float:
    return int(value) / 1000000.0 if value.isdecimal() and len(value) < 20 else 0.0
