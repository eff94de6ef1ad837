"""A file system in memory that can be made to hang: a FUSE daemon, which a SIGSTOP stops like any in trouble.

`python fuse.py FOLDER` mounts it there, prints a line, and serves until killed. Speaks to /dev/fuse as
linux/fuse.h says; needs root, and nothing installed. It keeps nothing cached in the kernel: every touch asks it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

DEVICE = Path("/dev/fuse")
WRITE_BYTES_MAX = 128 * 1024
DETACH = 2  # of umount2
ATTRIBUTES = struct.Struct("=6Q10I")
VERBS = {
    1: "lookup", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 8: "mknod", 9: "mkdir", 10: "unlink",
    11: "rmdir", 12: "rename", 14: "open", 15: "read", 16: "write", 17: "statfs", 18: "nothing", 20: "nothing",
    25: "nothing", 26: "init", 27: "open", 28: "readdir", 29: "nothing", 30: "nothing", 34: "nothing", 35: "create",
    43: "fallocate", 45: "rename2",
}  # fmt: skip
UNANSWERED = (2, 36, 42)  # forget, interrupt, batch_forget
SET_MODE, SET_UID, SET_GID, SET_SIZE = 1, 2, 4, 8


class Node:
    def __init__(self, number: int, mode: int, uid: int, gid: int) -> None:
        self.number, self.mode, self.uid, self.gid = number, mode, uid, gid
        self.names: dict[bytes, Node] = {}
        self.content = bytearray()
        self.links = 1
        self.changed = time.time()

    def attributes(self) -> bytes:
        size, second = len(self.content), int(self.changed)
        parts = int(self.changed % 1 * 1e9)
        return ATTRIBUTES.pack(
            self.number, size, -(-size // 512), second, second, second, parts, parts, parts,
            self.mode, self.links, self.uid, self.gid, 0, 4096, 0,
        )  # fmt: skip

    def entry(self) -> bytes:
        return struct.pack("=4Q2I", self.number, 0, 0, 0, 0, 0) + self.attributes()

    def attributes_out(self) -> bytes:
        return struct.pack("=Q2I", 0, 0, 0) + self.attributes()


class FileSystem:
    """One method for each request, named as in linux/fuse.h: the node it is about and its bytes in, the answer out."""

    def __init__(self) -> None:
        self.nodes = {1: Node(1, stat.S_IFDIR | 0o700, os.getuid(), os.getgid())}
        self.caller = (0, 0)

    def new(self, parent: Node, name: bytes, mode: int) -> Node:
        if name in parent.names:
            raise OSError(errno.EEXIST, "")
        node = Node(len(self.nodes) + 1, mode, *self.caller)
        self.nodes[node.number] = parent.names[name] = node
        parent.changed = time.time()
        return node

    def found(self, parent: Node, name: bytes) -> Node:
        if name not in parent.names:
            raise OSError(errno.ENOENT, "")
        return parent.names[name]

    def lookup(self, node: Node, data: bytes) -> bytes:
        return self.found(node, data[:-1]).entry()

    def getattr(self, node: Node, _data: bytes) -> bytes:
        return node.attributes_out()

    def setattr(self, node: Node, data: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("=2I2Q", data)
        mode, _, uid, gid = struct.unpack_from("=4I", data, 68)
        if valid & SET_MODE:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        if valid & SET_UID:
            node.uid = uid
        if valid & SET_GID:
            node.gid = gid
        if valid & SET_SIZE:
            del node.content[size:]
            node.content += bytes(size - len(node.content))
        node.changed = time.time()
        return node.attributes_out()

    def readlink(self, node: Node, _data: bytes) -> bytes:
        return bytes(node.content)

    def symlink(self, node: Node, data: bytes) -> bytes:
        name, target, _ = data.split(b"\0")
        made = self.new(node, name, stat.S_IFLNK | 0o777)
        made.content += target
        return made.entry()

    def mknod(self, node: Node, data: bytes) -> bytes:
        return self.new(node, data[16:-1], struct.unpack_from("=I", data)[0]).entry()

    def mkdir(self, node: Node, data: bytes) -> bytes:
        return self.new(node, data[8:-1], stat.S_IFDIR | struct.unpack_from("=I", data)[0]).entry()

    def unlink(self, node: Node, data: bytes) -> bytes:
        self.found(node, data[:-1]).links -= 1
        del node.names[data[:-1]]
        node.changed = time.time()
        return b""

    def rmdir(self, node: Node, data: bytes) -> bytes:
        if self.found(node, data[:-1]).names:
            raise OSError(errno.ENOTEMPTY, "")
        return self.unlink(node, data)

    def rename(self, node: Node, data: bytes, names_at: int = 8) -> bytes:
        target = self.nodes[struct.unpack_from("=Q", data)[0]]
        old, new, _ = data[names_at:].split(b"\0")
        moved = self.found(node, old)
        if new in target.names:
            if target.names[new].names:
                raise OSError(errno.ENOTEMPTY, "")
            target.names[new].links -= 1
        del node.names[old]
        target.names[new] = moved
        node.changed = target.changed = time.time()
        return b""

    def rename2(self, node: Node, data: bytes) -> bytes:
        return self.rename(node, data, 16)

    def open(self, _node: Node, _data: bytes) -> bytes:
        return struct.pack("=Q2I", 0, 0, 0)

    def create(self, node: Node, data: bytes) -> bytes:
        mode = struct.unpack_from("=2I", data)[1]
        return self.new(node, data[16:-1], stat.S_IFREG | mode).entry() + self.open(node, data)

    def read(self, node: Node, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=2QI", data)
        return bytes(node.content[offset : offset + size])

    def write(self, node: Node, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=2QI", data)
        node.content += bytes(max(0, offset - len(node.content)))
        node.content[offset : offset + size] = data[40 : 40 + size]
        node.changed = time.time()
        return struct.pack("=2I", size, 0)

    def fallocate(self, node: Node, data: bytes) -> bytes:
        _, offset, length = struct.unpack_from("=3Q", data)
        node.content += bytes(max(0, offset + length - len(node.content)))
        return b""

    def statfs(self, _node: Node, _data: bytes) -> bytes:
        return struct.pack("=5Q4I24x", 2**20, 2**20, 2**20, 2**20, 2**20, 4096, 255, 4096, 0)

    def readdir(self, node: Node, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("=2QI", data)
        answer = b""
        for place, (name, child) in enumerate(list(node.names.items())[offset:], offset + 1):
            row = struct.pack("=2Q2I", child.number, place, len(name), stat.S_IFMT(child.mode) >> 12) + name
            row += bytes(-len(row) % 8)
            if len(answer) + len(row) > size:
                break
            answer += row
        return answer

    def nothing(self, _node: Node, _data: bytes) -> bytes:
        return b""

    def init(self, _node: Node, data: bytes) -> bytes:
        readahead = struct.unpack_from("=3I", data)[2]
        return struct.pack("=4I2H2I2H8I", 7, 31, readahead, 1 << 5, 12, 9, WRITE_BYTES_MAX, 1, 32, *[0] * 9)

    def serve(self, device: int) -> None:
        while True:
            request = os.read(device, WRITE_BYTES_MAX + 4096)
            length, verb, unique, number, *self.caller = struct.unpack_from("=2I2Q2I", request)
            if verb in UNANSWERED:
                continue
            code, answer = -errno.ENOSYS, b""
            if verb in VERBS:
                try:
                    code, answer = (
                        0,
                        getattr(self, VERBS[verb])(self.nodes.get(number, self.nodes[1]), request[40:length]),
                    )
                except OSError as error:
                    code = -(error.errno or errno.EIO)
            try:
                os.write(device, struct.pack("=IiQ", 16 + len(answer), code, unique) + answer)
            except FileNotFoundError:
                continue  # who asked was interrupted


def main(folder: str) -> None:
    device = os.open(DEVICE, os.O_RDWR)
    options = f"fd={device},rootmode=40700,user_id={os.getuid()},group_id={os.getgid()},default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hangs", os.fsencode(folder), b"fuse", 0, options.encode()) < 0:
        print(os.strerror(ctypes.get_errno()), flush=True)
        return
    print("mounted", flush=True)
    FileSystem().serve(device)


class Mount:
    """It, mounted on a folder, from a test. OSError where this machine lets nobody mount one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if os.getuid() != 0 or not DEVICE.exists():
            raise OSError(f"needs root and {DEVICE}")
        folder.mkdir()
        self.daemon = subprocess.Popen([sys.executable, "-I", __file__, str(folder)], stdout=subprocess.PIPE, cwd="/")
        assert self.daemon.stdout is not None
        said = self.daemon.stdout.readline().decode().strip()
        if said != "mounted":
            self.daemon.communicate()
            folder.rmdir()
            raise OSError(f"no FUSE can be mounted here: {said}")

    def hang(self) -> None:
        self.daemon.send_signal(signal.SIGSTOP)

    def answer_again(self) -> None:
        self.daemon.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """What still waits for it gets an error."""
        self.daemon.kill()
        self.daemon.communicate()
        ctypes.CDLL(None).umount2(os.fsencode(self.folder), DETACH)
        self.folder.rmdir()


if __name__ == "__main__":
    main(sys.argv[1])
