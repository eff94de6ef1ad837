"""Who a process is, and who is below it, as /proc tells. Used by the lean processes.

A process is a boot, a pid and a start time: a pid alone is never believed. It changes nothing but sends signals.
"""

import errno
import posix

import _signal

from . import linux

GONE = ("", 0, -1)
SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # why it can't be looked now: what is there may be there still
HIDDEN = (FileNotFoundError, PermissionError)  # /proc is mounted so that others' processes are not shown


def stat_of(pid: int):
    """(state, parent's pid, start time in ticks since boot); GONE where there is no such process."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return parsed(file.read())
    except (OSError, IndexError, ValueError):
        return GONE


def parsed(content: bytes):
    fields = content.rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[1]), int(fields[19])


def start_of(pid: int) -> int:
    return int(stat_of(pid)[2])


def lives(pid: int, start: int) -> bool:
    """That very process runs: not a later one of its number, not a zombie."""
    state, _, began = stat_of(pid)
    return began == start and state not in ("Z", "X", "x", "")


def ended(pid: int, start: int) -> bool:
    """That very process is known to be over. Not being able to look, for want of descriptors, is not knowing."""
    return not lives(pid, start) and (stat_of(pid) != GONE or not exists("/proc/%d" % pid))


def boot() -> str:
    """This boot: the kernel's boot id, the start of PID 1 and the PID namespace.

    Containers share the boot id with their host and keep it when they are started again; their PID 1 is another.
    OSError where it can't be looked up now, as for want of descriptors: a wrong answer would make all records void.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            kernel = file.read().strip()
    except HIDDEN:
        kernel = "-"
    try:
        with open("/proc/1/stat", "rb") as file:
            first = parsed(file.read())[2]
    except HIDDEN:
        first = -1
    try:
        space = posix.stat("/proc/self/ns/pid").st_ino
    except HIDDEN:
        space = 0
    return "%s.%d.%d" % (kernel, first, space)


def every():
    """The pids there are now."""
    return [int(name) for name in posix.listdir("/proc") if name.isdigit()]


def children_of(pid: int):
    """The direct children of a process. A child that appears meanwhile may be missed: look again until none is left.

    OSError where it can't be looked, for want of descriptors or memory.
    """
    found = []
    try:
        for task in posix.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task)) as file:
                found += [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        if exists("/proc/self/task/%d/children" % posix.getpid()):
            return found
        found = [other for other in every() if stat_of(other)[1] == pid]  # a kernel without CONFIG_PROC_CHILDREN
    except OSError as error:
        if error.errno in SHORTAGE:
            raise
    return found


def exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def descendants(pid: int):
    """[(pid, start)] of all that is below a process, parents first."""
    found, ahead = [], [pid]
    seen = {pid}
    while ahead:
        for child in children_of(ahead.pop()):
            if child not in seen:
                seen.add(child)
                ahead.append(child)
                found.append((child, start_of(child)))
    return [(child, start) for child, start in found if start >= 0]


def send(pid: int, start: int, number: int) -> bool:
    """Signal that very process. True if it was sent.

    With a pidfd nobody else can get it. On kernels before 5.3 a window remains between the look and the signal, in
    which the process would have to end, be reaped and its number given out again.
    """
    if pid <= 1:
        return False
    try:
        descriptor = linux.pidfd_open(pid)
    except OSError:
        return False
    try:
        if start_of(pid) != start:
            return False
        if descriptor < 0:
            posix.kill(pid, number)
        else:
            linux.pidfd_send_signal(descriptor, number)
    except OSError:
        return False
    finally:
        if descriptor >= 0:
            posix.close(descriptor)
    return True


def send_all(processes, number: int) -> None:
    """The signal, and SIGCONT so that what is stopped hears it."""
    for pid, start in processes:
        if send(pid, start, number) and number not in (_signal.SIGKILL, _signal.SIGSTOP):
            send(pid, start, _signal.SIGCONT)


def with_environment(entry: bytes):
    """[(pid, start)] of living processes that were started with this `NAME=value` in their environment.

    OSError where it can't be looked, for want of descriptors or memory.
    """
    found = []
    for pid in every():
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                content = file.read()
        except OSError as error:
            if error.errno in SHORTAGE:
                raise
            continue
        if entry in content and entry in content.split(b"\0"):
            state, _, start = stat_of(pid)
            if state not in ("Z", "X", "x", ""):
                found.append((pid, start))
    return found


def close_descriptors(keep) -> None:
    """Close whatever this process has open, but for those."""
    for name in posix.listdir("/proc/self/fd"):
        if int(name) not in keep:
            try:
                posix.close(int(name))
            except OSError:
                pass
