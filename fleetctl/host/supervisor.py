"""The one process per host that must not fail: it forks the shims, restarts the agent, keeps how orphans ended.

It is lean (os, select, signal, fcntl, ctypes) because every shim is a fork of it, and decides nothing about instances.
"""

import fcntl
import gc
import os
import select
import signal
import sys
import time

from . import linux, proc, records, shim

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.dirname(HERE)  # <root>/program-<digest>
AGENT_PAUSE_S = 0.5  # before an agent is started again that died within AGENT_STEADY_S
AGENT_STEADY_S = 5.0
CHECK_S = 20.0


def main(root: str, handshake: int, lock: int) -> int:
    """Supervise this root until killed. `handshake`: a descriptor that hears "ok" or "taken" (-1: nobody listens).

    `lock`: the descriptor of the lock kept over execution of a newer program, or -1.
    """
    gc.disable()  # nothing here makes cycles, and a collection would unshare memory from every shim
    proc.close_descriptors((0, 1, 2, handshake, lock))
    os.chdir(root)
    if lock < 0:
        lock = take_root()
    if lock < 0:
        tell(handshake, b"taken")
        return 1
    os.set_inheritable(lock, False)
    open_log()
    linux.become_subreaper()
    linux.name_process("fleetctl-super")
    version, digest = program()
    sign(lock, "%d %d %s %s %s\n" % (os.getpid(), proc.start_of(os.getpid()), version, digest, proc.boot()))
    supervisor = Supervisor(root, lock, version, digest)
    tell(handshake, b"ok")
    supervisor.run()
    return 0


def program():
    """(version, digest) of the program these very files belong to."""
    with open(os.path.join(PROGRAM, "VERSION")) as file:
        return file.read().strip(), os.path.basename(PROGRAM).partition("-")[2]


def newer(version: str, than: str) -> bool:
    return [int(part) for part in version.split(".")] > [int(part) for part in than.split(".")]


def take_root() -> int:
    """The lock that makes a supervisor the only one of its root, or -1."""
    descriptor = os.open("supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor


def sign(lock: int, text: str) -> None:
    os.pwrite(lock, text.encode().ljust(256), 0)


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
    shim.complain("supervisor: " + text)


class Supervisor:
    def __init__(self, root: str, lock: int, version: str, digest: str) -> None:
        self.root, self.lock = root, lock
        self.version, self.digest = version, digest
        self.boot = proc.boot()
        self.wake = shim.hear_children()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.orders = shim.open_pipe("supervisor.ctl", os.O_NONBLOCK)
        self.poll = select.poll()
        self.poll.register(self.wake, select.POLLIN)
        self.poll.register(self.orders, select.POLLIN)
        self.agent = 0
        self.agent_began = 0.0
        self.agent_due = time.monotonic()
        self.requests = self.answers = -1
        self.heard = {self.orders: b""}

    def run(self) -> None:
        while True:
            if self.agent == 0 and time.monotonic() >= self.agent_due:
                self.start_agent()
            pause = None if self.agent else max(0, int((self.agent_due - time.monotonic()) * 1000) + 1)
            for descriptor, _ in self.poll.poll(pause):
                if descriptor == self.wake:
                    shim.drain(self.wake)
                else:
                    self.hear(descriptor)
            self.reap()

    def hear(self, descriptor: int) -> None:
        content = shim.drain(descriptor)
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

    def obey(self, words) -> None:
        if len(words) == 2 and words[0] == "shim":
            self.start_shim(words[1])
        elif len(words) == 3 and words[0] == "exec":
            self.execute(words[1], words[2])

    # The agent

    def start_agent(self) -> None:
        requests_read, requests_write = os.pipe()
        answers_read, answers_write = os.pipe()
        self.agent_began = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:
            say("no agent: %s" % error)
            self.agent_due = time.monotonic() + AGENT_PAUSE_S
            for descriptor in (requests_read, requests_write, answers_read, answers_write):
                os.close(descriptor)
            return
        if pid == 0:
            reset_signals()
            os.set_inheritable(requests_write, True)
            os.set_inheritable(answers_read, True)
            execute(os.path.join(HERE, "main.py"), "agent", self.root, str(requests_write), str(answers_read))
        os.close(requests_write)
        os.close(answers_read)
        os.set_blocking(requests_read, False)
        os.set_blocking(answers_write, False)
        self.agent, self.requests, self.answers = pid, requests_read, answers_write
        self.heard[requests_read] = b""
        self.poll.register(requests_read, select.POLLIN)

    def agent_ended(self, status: int) -> None:
        lived = time.monotonic() - self.agent_began
        say("the agent %s after %.1f s" % (records.describe(status), lived))
        self.agent = 0
        self.agent_due = time.monotonic() + (0 if lived > AGENT_STEADY_S else AGENT_PAUSE_S)
        try:
            self.poll.unregister(self.requests)
        except KeyError:
            pass
        self.heard.pop(self.requests, None)
        os.close(self.requests)
        os.close(self.answers)
        self.requests = self.answers = -1

    # Shims

    def start_shim(self, name: str) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self.answer("shim %s 0 %d" % (name, error.errno or 0))
            return
        if pid == 0:
            signal.set_wakeup_fd(-1)
            shim.main(self.root, name, self.boot)
        self.answer("shim %s %d %d" % (name, pid, proc.start_of(pid)))

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
            start = proc.start_of(found.si_pid)
            pid, status = os.waitpid(found.si_pid, 0)
            if pid == self.agent:
                self.agent_ended(status)
                continue
            try:
                self.keep(pid, start, status)
            except OSError as error:
                say("how %d ended can't be kept: %s" % (pid, error))

    def keep(self, pid: int, start: int, status: int) -> None:
        """Where this is a program whose shim was killed, put its end where its shim would have."""
        try:
            names = os.listdir("instances")
        except OSError:
            return
        for name in names:
            folder = os.path.join("instances", name, "exit")
            for run in records.runs(folder)[-1:]:
                path = os.path.join(folder, str(run))
                record = records.read(path)
                if record is not None and (record.pid, record.start) == (pid, start):
                    if record.ended == records.PENDING:
                        record.ended, record.ended_at = records.describe(status), shim.now()
                        record.write(path)
                        shim.ring("doorbell", name)
                    return

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
            os.kill(self.agent, signal.SIGKILL)  # which loses nothing, by design
            os.waitpid(self.agent, 0)
        os.set_inheritable(self.lock, True)
        reset_signals()
        execute(main_file, "supervisor", self.root, "-1", str(self.lock))


def reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def execute(main_file: str, *arguments: str) -> None:
    """Become that program. Never returns."""
    try:
        os.execve(
            sys.executable,
            [sys.executable, "-I", "-S", "-E", main_file, *arguments],
            {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"},
        )
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
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False
