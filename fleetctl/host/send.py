"""Sends an artifact back over a channel of its own: for hosts on which SFTP does not start.

Sent to a host and executed by the same loader as entry.py, so it must read fd 0 with os.read alone. It only reads.
C -> H one line {"folder": ABSOLUTE}. H -> C one line {"entries": COUNT}, or {"entries": -1, "message": TEXT}; a line
for each file {"path": PATH, "size": COUNT, "executable": BOOL} and link {"path": PATH, "target": TARGET}, with the
bytes of its name as Latin-1; then what is in the files, one after the other in that order. Where a file can't be read
to its announced end, the stream ends there.
"""

import json
import os
import stat

LINE_BYTES_MAX = 64 * 1024
CHUNK_BYTES = 1024 * 1024


def read_line():
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte or len(line) > LINE_BYTES_MAX:
            raise ValueError("no request came")
        line += byte
    return json.loads(line.decode("utf-8"))


def send(data):
    while data:
        data = data[os.write(1, data) :]


def tell(fields):
    send(json.dumps(fields).encode("ascii") + b"\n")


def entries(folder, prefix):
    """(relative path, full path, lstat) of all files and links below; no link is followed."""
    for name in sorted(os.listdir(folder)):
        full, path = os.path.join(folder, name), prefix + name
        state = os.lstat(full)
        if stat.S_ISDIR(state.st_mode):
            for entry in entries(full, path + b"/"):
                yield entry
        elif stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode):
            yield path, full, state
        else:
            raise ValueError("neither a file nor a folder nor a link: %r" % path)


def offer(path, full, state):
    told = {"path": path.decode("latin-1")}
    if stat.S_ISLNK(state.st_mode):
        told["target"] = os.readlink(full).decode("latin-1")
    else:
        told.update(size=state.st_size, executable=bool(state.st_mode & 0o100))
    return told


def send_file(full, size):
    descriptor = os.open(full, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        while size:
            part = os.read(descriptor, min(CHUNK_BYTES, size))
            if not part:
                raise ValueError("%r became shorter" % full)
            size -= len(part)
            send(part)
    finally:
        os.close(descriptor)


def main():
    folder = os.fsencode(read_line()["folder"])
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise ValueError("%r is no folder" % folder)
        found = list(entries(folder, b""))
        offers = [offer(*entry) for entry in found]
    except OSError as error:
        tell({"entries": -1, "message": "%s: %s" % (os.fsdecode(error.filename or folder), error.strerror or error)})
        return
    except ValueError as error:
        tell({"entries": -1, "message": str(error)})
        return
    tell({"entries": len(found)})
    for told in offers:
        tell(told)
    for _path, full, state in found:
        if stat.S_ISREG(state.st_mode):
            send_file(full, state.st_size)


if __name__ == "__fleetctl_entry__":
    main()
