"""What this host is and has, as /proc and the control groups tell it. Reads only, keeps nothing."""

import os
import socket
import struct
import sys

ANY = ("0.0.0.0", "::")  # noqa: S104 (what a listener on every address shows in /proc/net/tcp)


def facts(root: str):
    """The `facts` of a report."""
    disk_total, disk_free = disk(root)
    machine = os.uname()
    return {
        "cpu_milli": cpu_milli(),
        "memory_bytes": memory_bytes(),
        "disk_total_bytes": disk_total,
        "disk_free_bytes": disk_free,
        "kernel": machine.release,
        "arch": machine.machine,
        "python": "%d.%d.%d" % sys.version_info[:3],
    }


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def disk(path: str):
    """(total, free for us) bytes of the file system a path is on, or will be on."""
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    try:
        state = os.statvfs(path)
    except OSError:
        return 0, 0
    return state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize


def cpu_milli() -> int:
    """The smaller of what the machine has and of what our control groups allow."""
    machine = len(os.sched_getaffinity(0)) * 1000
    limits = [cpu_limit(folder) for folder in group_folders("cpu")]
    return max(1, min([machine, *(limit for limit in limits if limit > 0)]))


def cpu_limit(folder: str) -> int:
    words = read(folder + "/cpu.max").split()  # v2: "50000 100000" or "max 100000"
    if len(words) != 2:
        words = [read(folder + "/cpu.cfs_quota_us").strip(), read(folder + "/cpu.cfs_period_us").strip()]
    if all(word.isdigit() for word in words) and int(words[1]):
        return int(words[0]) * 1000 // int(words[1])
    return 0


def memory_bytes() -> int:
    """Likewise."""
    machine = 0
    for line in read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            machine = int(line.split()[1]) * 1024
    limits = []
    for folder in group_folders("memory"):
        word = (read(folder + "/memory.max") or read(folder + "/memory.limit_in_bytes")).strip()
        if word.isdigit() and int(word):
            limits.append(int(word))
    return min([machine, *limits]) if machine else min(limits or [0])


def group_folders(controller: str):
    """The folders whose limits bind us: our group's and those above it, for cgroup v2 and v1."""
    found = []
    for line in read("/proc/self/cgroup").splitlines():
        _, names, path = [*line.split(":", 2), "", ""][:3]
        if names == "":
            mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        elif controller in names.split(","):
            mounts = ["/sys/fs/cgroup/" + names, "/sys/fs/cgroup/" + controller]
        else:
            continue
        for mount in mounts:
            place = path.rstrip("/")
            while True:
                if os.path.isdir(mount + place):
                    found.append(mount + place)
                if not place:
                    break
                place = place.rpartition("/")[0]
    return found


def address_of(text: str) -> str:
    """`0100007F` of /proc/net/tcp as 127.0.0.1; addresses of IPv4 within IPv6 as those of IPv4."""
    packed = b"".join(struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8))
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def listeners():
    """[(address, port, inode)] of all that listen for TCP here."""
    found = []
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path) as file:
                for line in file:  # never all at once: a busy host has tens of thousands of connections that ended
                    words = line.split(None, 10) if " 0A " in line else ()
                    if len(words) > 9 and words[3] == "0A":
                        text, _, port = words[1].partition(":")
                        found.append((address_of(text), int(port, 16), int(words[9])))
        except OSError:
            pass  # a kernel without IPv6
    return found


def ports_in_use(address: str):
    """The ports a program of this host could not listen on.

    A host on the loopback network shares its kernel with other hosts: what listens at theirs is not in its way.
    """
    shared = address.startswith("127.")
    return sorted({port for place, port, _ in listeners() if not shared or place in ANY or place == address})


def holder(address: str, port: int):
    """(True, pid) when something listens where a program at this address would; pid 0 where it is not ours to see."""
    for place, number, inode in listeners():
        if number == port and (place in ANY or place == address or address in ("", *ANY)):
            return True, pid_of_socket(inode)
    return False, 0


def pid_of_socket(inode: int) -> int:
    wanted = "socket:[%d]" % inode
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            for descriptor in os.listdir("/proc/%s/fd" % name):
                if os.readlink("/proc/%s/fd/%s" % (name, descriptor)) == wanted:
                    return int(name)
        except OSError:
            continue
    return 0
