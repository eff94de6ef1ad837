"""1 MiB that is kept for records on a full disk, as files whose blocks are there already.

A piece is not freed to make room, it becomes the record: whatever fills the disk can't be faster. Used by the lean
processes: no json.
"""

import errno
import posix

PIECES = (16 * 1024,) * 24 + (128 * 1024,) * 2 + (384 * 1024,)  # in sum 1 MiB; a record takes the first that is enough
FULL = (errno.ENOSPC, errno.EDQUOT)
UNKNOWN_HERE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
FOLDER = "ballast"
FOR_STOPS = 12  # pieces that restarts leave there


def pieces(root: str):
    """[(path, size)]"""
    return [("%s/%s/%d" % (root, FOLDER, number), size) for number, size in enumerate(PIECES)]


def left(root: str) -> int:
    """How many pieces are whole."""
    return sum(1 for path, size in pieces(root) if size_of(path) == size)


def size_of(path: str) -> int:
    try:
        return posix.stat(path).st_size
    except OSError:
        return -1


def make(root: str) -> bool:
    """Make what is missing; whether all of it is there now."""
    try:
        make_folder("%s/%s" % (root, FOLDER))
        for path, size in pieces(root):
            if size_of(path) != size:
                make_piece(path, size)
    except OSError:
        return False
    return True


def make_folder(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass


def make_piece(path: str, size: int) -> None:
    temporary = path + ".new"
    try:
        descriptor = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, 0o600)
        try:
            fill(descriptor, size)
            posix.fsync(descriptor)
        finally:
            posix.close(descriptor)
        posix.rename(temporary, path)
    except OSError:
        forget(temporary)
        raise


def fill(descriptor: int, size: int) -> None:
    try:
        posix.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in UNKNOWN_HERE:
            raise
        write_all(descriptor, bytes(size))


def write_all(descriptor: int, content: bytes) -> None:
    at = 0
    while at < len(content):
        at += posix.pwrite(descriptor, content[at:], at)


def forget(path: str) -> None:
    try:
        posix.unlink(path)
    except OSError:
        pass


def become(root: str, path: str, content: bytes, least: int = 0) -> None:
    """Put the content at `path`, durably, in a piece of the ballast. OSError where none is left that is large enough.

    `least`: how many pieces are to stay, for what matters more.
    """
    whole = [(piece, size) for piece, size in pieces(root) if size_of(piece) == size]
    for piece, _ in [found for found in whole[: max(0, len(whole) - least)] if found[1] >= len(content)]:
        descriptor = posix.open(piece, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            write_all(descriptor, content)
            posix.ftruncate(descriptor, len(content))
            posix.fsync(descriptor)
        finally:
            posix.close(descriptor)
        posix.rename(piece, path)
        sync_folder(path.rpartition("/")[0] or ".")
        return
    raise OSError(errno.ENOSPC, posix.strerror(errno.ENOSPC), path)


def sync_folder(path: str) -> None:
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.fsync(descriptor)
    finally:
        posix.close(descriptor)
