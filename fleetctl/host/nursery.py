"""Forks the shims, and does nothing else. The supervisor names an instance in each message, and is told the pid.

A shim has all memory in common with this process that neither of them touches: a page is one more of its own when a
single count of references in it changes, here or there, after the fork. So this process loads next to nothing (no `os`,
no `signal`), and what it does over and over, and what a shim does until something happens to it, is this one file: C
functions that lie side by side, called with what was made ready before. All that a shim may need later is loaded, too.

Its death harms nobody: shims then belong to the supervisor.
"""

import gc
import posix

import _signal

from . import child, linux, proc, shim

NAME_BYTES = 128
SIGCHLD = _signal.SIGCHLD
IGNORED = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGPIPE, _signal.SIGQUIT, SIGCHLD)
CLOSED = posix.O_CLOEXEC
LOCK, OPEN_LOCK = b"/shim.lock", posix.O_RDWR | posix.O_CREAT | CLOSED
ORDERS, OPEN_ORDERS = b"/ctl", posix.O_RDWR | posix.O_NONBLOCK | CLOSED
OUTPUT, OPEN_OUTPUT = b"/log/pipe", posix.O_RDWR | CLOSED
OPEN_BELL = posix.O_WRONLY | posix.O_NONBLOCK | CLOSED
WANTED, PID_AT, ENDED_YET = linux.WANTED, linux.PID_AT, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT
RING_AGAIN_MS = 1000
COMM, LINE_END = b"shim ", b"\n"
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = linux.PR_SET_NAME, linux.PR_SET_CHILD_SUBREAPER
F_SETPIPE_SZ, PIPE_BYTES = linux.F_SETPIPE_SZ, linux.PIPE_BYTES

bare = linux.bare_function
fork, getpid, setsid = bare("fork"), bare("getpid"), bare("setsid")
read, write, close = bare("read"), bare("write"), bare("close")
open_file, make_fifo, set_file = bare("open"), bare("mkfifo"), bare("fcntl")
make_pipe, poll = bare("pipe2"), bare("poll")
set_process, set_signal = bare("prctl"), bare("signal")
wait_id, wait_pid = bare("waitid"), bare("waitpid")
room, ends, waits, ended = linux.Room(), linux.Ends(), linux.Waits(), linux.Ended()


def main(root: str, channel: int) -> int:
    """Until the supervisor's end of the channel is closed."""
    gc.disable()  # a collection would touch all objects that the shims have in common
    proc.close_descriptors((0, 1, 2, channel))
    posix.set_inheritable(channel, False)
    posix.chdir(root)
    linux.name_process("fleetctl-nurse")
    hearing = hear_children()
    linux.wait_for(waits, (channel, hearing))
    give_back()
    place = root.encode("utf-8", "surrogateescape")  # as os.fsencode does it
    folder, bell, known = place + b"/instances/", place + b"/doorbell", (root, proc.boot())
    while True:
        count = read(channel, room, NAME_BYTES)
        if count <= 0:
            return 0
        pid = fork()
        if pid == 0:
            live(folder, room[:count], bell, hearing, channel, known)
        said = b"%d" % pid  # -1: there is no room for another process
        write(channel, said, len(said))


def give_back() -> None:
    """What loading took and does not need any more: each shim would have its part of it."""
    try:
        bare("malloc_trim")(0)
    except (AttributeError, OSError):
        pass  # a libc without it


def hear_children() -> int:
    """A descriptor on which each shim hears that a child of it ended. What ends sessions and shutdowns ends none of us.

    Our own children, the shims, are reaped by the kernel.
    """
    for number in IGNORED:
        linux.ignore_signal(number)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [SIGCHLD])
    return linux.signal_descriptor(SIGCHLD)


def live(folder: bytes, name: bytes, bell: bytes, hearing: int, channel: int, known) -> None:
    """In the fork: be the shim of that instance, until the process ends.

    `hearing`: readable when a child ended; `channel`: the nursery's own, which is closed; `known`: (root, boot).
    """
    close(channel)
    setsid()
    set_process(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    set_process(PR_SET_NAME, COMM + name, 0, 0, 0)
    set_signal(SIGCHLD, None)
    folder += name
    lock = open_file(folder + LOCK, OPEN_LOCK, 0o600)
    orders = open_pipe(folder + ORDERS, OPEN_ORDERS)
    output = open_pipe(folder + OUTPUT, OPEN_OUTPUT)  # held, so that what is in it is kept while no agent reads
    if lock < 0 or orders < 0 or output < 0 or make_pipe(ends, CLOSED) < 0:
        shim.fail(name)
    executed, execution = ends
    shim_pid = getpid()
    pid = fork()
    if pid == 0:
        child.begin(known[0], name.decode(), known[1], shim_pid, lock)
    if pid < 0:
        shim.fail(name)
    close(execution)
    read(executed, room, 1)  # its end comes when the program is executed, or will never be
    close(executed)
    ring(bell, name)
    waits[0] = orders
    while poll(waits, 2, -1) < 1 or was_orphans(pid, hearing):
        pass
    shim.run_on(known[0], name.decode(), orders, hearing)


def was_orphans(program: int, hearing: int) -> bool:
    """Nothing happened but that orphans ended, which are reaped: no reason to wake up to more."""
    if waits[1] != WANTED:
        return False  # a word came
    read(hearing, room, NAME_BYTES)
    while True:
        ended[PID_AT] = 0
        if wait_id(posix.P_ALL, 0, ended, ENDED_YET) < 0 or ended[PID_AT] == program:
            return False
        if ended[PID_AT] == 0:
            return True
        wait_pid(ended[PID_AT], None, 0)


def open_pipe(path: bytes, flags: int) -> int:
    """As in fifos.py, by what shims have in common."""
    make_fifo(path, 0o600)
    descriptor = open_file(path, flags)
    set_file(descriptor, F_SETPIPE_SZ, PIPE_BYTES)
    return int(descriptor)


def ring(bell: bytes, name: bytes) -> None:
    """As in fifos.py, by what shims have in common."""
    descriptor = open_file(bell, OPEN_BELL)
    line = name + LINE_END
    if write(descriptor, line, len(line)) < 0:
        ring_again(bell, line)
    close(descriptor)


def ring_again(bell: bytes, line: bytes) -> None:
    """Until the agent was told: the bell was full, or there was no descriptor. Where none listens, it reads it all."""
    while True:
        descriptor = open_file(bell, OPEN_BELL)
        if descriptor < 0 and linux.errno() not in proc.SHORTAGE:
            return
        written = write(descriptor, line, len(line))
        close(descriptor)
        if written > 0:
            return
        poll(waits, 0, RING_AGAIN_MS)
