"""System calls that Python 3.6 does not have, by ctypes. Used by the lean processes: it imports nothing but ctypes.

Every function raises OSError as os would. It decides nothing.
"""

import ctypes
import os
import signal

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
SYS_PIDFD_SEND_SIGNAL, SYS_PIDFD_OPEN = 424, 434  # the same on every architecture Debian builds for
SPLICE_F_NONBLOCK = 2
F_SETPIPE_SZ = 1031
CLOCK_BOOTTIME = 7  # a name in `time` only from 3.7

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.splice.restype = ctypes.c_ssize_t
_libc.splice.argtypes = (
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_uint,
)
_libc.tee.restype = ctypes.c_ssize_t
_libc.tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)


def _checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def become_subreaper() -> None:
    """From now on orphans below this process become its children, not init's. Kept over exec, not over fork."""
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends."""
    _checked(_libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))


def name_process(name: str) -> None:
    """What `ps -o comm` and `top` show, 15 bytes."""
    _checked(_libc.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0))


def pidfd_open(pid: int) -> int:
    """A descriptor that means this process and no later one of its number; readable when it ended. -1: no such call."""
    descriptor = _libc.syscall(ctypes.c_long(SYS_PIDFD_OPEN), ctypes.c_int(pid), ctypes.c_uint(0))
    if descriptor < 0:
        number = ctypes.get_errno()
        if number in (1, 22, 38):  # EPERM under a seccomp filter, EINVAL, ENOSYS: a kernel before 5.3
            return -1
        raise OSError(number, os.strerror(number))
    os.set_inheritable(descriptor, False)
    return int(descriptor)


def pidfd_send_signal(descriptor: int, number: int) -> None:
    _checked(
        _libc.syscall(
            ctypes.c_long(SYS_PIDFD_SEND_SIGNAL),
            ctypes.c_int(descriptor),
            ctypes.c_int(number),
            ctypes.c_void_p(None),
            ctypes.c_uint(0),
        )
    )


def splice_to_file(pipe: int, target: int, offset: int, count: int) -> int:
    """Move up to `count` bytes from a pipe to a file at `offset`, with no copy of them in this process.

    What fails (ENOSPC) leaves the bytes in the pipe; EAGAIN says that the pipe is empty. `target` without O_APPEND.
    """
    place = ctypes.c_int64(offset)
    return int(_checked(_libc.splice(pipe, None, target, ctypes.byref(place), count, SPLICE_F_NONBLOCK)))


def splice_away(pipe: int, null: int, count: int) -> int:
    """Throw away up to `count` bytes of a pipe (`null` is /dev/null, open for writing)."""
    return int(_checked(_libc.splice(pipe, None, null, None, count, SPLICE_F_NONBLOCK)))


def tee(pipe: int, other: int, count: int) -> int:
    """Copy up to `count` bytes into another pipe and leave them where they are."""
    return int(_checked(_libc.tee(pipe, other, count, SPLICE_F_NONBLOCK)))
