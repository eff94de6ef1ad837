"""The child of a shim on its way to being the program: what it is to execute, and how it becomes that.

Used by the lean processes. What a start needs is done here, and not in the shim, because all this memory is given back
when the program is executed. Nothing here runs in a shim itself.
"""

import errno
import posix
import time

import _signal

from . import linux, proc, records
from .complaints import complain

LOCK_WAIT_S = 5.0  # the shim of the run before leaves within milliseconds of being told to
OOM_RAISE = 500  # the program is taken before us; raising needs no privilege
GROUP_MARK = "cgroup"  # behind the number of a failure that is its control group's and not the program's


class Launch:
    """What to run, as the agent wrote it down: `key=value` items between NULs."""

    def __init__(self, content: bytes) -> None:
        self.run = 0
        self.executable = b""
        self.folder = b""
        self.core = False
        self.groups: "list[tuple[bytes, bool]]" = []  # folders of control groups, and whether they must be entered
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
            elif key == b"core":
                self.core = value == b"1"
            elif key == b"cgroup":
                self.groups.append((value, True))
            elif key == b"cgroup-if-allowed":
                self.groups.append((value, False))
            elif key == b"arg":
                self.arguments.append(value)
            elif key == b"env":
                name, _, text = value.partition(b"=")
                self.environment[name] = text


def pack_launch(run, executable, folder, arguments, environment, core=False, groups=()) -> bytes:
    """The launch file. `groups`: (folder of a control group, whether a failure to enter it is one of the start)."""
    items = [b"run=%d" % run, b"exe=" + executable, b"cwd=" + folder]
    items += [b"core=1"] if core else []
    items += [(b"cgroup=" if needed else b"cgroup-if-allowed=") + group for group, needed in groups]
    items += [b"arg=" + argument for argument in arguments]
    items += [b"env=" + name + b"=" + value for name, value in environment.items()]
    return b"\0".join(items)


def begin(root: str, name: str, boot: str, shim: int, lock: int) -> None:
    """In the fork: write down who this is, and become the program. Never returns.

    The lock is the shim's, and everybody's who has the same open file: taking it here is taking it there. With the lock
    held no other run can begin, so that a shim that is gone by then can be told from one that dies later.
    """
    status = 1
    try:
        posix.setsid()
        take_lock(lock)
        if posix.getppid() == shim:
            folder = root + "/instances/" + name
            launch = Launch(content_of(folder + "/launch"))
            path = "%s/exit/%d" % (folder, launch.run)
            record = records.Record(launch.run, boot)
            record.shim, record.shim_start = shim, proc.start_of(shim)
            record.pid, record.start = posix.getpid(), proc.start_of(posix.getpid())
            record.began = records.now()
            record.create(root, path)
            record.ended = "unexecutable " + become_program(launch, folder + "/log/pipe")
            record.ended_at, record.tree = records.now(), records.EMPTY
            write_at_last(record, path)
    except BlockingIOError:
        complain("shim %s: it runs already, below another shim" % name)
    except BaseException as error:
        complain("shim %s: %r" % (name, error))
    finally:
        posix._exit(status)


def take_lock(descriptor: int) -> None:
    """The lock of one instance. BlockingIOError when another shim keeps it."""
    end = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            linux.lock(descriptor)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def content_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def write_at_last(record, path: str) -> None:
    while True:
        try:
            record.write(path)
        except OSError:
            time.sleep(1)
        else:
            return


def become_program(launch: Launch, log: str) -> str:
    """Become as a program expects to be started, and execute it. Returns what failed."""
    try:
        reset_signals()
        linux.limit_core(launch.core)
        raise_oom_score()
        posix.umask(0o022)
        posix.chdir(launch.folder)
        null = posix.open("/dev/null", posix.O_RDWR)
        output = posix.open(log, posix.O_RDWR)
        failure = enter_groups(launch.groups)
        if failure:
            return failure
        posix.dup2(null, 0)
        posix.dup2(output, 1)
        posix.dup2(output, 2)
        posix.execve(launch.executable, launch.arguments, launch.environment)
    except OSError as error:
        return "%d" % (error.errno or errno.EIO)
    except ValueError:  # a NUL where none may be
        return "%d" % errno.EINVAL
    return ""


def reset_signals() -> None:
    for number in range(1, _signal.NSIG):
        linux.default_signal(number)  # those that can't be changed stay as they are
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def raise_oom_score() -> None:
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            score = min(1000, int(file.read()) + OOM_RAISE)
            file.seek(0)
            file.write(str(score))
    except (OSError, ValueError):
        pass


def enter_groups(groups) -> str:
    """Into each control group, before anything of the program runs. What failed, where that must not fail."""
    for group, needed in groups:
        try:
            descriptor = posix.open(group + b"/cgroup.procs", posix.O_WRONLY)
            try:
                posix.write(descriptor, b"0")
            finally:
                posix.close(descriptor)
        except OSError as error:
            if needed:
                return "%d %s" % (error.errno or errno.EIO, GROUP_MARK)
    return ""
