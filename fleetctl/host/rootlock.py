"""The lock that makes a supervisor the only one of its root. Who has it has signed it: which process, which program.

Used by the lean processes. The current folder is the root.
"""

import os
import time

from . import linux, proc

NAME = "supervisor.lock"
HEIR_S = 5.0  # from a fork to an execution on a busy machine


def opened() -> int:
    return os.open(NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(as_heir: bool = False) -> int:
    """The lock that makes a supervisor the only one of its root, or -1.

    One that was killed still has it for a moment, and so has its child, until that has executed what it was forked for.
    `as_heir`: whoever signed it is dying, even where that can't be seen yet.
    """
    descriptor = opened()
    end = time.monotonic() + HEIR_S
    late = signer(descriptor)
    while True:
        try:
            linux.lock(descriptor)
        except BlockingIOError:
            now = signer(descriptor)
            if ((now != late or not as_heir) and proc.lives(*now)) or time.monotonic() > end:
                os.close(descriptor)
                return -1
            time.sleep(0.02)
        else:
            return descriptor


def signer(lock: int):
    """(pid, start) of who had the lock last."""
    try:
        pid, start = os.pread(lock, 256, 0).split()[:2]
        return int(pid), int(start)
    except ValueError:
        return 0, 0


def await_free() -> None:
    """Until nobody has it."""
    descriptor = opened()
    linux.await_lock(descriptor)
    os.close(descriptor)


def sign(lock: int, text: str) -> None:
    os.pwrite(lock, text.encode().ljust(256), 0)
