"""Control groups as a shim sees them: who is inside, whether anybody is, and the end of all of them at once.

`folder` is bytes, as the launch file has it. Used by the lean processes. It makes and removes no group.
"""

import posix

from . import proc


def read(folder: bytes, name: bytes) -> bytes:
    """A file of the group; nothing where there is none (any more). OSError for want of descriptors or memory."""
    try:
        descriptor = posix.open(folder + b"/" + name, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        if error.errno in proc.SHORTAGE:
            raise
        return b""
    content = b""
    try:
        while True:
            part = posix.read(descriptor, 65536)
            if not part:
                return content
            content += part
    except OSError:
        return b""
    finally:
        posix.close(descriptor)


def populated(folder: bytes) -> bool:
    """Somebody is in the group, or in one below it. A group of the first version does not tell: no."""
    return b"populated 1" in read(folder, b"cgroup.events")


def members(folder: bytes):
    """[(pid, start)] of what is in the group itself."""
    found = [int(word) for word in read(folder, b"cgroup.procs").split()]
    return [(pid, proc.start_of(pid)) for pid in found if pid > 0]


def kill(folder: bytes) -> None:
    """SIGKILL for everybody in the group and below, frozen or not, where the kernel has that (from 5.14)."""
    try:
        descriptor = posix.open(folder + b"/cgroup.kill", posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        posix.write(descriptor, b"1")
    except OSError:
        pass
    finally:
        posix.close(descriptor)
