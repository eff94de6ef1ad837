"""The parent of one program: a fork of the supervisor that never executes anything itself.

It holds the instance's lock, records the program before letting it begin and its end when it comes, signals its tree,
and stays until the agent has read both the record and the last of the log. It must import nothing more once forked.
"""

import errno
import fcntl
import os
import resource
import select
import signal
import time

from . import linux, proc, records

LOG_BYTES_MAX = 1024 * 1024  # of agent.log
PIPE_BYTES = 256 * 1024  # a plain user has room for 256 pipes of this size; of 1 MiB only for 64
LOCK_WAIT_S = 5.0  # the shim of the run before leaves within milliseconds of being told to
SWEEP_PAUSE_MS, SWEEP_ROUNDS, SWEEP_SLOW_MS = 2, 1000, 500  # what outlives two seconds of it sleeps in the kernel
OOM_RAISE = 500  # the program is taken before us; raising needs no privilege


class Launch:
    """What to run, as the agent wrote it down: `key=value` items between NULs."""

    def __init__(self, content: bytes) -> None:
        self.run = 0
        self.executable = b""
        self.folder = b""
        self.arguments: "list[bytes]" = []
        self.environment: "dict[bytes, bytes]" = {}
        for item in content.split(b"\0"):
            key, _, value = item.partition(b"=")
            if key == b"run":
                self.run = int(value)
            elif key == b"exe":
                self.executable = value
            elif key == b"cwd":
                self.folder = value
            elif key == b"arg":
                self.arguments.append(value)
            elif key == b"env":
                name, _, text = value.partition(b"=")
                self.environment[name] = text


def pack_launch(run, executable, folder, arguments, environment) -> bytes:
    items = [b"run=%d" % run, b"exe=" + executable, b"cwd=" + folder]
    items += [b"arg=" + argument for argument in arguments]
    items += [b"env=" + name + b"=" + value for name, value in environment.items()]
    return b"\0".join(items)


def main(root: str, name: str, boot: str) -> None:
    """Run the instance's program once. Called in the fork; ends with the process."""
    status = 1
    try:
        proc.close_descriptors((0, 1, 2))
        os.setsid()
        linux.become_subreaper()
        linux.name_process("shim " + name)
        status = Shim(root, name, boot).run()
    except BlockingIOError:
        status = 75  # another shim has this instance
    except BaseException as error:
        complain("shim %s: %r" % (name, error))
    finally:
        os._exit(status)


def complain(text: str) -> None:
    """To agent.log, which is emptied when it is full: nobody's complaints may fill a disk."""
    try:
        if os.fstat(2).st_size > LOG_BYTES_MAX:
            os.ftruncate(2, 0)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.write(2, ("%s %s\n" % (stamp, text)).encode("utf-8", "replace"))
    except OSError:
        pass


def fifo(path: str) -> None:
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass


def open_pipe(path: str, flags: int) -> int:
    """A FIFO with a reader and a writer in one: it never ends, and never lacks a reader."""
    fifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags)
    try:
        fcntl.fcntl(descriptor, linux.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # over the user's share of pipe memory: it stays at what it got
    return descriptor


class Shim:
    def __init__(self, root: str, name: str, boot: str) -> None:
        self.root, self.name = root, name
        self.folder = os.path.join(root, "instances", name)
        self.lock = take_lock(os.path.join(self.folder, "shim.lock"))
        with open(os.path.join(self.folder, "launch"), "rb") as file:
            self.launch = Launch(file.read())
        self.path = os.path.join(self.folder, "exit", str(self.launch.run))
        self.record = records.Record(self.launch.run, boot)
        self.unsaved = False
        self.sweeping = False
        self.rounds = 0
        self.dismissed = False

    def run(self) -> int:
        self.record.shim, self.record.shim_start = os.getpid(), proc.start_of(os.getpid())
        self.record.create(self.path)
        orders = open_pipe(os.path.join(self.folder, "ctl"), os.O_NONBLOCK)
        log = open_pipe(os.path.join(self.folder, "log", "pipe"), os.O_NONBLOCK)  # held so that no byte is lost
        wake = hear_children()
        self.begin()
        poll = select.poll()
        poll.register(orders, select.POLLIN)
        poll.register(wake, select.POLLIN)
        heard = b""
        while not self.dismissed:
            for descriptor, _ in poll.poll(self.pause_ms()):
                if descriptor == wake:
                    drain(wake)
                else:
                    heard += drain(orders)
            while b"\n" in heard:
                line, _, heard = heard.partition(b"\n")
                self.obey(line.split())
            self.look()
        os.close(log)
        return 0

    def pause_ms(self):
        if self.sweeping:
            return SWEEP_PAUSE_MS if self.rounds < SWEEP_ROUNDS else SWEEP_SLOW_MS
        return 1000 if self.unsaved else None

    def begin(self) -> None:
        """Fork the program, write down who it is, and only then let it go."""
        said_read, said_write = os.pipe()
        go_read, go_write = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:
            self.end("unexecutable %d" % (error.errno or 0))
            return
        if pid == 0:
            os.close(said_read)
            os.close(go_write)
            become_program(self.launch, os.path.join(self.folder, "log", "pipe"), said_write, go_read)
        os.close(said_write)
        os.close(go_read)
        try:
            os.read(said_read, 1)  # it has a session of its own now
            self.record.pid, self.record.start = pid, proc.start_of(pid)
            self.record.began = now()
            self.record.write(self.path)
            os.write(go_write, b"g")
        finally:
            os.close(go_write)
        failure = os.read(said_read, 16)  # nothing: it was executed, which closed the other end
        os.close(said_read)
        if failure.isdigit():
            os.waitpid(pid, 0)
            self.end("unexecutable %d" % int(failure))
            return
        ring(os.path.join(self.root, "doorbell"), self.name)

    def obey(self, words) -> None:
        if words[:1] == [b"term"] and words[1:] and words[1].isdigit():
            proc.send_all(proc.descendants(os.getpid()), int(words[1]))
        elif words == [b"kill"]:
            self.sweeping, self.rounds = True, 0
        elif words == [b"done", b"%d" % self.record.run]:
            self.dismissed = self.record.tree == records.EMPTY

    def look(self) -> None:
        """Reap what ended, sweep what is to end, and write down what that changed."""
        empty = False
        ended = None
        if self.sweeping:
            self.rounds += 1
            for pid, start in proc.descendants(os.getpid()):
                proc.send(pid, start, signal.SIGKILL)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                empty = True  # no child, so nothing below either: orphans would be our children
                break
            if pid == 0:
                break
            if pid == self.record.pid:
                ended = records.describe(status)
        if ended is not None and self.record.ended == records.PENDING:
            self.record.ended, self.record.ended_at = ended, now()
            self.record.tree = records.EMPTY if empty else records.LEFT
            self.unsaved = True
        elif empty and self.record.tree == records.LEFT:
            self.record.tree = records.EMPTY
            self.unsaved = True
        if empty:
            self.sweeping = False
        self.save()

    def end(self, ended: str) -> None:
        self.record.ended, self.record.ended_at, self.record.tree = ended, now(), records.EMPTY
        self.unsaved = True
        self.save()

    def save(self) -> None:
        if not self.unsaved:
            return
        try:
            self.record.write(self.path)
        except OSError:
            return  # tried again every second
        self.unsaved = False
        ring(os.path.join(self.root, "doorbell"), self.name)


def ring(bell: str, name: str) -> None:
    """Tell the agent to read this instance's record. Where none listens, the next one reads all records first."""
    try:
        descriptor = os.open(bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, name.encode() + b"\n")
    except OSError:
        pass
    finally:
        os.close(descriptor)


def become_program(launch: Launch, log: str, said: int, go: int) -> None:
    """In the child: wait for the word, become as a program expects to be started, and execute it. Never returns."""
    try:
        os.setsid()
        os.write(said, b"s")
        if os.read(go, 1) != b"g":
            os._exit(127)
        signal.set_wakeup_fd(-1)
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    signal.signal(number, signal.SIG_DFL)
                except (OSError, ValueError, RuntimeError):
                    pass
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        raise_oom_score()
        os.umask(0o022)
        os.chdir(launch.folder)
        null = os.open("/dev/null", os.O_RDWR)
        output = os.open(log, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execve(launch.executable, launch.arguments, launch.environment)
    except OSError as error:
        os.write(said, b"%d" % (error.errno or errno.EIO))
    except BaseException:
        os.write(said, b"%d" % errno.EINVAL)
    finally:
        os._exit(127)


def raise_oom_score() -> None:
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            score = min(1000, int(file.read()) + OOM_RAISE)
            file.seek(0)
            file.write(str(score))
    except (OSError, ValueError):
        pass


def take_lock(path: str) -> int:
    """The lock of one instance: it goes with this process. BlockingIOError when another keeps it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return descriptor


def hear_children() -> int:
    """A descriptor that is readable when a child ended. What ends sessions and shutdowns does not end the shim."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return wake_read


def drain(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def now() -> str:
    return "%.3f" % time.clock_gettime(linux.CLOCK_BOOTTIME)
