"""What jobs run: verified, made durable, immutable, and named by its content.

Everything here that reads a whole artifact takes long and belongs into a child (errands.py).
"""

import os
import stat

from .files import sync_folder

CHUNK_BYTES = 1024 * 1024


def digest_of(folder: str) -> str:
    """The SHA-256 that names a folder's content for ever, as 64 hexadecimal digits.

    It is taken over one line for each file and each symbolic link below the folder, at any depth:

        <mode> SP <sha256> SP <path> LF      a regular file: mode 755 where its owner may execute it, else 644;
                                             sha256 of its content, in lower-case hexadecimal
        link SP <target> SP <path> LF        a symbolic link, with its target as it stands there, not followed

    Paths are relative to the folder, with "/" between their parts and none in front. Lines are sorted by the bytes of
    their paths. Folders have no line: an empty folder is not part of an artifact. Names are taken as bytes. Anything
    else (a device, a FIFO, a socket) is refused, as is a path or target with a line feed in it: ValueError.
    """
    import hashlib  # with it comes OpenSSL, which no process keeps that needs no digest

    lines = []
    for path, full, state in entries(os.fsencode(folder), b""):
        if stat.S_ISLNK(state.st_mode):
            line = b"link %s %s\n" % (os.readlink(full), path)
        else:
            mode = b"755" if state.st_mode & 0o100 else b"644"
            line = b"%s %s %s\n" % (mode, sha256_of(full), path)
        if line.count(b"\n") != 1:
            raise ValueError("a name with a line feed: %r" % path)
        lines.append((path, line))
    return hashlib.sha256(b"".join(line for _, line in sorted(lines))).hexdigest()


def entries(folder: bytes, prefix: bytes):
    """(relative path, full path, lstat) of all files and links below."""
    for name in os.listdir(folder):
        full, path = os.path.join(folder, name), prefix + name
        state = os.lstat(full)
        if stat.S_ISDIR(state.st_mode):
            for entry in entries(full, path + b"/"):
                yield entry
        elif stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode):
            yield path, full, state
        else:
            raise ValueError("neither a file nor a folder nor a link: %r" % path)


def sha256_of(path: bytes) -> bytes:
    import hashlib

    found = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            part = file.read(CHUNK_BYTES)
            if not part:
                return found.hexdigest().encode()
            found.update(part)


def settle(folder: str) -> str:
    """Take the write bits off and put everything on the disk. Gives the digest of what is there after that.

    The top folder keeps its write bit: without it nobody but root could rename it to another folder.
    """
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555 if os.lstat(path).st_mode & 0o100 else 0o444)
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        del folders
        sync_folder(parent)
        if parent != folder:
            os.chmod(parent, 0o555)
    return digest_of(folder)


def remove(path: str) -> None:
    """A folder with all that is in it, write bits or not. What is gone already is no failure."""
    try:
        state = os.lstat(path)
        if not stat.S_ISDIR(state.st_mode):
            os.unlink(path)
            return
        os.chmod(path, 0o700)
        for name in os.listdir(path):
            remove(os.path.join(path, name))
        os.rmdir(path)
    except FileNotFoundError:
        pass
