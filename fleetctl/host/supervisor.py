"""The one process per host that must not fail: it has shims forked, restarts the agent, keeps how orphans ended.

It has the nursery fork them, is lean (os, select, no json), and decides nothing about instances.
"""

import gc
import os
import select
import sys
import time

import _signal

from . import fifos, held, linux, proc, records, rootlock
from .complaints import complain
from .shims import Shims

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.dirname(HERE)  # <root>/program-<digest>
AGENT_PAUSE_S = 0.5  # before an agent is started again that died within AGENT_STEADY_S
AGENT_STEADY_S = 5.0
CHECK_S = 20.0
FAILED_PAUSE_S = 1.0
PASSED_ON = ("FLEETCTL_BOOT", "FLEETCTL_UNIT")  # what boot.py has to know; no program of a job sees them
RESTING = "resting"  # there from when a unit is stopped until a supervisor is started: see boot.py


def main(root: str, handshake: int, lock: int) -> int:
    """Supervise this root until killed. `handshake`: a descriptor that hears "ok" or "taken" (-1: nobody listens).

    `lock`: the descriptor of the lock kept over execution of a newer program, or -1.
    """
    gc.disable()  # nothing here makes cycles
    kept = held.inherited()
    proc.close_descriptors((0, 1, 2, handshake, lock, *kept.values()))
    os.chdir(root)
    if lock < 0:
        lock = rootlock.take()
    if lock < 0:
        if handshake < 0 and "FLEETCTL_UNIT" in os.environ:
            await_root(root)
        tell(handshake, b"taken")
        return 1
    os.set_inheritable(lock, False)
    open_log()
    linux.become_subreaper()
    linux.name_process("fleetctl-super")
    version, digest = program()
    rootlock.sign(lock, "%d %d %s %s %s\n" % (os.getpid(), proc.start_of(os.getpid()), version, digest, proc.boot()))
    stay()
    remember()
    supervisor = Supervisor(root, lock, version, digest, kept)
    tell(handshake, b"ok")
    supervisor.run()
    return 0


def program():
    """(version, digest) of the program these very files belong to."""
    with open(os.path.join(PROGRAM, "VERSION")) as file:
        return file.read().strip(), os.path.basename(PROGRAM).partition("-")[2]


def newer(version: str, than: str) -> bool:
    return [int(part) for part in version.split(".")] > [int(part) for part in than.split(".")]


def await_root(root: str) -> None:
    """A unit's supervisor beside one that was started otherwise: when that ends, the program then current is begun."""
    linux.name_process("fleetctl-waits")
    rootlock.await_free()
    execute(os.path.join(root, "boot"), "unit")


def stay() -> None:
    """Whatever ended the one before: this one is to be replaced when it dies."""
    try:
        os.unlink(RESTING)
    except OSError:
        pass


def remember() -> None:
    """Write down which program ran last: the one to begin after a reboot (see boot.py)."""
    name = os.path.basename(PROGRAM).encode() + b"\n"
    try:
        with open("program", "rb") as file:
            if file.read() == name:
                return
    except OSError:
        pass
    try:
        descriptor = os.open("program.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, name)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename("program.new", "program")
    except OSError as error:
        say("which program runs can't be written down: %s" % error)


def tell(handshake: int, word: bytes) -> None:
    if handshake >= 0:
        try:
            os.write(handshake, word)
        except OSError:
            pass
        os.close(handshake)


def open_log() -> None:
    """What this process and the agent have to complain of goes to agent.log."""
    null = os.open("/dev/null", os.O_RDWR)
    try:
        log = os.open("agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        log = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for descriptor in (null, log):
        if descriptor > 2:
            os.close(descriptor)


def say(text: str) -> None:
    complain("supervisor: " + text)


class Supervisor:
    def __init__(self, root: str, lock: int, version: str, digest: str, kept) -> None:
        self.root, self.lock = root, lock
        self.version, self.digest = version, digest
        self.held = kept  # {name: descriptor} that agents wanted to find again
        self.boot = proc.boot()
        self.wake = hear_children()
        self.orders = fifos.open_pipe("supervisor.ctl", os.O_NONBLOCK)
        self.poll = select.poll()
        self.poll.register(self.wake, select.POLLIN)
        self.poll.register(self.orders, select.POLLIN)
        self.shims = Shims(root, execute_role, self.shim_forked)
        self.agent = 0
        self.agent_began = 0.0
        self.agent_due = time.monotonic()
        self.requests = self.answers = self.holding = -1
        self.heard = {self.orders: b""}

    def run(self) -> None:
        while True:
            try:
                self.turn()
            except Exception as error:  # it must not fail: what went wrong is tried again
                say("%r" % error)
                time.sleep(FAILED_PAUSE_S)

    def turn(self) -> None:
        self.reap()  # before it waits: whoever ended before this program was executed wakes nobody any more
        if self.agent == 0 and time.monotonic() >= self.agent_due:
            self.start_agent()
        if self.shims.pause_s() == 0:
            self.start_nursery()
        for descriptor, _ in self.poll.poll(self.pause_ms()):
            if descriptor == self.wake:
                fifos.drain(self.wake)
            elif descriptor == self.shims.channel:
                if not self.shims.hear():
                    self.poll.unregister(descriptor)  # it died, and is reaped next
            elif descriptor == self.holding:
                self.hear_holding()
            else:
                self.hear(descriptor)

    def pause_ms(self):
        pauses = [] if self.agent else [max(0.0, self.agent_due - time.monotonic())]
        pauses += [] if self.shims.nursery else [self.shims.pause_s()]
        return int(min(pauses) * 1000) + 1 if pauses else None

    def hear(self, descriptor: int) -> None:
        content = fifos.drain(descriptor)
        if not content:  # the agent's end is closed: it died, and is reaped next
            self.poll.unregister(descriptor)
            return
        self.heard[descriptor] += content
        while b"\n" in self.heard[descriptor]:
            line, _, self.heard[descriptor] = self.heard[descriptor].partition(b"\n")
            try:
                self.obey(line.decode().split())
            except (ValueError, OSError) as error:
                say("%r: %r" % (line[:100], error))

    def hear_holding(self) -> None:
        try:
            if not held.receive(self.holding, self.held):
                self.poll.unregister(self.holding)
        except KeyError:
            pass  # its end was seen before
        except (OSError, ValueError) as error:
            say("what is to be held can't be read: %r" % error)

    def obey(self, words) -> None:
        if len(words) == 2 and words[0] == "shim":
            self.shims.want(words[1])
        elif len(words) == 3 and words[0] == "exec":
            self.execute(words[1], words[2])

    # The agent

    def start_agent(self) -> None:
        self.agent_began = time.monotonic()
        made: "list[int]" = []
        try:
            for pair in (os.pipe, os.pipe, held.pair):
                made += pair()
            pid = os.fork()
        except OSError as error:
            say("no agent: %s" % error)
            self.agent_due = time.monotonic() + AGENT_PAUSE_S
            for descriptor in made:
                os.close(descriptor)
            return
        requests_read, requests_write, answers_read, answers_write, holding, theirs = made
        if pid == 0:
            try:
                ends = (requests_write, answers_read, theirs)
                for descriptor in ends:
                    os.set_inheritable(descriptor, True)
                execute_role("agent", self.root, *map(str, ends), environment=held.handed_on(self.held))
            finally:
                os._exit(127)  # whatever fails: never a second supervisor
        for descriptor in (requests_write, answers_read, theirs):
            os.close(descriptor)
        os.set_blocking(requests_read, False)
        os.set_blocking(answers_write, False)
        self.agent, self.requests, self.answers, self.holding = pid, requests_read, answers_write, holding
        self.heard[requests_read] = b""
        self.poll.register(requests_read, select.POLLIN)
        self.poll.register(holding, select.POLLIN)

    def agent_ended(self, ended: str) -> None:
        lived = time.monotonic() - self.agent_began
        say("the agent %s after %.1f s" % (ended, lived))
        self.agent = 0
        self.agent_due = time.monotonic() + (0 if lived > AGENT_STEADY_S else AGENT_PAUSE_S)
        self.hear_holding()  # what it gave last may still be on its way
        for descriptor in (self.requests, self.holding):
            try:
                self.poll.unregister(descriptor)
            except KeyError:
                pass
        self.heard.pop(self.requests, None)
        for descriptor in (self.requests, self.answers, self.holding):
            os.close(descriptor)
        self.requests = self.answers = self.holding = -1

    # Shims

    def start_nursery(self) -> None:
        channel = self.shims.begin()
        if channel >= 0:
            self.poll.register(channel, select.POLLIN)

    def nursery_ended(self, ended: str) -> None:
        say("the nursery %s" % ended)
        try:
            self.poll.unregister(self.shims.channel)
        except KeyError:
            pass
        self.shims.ended()

    def shim_forked(self, name: str, pid: int, start: int) -> None:
        self.answer("shim %s %d %d" % (name, pid, start))

    def answer(self, text: str) -> None:
        try:
            os.write(self.answers, text.encode() + b"\n")
        except OSError:
            pass  # the agent is gone; the next one finds the shim by its record

    def reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            ended = records.describe(found.si_code, found.si_status)
            if found.si_pid not in (self.agent, self.shims.nursery):
                self.keep(found.si_pid, proc.start_of(found.si_pid), ended)
            os.waitpid(found.si_pid, 0)
            if found.si_pid == self.agent:
                self.agent_ended(ended)
            elif found.si_pid == self.shims.nursery:
                self.nursery_ended(ended)

    def keep(self, pid: int, start: int, ended: str) -> None:
        """Where this is a program whose shim was killed, put its end where its shim would have."""
        try:
            names = os.listdir("instances")
        except OSError:
            return
        for name in names:
            try:
                if self.was(name, pid, start, ended):
                    return
            except OSError as error:
                say("how %d ended can't be kept in %s: %s" % (pid, name, error))

    def was(self, name: str, pid: int, start: int, ended: str) -> bool:
        """It was the program of that instance's newest run: its end is on record now."""
        folder = os.path.join("instances", name, "exit")
        for run in records.runs(folder)[-1:]:
            path = os.path.join(folder, str(run))
            record = records.read(path)
            if record is not None and (record.pid, record.start) == (pid, start):
                if record.ended == records.PENDING:
                    record.ended, record.ended_at = ended, records.now()
                    record.write(path)
                    fifos.ring("doorbell", name)
                return True
        return False

    # Upgrades

    def execute(self, digest: str, version: str) -> None:
        """Become the new program, with the same pid, the same lock and the same children; never an older one."""
        if digest == self.digest or newer(self.version, version) or not digest.isalnum():
            return
        main_file = os.path.join(self.root, "program-" + digest, os.path.basename(HERE), "main.py")
        if not sound(main_file):
            say("program %s does not run here: staying with %s" % (digest, self.digest))
            return
        say("executing version %s, %s" % (version, digest))
        if self.agent:
            os.kill(self.agent, _signal.SIGKILL)  # which loses nothing, by design
            os.waitpid(self.agent, 0)
            self.hear_holding()
        os.set_inheritable(self.lock, True)
        reset_signals()
        environment = held.handed_on(self.held)
        execute(main_file, "supervisor", self.root, "-1", str(self.lock), environment=environment)


def hear_children() -> int:
    """A descriptor that is readable when a child ended. What ends sessions does not end the supervisor."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    for number in (_signal.SIGINT, _signal.SIGHUP, _signal.SIGPIPE, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_IGN)
    _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    _signal.set_wakeup_fd(wake_write)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    return wake_read


def reset_signals() -> None:
    _signal.set_wakeup_fd(-1)
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGCHLD):
        _signal.signal(number, _signal.SIG_DFL)


def execute_role(role: str, *arguments: str, environment=()) -> None:
    """Become another process of this very program. Never returns."""
    reset_signals()
    execute(os.path.join(HERE, "main.py"), role, *arguments, environment=environment)


def execute(main_file: str, *arguments: str, environment=()) -> None:
    """Become that program. Never returns."""
    variables = dict(environment, PATH=os.environ.get("PATH", "/usr/bin:/bin"), LANG="C.UTF-8")
    variables.update((name, os.environ[name]) for name in PASSED_ON if name in os.environ)
    try:
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-E", main_file, *arguments], variables)
    except OSError as error:
        say("%s: %s" % (sys.executable, error))
    os._exit(127)


def sound(main_file: str) -> bool:
    """The program there runs under this Python."""
    pid = os.fork()
    if pid == 0:
        reset_signals()
        execute(main_file, "check")
    end = time.monotonic() + CHECK_S
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status == 0
        time.sleep(0.02)
    os.kill(pid, _signal.SIGKILL)
    os.waitpid(pid, 0)
    return False
