"""The one process per host that thinks: instances, the link, orders. Killing it with -9 loses nothing.

What is here is the wiring: supervisor, doorbell, socket, adoption. What an instance does stands in table.py.
"""

import fcntl
import json
import os
import resource
import signal
import socket
import sys
import time

from . import (
    adoption,
    artifacts,
    comeback,
    doubts,
    files,
    going_down,
    held,
    instance,
    launch,
    link,
    porter,
    proc,
    report,
    requests,
    room,
    rootlock,
    rows,
    shim,
    spec as shapes,
    supervisor,
    table,
    uploads,
    waits,
)
from .errands import Errand
from .guard import Guard, Refused
from .limits import Limits
from .loop import Loop
from .protocol import PROTOCOL
from .reach import Reach
from .usage import Usage

LOCK_WAIT_S = 10.0
REMOVAL_S = 600.0
ENDED_KEPT = 2  # instances of a replica that are over
PROGRAMS_KEPT = 3
TIDY_S = 6 * 3600.0
UPLOAD_S = 86400.0  # nothing was added to it for a day: whoever sent it is gone
HALF_MADE_S = 3600.0  # no entry.py takes that long to unpack a program
CONNECTIONS_MAX = 64
ACCEPT_AGAIN_S = 0.2


def main(root: str, requests_out: int, answers_in: int, holding: int) -> int:
    """Run until killed. The descriptors lead to the supervisor and back."""
    kept = held.inherited()
    proc.close_descriptors((0, 1, 2, requests_out, answers_in, holding, *kept.values()))
    for descriptor in (requests_out, answers_in, holding):
        os.set_inheritable(descriptor, False)
    door = porter.Porter(root)
    door.begin()
    os.chdir(root)
    os.umask(0o077)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    lock = take_lock()
    if lock < 0:
        return 1
    agent = Agent(root, requests_out, answers_in)
    agent.files_at_start = (soft, hard)
    agent.giver = held.Giver(agent.loop, holding, kept)
    agent.begin()
    door.agent = agent
    agent.loop.run()
    return 0


def take_lock() -> int:
    """Never two agents: the one before may be on its way out. -1: it is not."""
    descriptor = os.open("agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + LOCK_WAIT_S
    while time.monotonic() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return descriptor
    return -1


class Agent:
    def __init__(self, root: str, requests_out: int, answers_in: int) -> None:
        self.root = root
        self.loop = Loop()
        self.requests_out, self.answers_in = requests_out, answers_in
        self.answers = b""
        self.boot = proc.boot()
        self.login = launch.plain_login()
        self.version, self.digest = supervisor.program()
        self.guard = Guard(root)
        self.reach = Reach(os.path.join(root, "reach.json"))
        self.instances: "dict[str, instance.Instance]" = {}
        self.waits = waits.Waits(self)
        self.limits = Limits(self)
        self.usage = Usage(self)
        self.pruning = False
        self.notes: "list[str]" = []
        self.uploads = uploads.Uploads(self)
        self.doubts = doubts.Doubts(self)
        self.comeback = comeback.Comeback(self)
        self.room = room.Room(self)
        self.unwritten: "set[str]" = set()  # stops that a full disk has no room for: begun all the same
        self.going_down = going_down.GoingDown(self)
        self.channels: "set[link.Channel]" = set()
        self.giver = held.Giver(self.loop, -1, {})
        self.files_at_start = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.seen_on_disk: "dict[str, object]" = {}  # as it was looked at last: see remembered

    def say(self, text: str) -> None:
        """To agent.log."""
        shim.complain("agent: " + text)

    # Beginning

    def begin(self) -> None:
        """First the bell, then the records: an end that comes between the two is heard."""
        self.bell = shim.open_pipe("doorbell", os.O_NONBLOCK)
        self.loop.watch(self.bell, self.rung)
        self.loop.watch(self.answers_in, self.answered)
        self.guard.begin()
        self.doubts.begin()
        self.adopt_all()
        self.room.look()
        self.limits.begin()
        self.usage.soon()
        self.comeback.begin()
        self.seen_on_disk = report.seen_on_disk(self.root)
        self.listen()
        self.prune_soon()
        self.loop.guarded(self.tidy)

    def adopt_all(self) -> None:
        """All of them are known before anything is opened for one."""
        for name in sorted(os.listdir("instances")):
            if not requests.INSTANCE.fullmatch(name):
                continue  # half made when an agent was killed: see tidy
            order = read_order(os.path.join("instances", name))
            if order is None:
                self.notes.append("instances/%s: its spec.json can't be read, so nothing is done with it" % name)
                continue
            self.instances[name] = instance.Instance(self, name, order)
        for found in list(self.instances.values()):
            self.loop.guarded(adoption.adopt, found)

    def listen(self) -> None:
        """The socket appears under its name when it can be connected to."""
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.setblocking(False)
        temporary = "agent.sock.new"  # relative: a root's path may be longer than the 107 bytes of a socket's
        try:
            os.unlink(temporary)
        except OSError:
            pass
        self.listener.bind(temporary)
        self.listener.listen(CONNECTIONS_MAX)
        os.rename(temporary, "agent.sock")
        self.loop.watch(self.listener.fileno(), self.accept)

    def accept(self, _events: int) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:  # no descriptors: nothing would keep the loop from asking over and over
            self.loop.unwatch(self.listener.fileno())
            self.loop.after(ACCEPT_AGAIN_S, lambda: self.loop.watch(self.listener.fileno(), self.accept))
            return
        if len(self.channels) >= CONNECTIONS_MAX:
            connection.close()
            return
        descriptor = connection.detach()
        channel = link.Channel(self.loop, descriptor, descriptor, self.handle, self.gone)
        self.channels.add(channel)
        hello = {"agent": os.getpid(), "version": self.version, "digest": self.digest, "protocol": PROTOCOL}
        channel.send(hello)

    def handle(self, channel, request) -> None:
        requests.handle(self, channel, request)

    def gone(self, channel) -> None:
        self.channels.discard(channel)
        self.waits.forget(channel)

    # The supervisor and its shims

    def ask_shim(self, name: str) -> None:
        try:
            os.write(self.requests_out, ("shim %s\n" % name).encode())
        except OSError as error:
            self.say("the supervisor does not hear: %s" % error)  # its end is seen in `answered`

    def answered(self, _events: int) -> None:
        content = os.read(self.answers_in, 65536)
        if not content:
            self.replace_supervisor()
        self.answers += content
        while b"\n" in self.answers:
            line, _, self.answers = self.answers.partition(b"\n")
            words = line.decode("ascii", "replace").split()
            found = self.instances.get(words[1]) if len(words) == 4 else None
            if found is not None:
                self.loop.guarded(found.shim_forked, int(words[2]), int(words[3]))

    def replace_supervisor(self) -> None:
        """The supervisor is dead: become one, which starts an agent. Not where its unit was stopped."""
        lock = -1 if os.path.exists(supervisor.RESTING) else rootlock.take(as_heir=True)
        if lock < 0:
            self.say("the supervisor is gone: leaving, too")
            os._exit(0)
        self.say("the supervisor is gone: taking its place")
        os.set_inheritable(lock, True)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.files_at_start)  # what programs are started with
        supervisor.reset_signals()
        environment = held.handed_on(self.giver.held)
        main_file = os.path.join(supervisor.HERE, "main.py")
        supervisor.execute(main_file, "supervisor", self.root, "-1", str(lock), environment=environment)

    def hold(self, name: str, descriptor: int) -> None:
        """Have this descriptor kept for the next agent, under this name."""
        self.giver.hold(name, descriptor)

    def drop_held(self, name: str) -> None:
        """Have it kept no longer. Closing it here is its owner's affair."""
        self.giver.drop(name)

    def take_held(self):
        """{name: descriptor} of all that is held: at the beginning, what the agent before had."""
        return dict(self.giver.held)

    def rung(self, _events: int) -> None:
        heard = shim.drain(self.bell)
        names = {line.decode("ascii", "replace") for line in heard.split(b"\n")}
        if len(heard) >= 65536:  # the bell may have been full: somebody's ring was lost
            names = set(self.instances)
        for name in names:
            if name in self.instances:
                self.loop.guarded(self.instances[name].refresh)

    # What instances tell

    def noted(self, found, before, after) -> None:
        """An event went through its table."""
        steady = (table.LAUNCHING, *table.LIVE)
        if before != after and not (before[1] == after[1] and before[0] in steady and after[0] in steady):
            self.guard.changed()
        self.waits.look(found)

    # What the link asks for

    def find(self, name: str):
        return self.instances.get(name)

    def report(self, address: str):
        self.seen_on_disk = report.seen_on_disk(self.root)
        self.comeback.look()
        self.room.look()
        return self.remembered(address, self.notes)

    def remembered(self, address: str, notes):
        """The report without a look at the root, which may hang."""
        listed = [self.instances[name].row() for name in sorted(self.instances)]
        program = {"version": self.version, "digest": self.digest, "protocol": PROTOCOL}
        notes = [*self.guard.notes(), *self.room.notes(), *notes]
        told = report.assemble(self.seen_on_disk, self.guard, listed, self.reach, address, program, self.boot, notes)
        told["facts"] = dict(told["facts"], boot=self.comeback.how, limits=self.limits.said)
        return told

    def add(self, name: str, spec, reason: str):
        """A new instance: written down, durably, then started."""
        self.going_down.refuse_starts()
        self.room.refuse_start()
        order = rows.new_order(spec, reason, self.boot)
        temporary = os.path.join("instances", "." + name)
        artifacts.remove(temporary)
        try:
            os.mkdir(temporary, 0o700)
            for folder in ("run", "exit", "log"):
                os.mkdir(os.path.join(temporary, folder), 0o700)
            files.replace_json(os.path.join(temporary, "spec.json"), order, durable=True)
            os.rename(temporary, os.path.join("instances", name))
            files.sync_folder("instances")
        except OSError:
            artifacts.remove(temporary)
            raise
        found = instance.Instance(self, name, order)
        self.instances[name] = found
        self.guard.changed()
        found.begin()
        return found

    def stop(self, found, reason: str) -> None:
        """Written down, then begun. On a full disk it is begun all the same: a stop frees what others need."""
        if found.order["wanted"] == "stop":
            return
        found.order = dict(found.order, wanted="stop", reason=reason)
        self.unwritten.add(found.name)
        self.write_down_stops()
        if self.unwritten:
            self.room.look()
        found.feed("stop")

    def write_down_stops(self) -> None:
        for name in sorted(self.unwritten):
            found = self.instances.get(name)
            try:
                if found is not None:
                    files.write_down_json(self.root, os.path.join(found.folder, "spec.json"), found.order)
                self.unwritten.discard(name)
            except OSError as error:
                self.say("%s: the order to stop can't be written down yet: %s" % (name, error))

    # Keeping the root tidy

    def prune_soon(self) -> None:
        if not self.pruning:
            self.pruning = True
            self.loop.after(0, self.prune)

    def prune(self) -> None:
        """Keep the two newest of each replica that are over."""
        self.pruning = False
        replicas: "dict[str, list[tuple[int, str]]]" = {}
        for name, found in self.instances.items():
            if found.state == table.FAILED or (found.state == table.STOPPED and found.order["wanted"] == "stop"):
                replica, _, epoch = name.partition("@")
                replicas.setdefault(replica, []).append((int(epoch), name))
        for ended in replicas.values():
            for _, name in sorted(ended)[:-ENDED_KEPT]:
                self.remove(name)

    def remove(self, name: str) -> None:
        found = self.instances.pop(name)
        found.close()
        self.guard.changed()
        gone = os.path.join("instances", ".gone." + name)
        os.rename(os.path.join("instances", name), gone)
        self.remove_later(gone)

    def remove_later(self, path: str) -> None:
        def done(_value, error):
            if error:
                self.say("%s can't be removed: %s" % (path, error))

        Errand(self.loop, lambda: artifacts.remove(path), done, REMOVAL_S)

    def tidy(self) -> None:
        """What was half made, half removed or half uploaded, and programs that nothing runs any more."""
        self.loop.after(TIDY_S, self.tidy)
        self.limits.tidy()
        for name in os.listdir("incoming"):
            if os.lstat(os.path.join("incoming", name)).st_mtime < time.time() - UPLOAD_S:
                self.remove_later(os.path.join("incoming", name))
        for name in os.listdir("instances"):
            if name.startswith("."):
                self.remove_later(os.path.join("instances", name))
        found = [name for name in os.listdir(".") if name.startswith("program-")]
        changed = {name: os.stat(name).st_mtime for name in found}
        programs = sorted((name for name in found if not name.endswith(".new")), key=changed.__getitem__)
        for name in programs[:-PROGRAMS_KEPT]:
            if name != "program-" + self.digest:
                self.remove_later(name)
        for name in found:
            if name.endswith(".new") and changed[name] < time.time() - HALF_MADE_S:
                self.remove_later(name)


def read_order(folder: str):
    """spec.json, or None where it is not whole. OSError where nobody can tell, for want of descriptors or memory."""
    try:
        with open(os.path.join(folder, "spec.json"), "rb") as file:
            order = json.loads(file.read().decode("utf-8"))
        for key in ("wanted", "reason", "made_at", "made_boot", "made_boottime"):
            order[key]
        shapes.check_spec(order["spec"])
    except OSError as error:
        if error.errno in proc.SHORTAGE:
            raise
        return None
    except (ValueError, KeyError, TypeError, Refused):
        return None
    return order


if __name__ == "__main__":
    sys.exit("run main.py")
