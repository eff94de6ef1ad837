"""System calls that Python 3.6 does not have, or has only in modules that are heavy. It decides nothing.

Every function raises OSError as os would. It uses what `ctypes` is made of and not that package, which loads `os` and
much else that each shim would pay for. A call that takes long keeps no other thread of the agent from running.
"""

import posix
import sys

import _ctypes

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
SYS_PIDFD_SEND_SIGNAL, SYS_PIDFD_OPEN = 424, 434  # the same on every architecture Debian builds for
SPLICE_F_NONBLOCK = 2
F_SETPIPE_SZ = 1031
RLIMIT_CORE = 4
CLD_EXITED, CLD_KILLED, CLD_DUMPED = 1, 2, 3  # not all of them names in `os` before 3.9
CLOCK_BOOTTIME = 7  # a name in `time` only from 3.7
LOCK_EX, LOCK_NB = 2, 4
WANTED = int.from_bytes((1).to_bytes(2, sys.byteorder) + b"\0\0", sys.byteorder)  # POLLIN, and room for what is so
PIPE_BYTES = 256 * 1024  # a plain user has room for 256 pipes of this size; of 1 MiB only for 64
SIGNALS_BYTES = 128  # of a sigset_t, in every libc


class Int(_ctypes._SimpleCData):
    _type_ = "i"


class UnsignedInt(_ctypes._SimpleCData):
    _type_ = "I"


class Long(_ctypes._SimpleCData):
    _type_ = "l"


class UnsignedLong(_ctypes._SimpleCData):
    _type_ = "L"


class LongLong(_ctypes._SimpleCData):
    _type_ = "q"


class Pointer(_ctypes._SimpleCData):
    _type_ = "P"


class Char(_ctypes._SimpleCData):
    _type_ = "c"


class Signals(_ctypes.Array):
    _type_, _length_ = Char, SIGNALS_BYTES


class Limits(_ctypes.Array):
    _type_, _length_ = UnsignedLong, 2  # soft, hard


class Waits(_ctypes.Array):
    """Room for what `wait_readable` waits for: up to four descriptors."""

    _type_, _length_ = Int, 8  # of each the descriptor, then what is wanted and what is so


class Ends(_ctypes.Array):
    """Of a pipe."""

    _type_, _length_ = Int, 2


class Ended(_ctypes.Array):
    """Of a child: a siginfo_t, in which PID_AT is its pid."""

    _type_, _length_ = Int, 32


PID_AT = 4 if _ctypes.sizeof(Pointer) == 8 else 3


class Room(_ctypes.Array):
    """For bytes that are read."""

    _type_, _length_ = Char, 128


class _IntCall(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = Int


class _LongCall(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = Long


class _BareCall(_ctypes.CFuncPtr):
    """Keeps the interpreter's lock: nothing of the interpreter is touched, and a fork finds it as it is."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO | _ctypes.FUNCFLAG_PYTHONAPI
    _restype_ = Int


_itself = _ctypes.dlopen(None, 2)  # RTLD_NOW


def function(name: str, kind=_IntCall):
    """That function of the C library."""
    return kind(_ctypes.dlsym(_itself, name))


def bare_function(name: str):
    """The same, for a process without threads that is to touch as little as can be."""
    return function(name, _BareCall)


_poll = function("poll")
_prctl = function("prctl")
_signal = function("signal")
_signalfd = function("signalfd")
_sigaddset = function("sigaddset")
_flock = function("flock")
_fcntl = function("fcntl")
_getrlimit = function("getrlimit")
_setrlimit = function("setrlimit")
_syscall = function("syscall", _LongCall)
_splice = function("splice", _LongCall)
_tee = function("tee", _LongCall)
_tee.argtypes = (Int, Int, UnsignedLong, UnsignedInt)
_splice.argtypes = (Int, Pointer, Int, Pointer, UnsignedLong, UnsignedInt)


def _checked(result):
    if result < 0:
        number = _ctypes.get_errno()
        raise OSError(number, posix.strerror(number))
    return result


def errno() -> int:
    """Of the function called last, where it failed."""
    return int(_ctypes.get_errno())


def wait_for(room, descriptors) -> int:
    """Fill the room with descriptors to wait for; their number."""
    for index, descriptor in enumerate(descriptors):
        room[2 * index], room[2 * index + 1] = descriptor, WANTED
    return len(descriptors)


def wait_readable(room, count: int, timeout_ms: int) -> int:
    """How many of the room's first `count` descriptors can be read; 0 when the time is over, -1: without end."""
    return int(_poll(room, count, timeout_ms))


def ignore_signal(number: int) -> None:
    _signal(number, Pointer(1))


def default_signal(number: int) -> None:
    _signal(number, None)


def signal_descriptor(number: int) -> int:
    """A descriptor that is readable when that signal, which must be blocked, waits for whoever looks: forks too."""
    signals = Signals()
    _checked(_sigaddset(signals, number))
    return int(_checked(_signalfd(-1, signals, posix.O_CLOEXEC | posix.O_NONBLOCK)))


def lock(descriptor: int) -> None:
    """The lock of an open file, for as long as anybody has it open. BlockingIOError where somebody else has it."""
    _checked(_flock(descriptor, LOCK_EX | LOCK_NB))


def await_lock(descriptor: int) -> None:
    """As `lock`, however long it takes."""
    _checked(_flock(descriptor, LOCK_EX))


def set_pipe_bytes(descriptor: int, count: int) -> None:
    _checked(_fcntl(descriptor, F_SETPIPE_SZ, count))


def become_subreaper() -> None:
    """From now on orphans below this process become its children, not init's. Kept over exec, not over fork."""
    _checked(_prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends."""
    _checked(_prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0))


def name_process(name: str) -> None:
    """What `ps -o comm` and `top` show, 15 bytes."""
    _checked(_prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0))


def limit_core(allowed: bool) -> None:
    """Core files as large as the hard limit lets them be, or none at all."""
    limits = Limits(0, 0)
    if allowed:
        _checked(_getrlimit(RLIMIT_CORE, limits))
        limits[0] = limits[1]
    _checked(_setrlimit(RLIMIT_CORE, limits))


def pidfd_open(pid: int) -> int:
    """A descriptor that means this process and no later one of its number; readable when it ended. -1: no such call."""
    descriptor = _syscall(Long(SYS_PIDFD_OPEN), pid, 0)
    if descriptor < 0:
        number = _ctypes.get_errno()
        if number in (1, 22, 38):  # EPERM under a seccomp filter, EINVAL, ENOSYS: a kernel before 5.3
            return -1
        raise OSError(number, posix.strerror(number))
    posix.set_inheritable(descriptor, False)
    return int(descriptor)


def pidfd_send_signal(descriptor: int, number: int) -> None:
    _checked(_syscall(Long(SYS_PIDFD_SEND_SIGNAL), descriptor, number, None, 0))


def splice_to_file(pipe: int, target: int, offset: int, count: int) -> int:
    """Move up to `count` bytes from a pipe to a file at `offset`, with no copy of them in this process.

    What fails (ENOSPC) leaves the bytes in the pipe; EAGAIN says that the pipe is empty. `target` without O_APPEND.
    """
    place = LongLong(offset)
    where = Pointer(_ctypes.addressof(place))
    return int(_checked(_splice(pipe, None, target, where, count, SPLICE_F_NONBLOCK)))


def splice_away(pipe: int, null: int, count: int) -> int:
    """Throw away up to `count` bytes of a pipe (`null` is /dev/null, open for writing)."""
    return int(_checked(_splice(pipe, None, null, None, count, SPLICE_F_NONBLOCK)))


def tee(pipe: int, other: int, count: int) -> int:
    """Copy up to `count` bytes into another pipe and leave them where they are."""
    return int(_checked(_tee(pipe, other, count, SPLICE_F_NONBLOCK)))
