"""FIFOs: the program's output, the words to a shim, and the bell that says whose record to read.

Used by the lean processes and by the agent.
"""

import posix

from . import linux, proc


def fifo(path: str) -> None:
    try:
        posix.mkfifo(path, 0o600)
    except FileExistsError:
        pass


def open_pipe(path: str, flags: int) -> int:
    """A FIFO with a reader and a writer in one: it never ends, and never lacks a reader."""
    fifo(path)
    descriptor = posix.open(path, posix.O_RDWR | posix.O_CLOEXEC | flags)
    try:
        linux.set_pipe_bytes(descriptor, linux.PIPE_BYTES)
    except OSError:
        pass  # over the user's share of pipe memory: it stays at what it got
    return descriptor


def drain(descriptor: int) -> bytes:
    try:
        return posix.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def ring(bell: str, name: str) -> bool:
    """Tell the agent to read this instance's record. Where none listens, the next one reads all records first.

    False: it does listen, but was not told. The bell was full, or there was no descriptor.
    """
    try:
        descriptor = posix.open(bell, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError as error:
        return error.errno not in proc.SHORTAGE
    try:
        posix.write(descriptor, name.encode() + b"\n")
    except BlockingIOError:
        return False
    except OSError:
        pass
    finally:
        posix.close(descriptor)
    return True
