"""Who holds the run lock, told so well that the next run can see whether that process is gone.

Reads /proc; where there is none (a Mac), less is seen and a lease has to run out by itself.
"""

from __future__ import annotations

import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One process of one boot of one machine. Absent is what the system does not tell."""

    user: str
    host: str
    pid: int
    machine: str = ""  # /etc/machine-id
    boot: str = ""  # changes when the kernel starts, not when a container does
    init_started: int | None = None  # start of PID 1: changes when a container starts
    pid_namespace: int | None = None
    started: int | None = None  # clock ticks after boot: tells a pid from its next user

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (pid {self.pid})"


def this_process() -> Process:
    pid = os.getpid()
    own_proc = _link("/proc/self") == str(pid)  # another namespace's /proc would answer for other processes
    return Process(
        user=_user(),
        host=socket.gethostname(),
        pid=pid,
        machine=_text("/etc/machine-id"),
        boot=_text("/proc/sys/kernel/random/boot_id"),
        init_started=_started(1) if own_proc else None,
        pid_namespace=_inode("/proc/self/ns/pid"),
        started=_started(pid) if own_proc else None,
    )


def is_gone(other: Process, here: Process) -> bool:
    """Whether `other` surely no longer runs, as far as `here` can see. Not knowing is not gone."""
    if other.boot != here.boot:
        rebooted_since = (other.host, other.machine) == (here.host, here.machine)
        return rebooted_since and "" not in (other.boot, here.boot)
    if not here.boot:
        return other.host == here.host and not _exists(other.pid)
    if other.pid_namespace != here.pid_namespace:
        return False
    if None not in (other.init_started, here.init_started) and other.init_started != here.init_started:
        return True  # a container was started again and got the same namespace number
    if not _exists(other.pid):
        return True
    if other.started is None or here.started is None or (started := _started(other.pid)) is None:
        return _is_dead(other.pid)
    return started != other.started or _is_dead(other.pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty where it can't be read."""
    return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _is_dead(pid: int) -> bool:
    """Killed, but its parent has not asked for it yet."""
    return _stat(pid)[:1] in (["Z"], ["X"])


def _user() -> str:
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 (text, not a path)
    except OSError:
        return ""


def _inode(path: str) -> int | None:
    try:
        return Path(path).stat().st_ino
    except OSError:
        return None
