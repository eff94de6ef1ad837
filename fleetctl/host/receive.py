"""Unpacks an artifact that comes as a tar stream over a channel of its own: for hosts on which SFTP does not start.

Sent to a host and executed by the same loader as entry.py, so it must read fd 0 with os.read alone. C -> H one line
{"folder": ABSOLUTE, "bytes": COUNT, "entries": COUNT}, then the stream; H -> C one line {"received": COUNT} or
{"received": -1, "kind": KIND, "message": TEXT}. The folder must not be there yet; what arrives broken is removed again.
It trusts the stream with nothing: no path leaves the folder, links are made last, and no more is taken than was said.
"""

import errno
import fcntl
import json
import os
import shutil
import tarfile

LINE_BYTES_MAX = 64 * 1024
CHUNK_BYTES = 1024 * 1024
PIPE_SIZE = 1031  # F_SETPIPE_SZ: sshd writes 64 KiB at a time into whatever room there is


class Stream:
    def read(self, size):
        return os.read(0, size)


def read_line():
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte or len(line) > LINE_BYTES_MAX:
            raise ValueError("no request came")
        line += byte
    return json.loads(line.decode("utf-8"))


def parts_of(name):
    """The parts of a path below the folder. Raises ValueError at one that leads out of it."""
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError("a path that leads out of the folder: %r" % name)
    return parts


def unpack(folder, bytes_max, entries_max):
    """The bytes of all files that were unpacked."""
    links, taken, entries = [], 0, 0
    with tarfile.open(fileobj=Stream(), mode="r|", bufsize=CHUNK_BYTES) as archive:
        for member in archive:
            entries += 1
            if entries > entries_max:
                raise ValueError("more entries than were announced")
            path = os.path.join(folder, *parts_of(member.name))
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            if member.issym():
                links.append((member.linkname, path))
            elif member.isreg():
                taken += member.size
                if taken > bytes_max:
                    raise ValueError("more bytes than were announced")
                write(archive.extractfile(member), path, member)
            else:
                raise ValueError("neither a file nor a link: %r" % member.name)
    for target, path in links:  # last, so that nothing was written through one
        os.symlink(target, path)
    if (taken, entries) != (bytes_max, entries_max):
        raise ValueError("the stream ended early")
    return taken


def write(source, path, member):
    mode = 0o755 if member.mode & 0o100 else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(descriptor, "wb", buffering=0) as target:
        os.fchmod(descriptor, mode)
        while True:
            part = source.read(CHUNK_BYTES)
            while part:
                part = part[target.write(part) :]
            if source.tell() >= member.size:
                return


def answer(**fields):
    os.write(1, json.dumps(fields).encode("ascii") + b"\n")


def main():
    request = read_line()
    folder = request["folder"]
    try:
        fcntl.fcntl(0, PIPE_SIZE, CHUNK_BYTES)
    except OSError:
        pass
    os.mkdir(folder, 0o700)
    try:
        answer(received=unpack(folder, request["bytes"], request["entries"]))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def run():
    try:
        main()
    except OSError as error:
        kind = "no_space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"
        answer(received=-1, kind=kind, message="%s: %s" % (error.filename or "the upload", error.strerror or error))
    except (ValueError, KeyError, tarfile.TarError) as error:
        answer(received=-1, kind="failed", message=str(error))


if __name__ == "__fleetctl_entry__":
    run()
