"""Finds and ends what runs under a folder: the end of an embedded host's power, and the tidying after a killed demo.

Linux only: it reads /proc. A process is ended through a descriptor of it, so never another one that got its number.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TELLING = (b"HOME=", b"FLEETCTL_ARTIFACT=", b"FLEETCTL_NOTICE=")  # name an embedded host's folder to what runs on it
_PATIENCE_S = 10.0  # killed processes go within milliseconds; those in uninterruptible sleep may take longer


@dataclass(frozen=True, slots=True)
class Found:
    """A living process. `started`, in clock ticks since boot, tells it from a later one with the same number."""

    pid: int
    parent: int
    started: int
    terminal: bool


def processes_under(folder: Path) -> tuple[Found, ...]:
    """Everything whose program, working folder, home or artifact lies under `folder`, and all that descends from it.

    What has a terminal is a person's shell or pager, never ours: hosts' programs are started without one. Neither this
    process nor any ancestor of it is among them.
    """
    root = os.fsencode(folder.resolve())
    everything = {found.pid: found for found in _living()}
    spared = {found.pid for found in everything.values() if found.terminal} | set(_lineage(everything))
    theirs = {pid for pid in everything if pid not in spared and _lies_under(pid, root)}
    while born := {pid for pid, found in everything.items() if found.parent in theirs} - theirs - spared:
        theirs |= born
    return tuple(everything[pid] for pid in sorted(theirs))


def end_processes_under(folder: Path) -> int:
    """Kill all of `processes_under(folder)` until none is left; returns how many there were. May take a moment.

    Raises TimeoutError where some can't be ended.
    """
    ended: set[Found] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while found := processes_under(folder):
        for process in found:
            _kill(process)
        ended.update(found)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes under {folder} can't be ended: {', '.join(str(one.pid) for one in found)}")
        time.sleep(0.01)
    return len(ended)


def _kill(process: Found) -> None:
    with suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(process.pid)
        try:
            now = _read_stat(process.pid)
            if now is not None and now.started == process.started:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def _living() -> Iterator[Found]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (found := _read_stat(int(folder.name))) is not None:
            yield found


def _read_stat(pid: int) -> Found | None:
    """None where there is no such process, or only its exit status is left of it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()  # the name before may hold spaces and brackets
    state, parent, terminal, started = fields[0], int(fields[1]), int(fields[4]), int(fields[19])
    return None if state in (b"Z", b"X") else Found(pid, parent, started, terminal != 0)


def _lineage(everything: dict[int, Found]) -> Iterator[int]:
    pid = os.getpid()
    while pid in everything:
        yield pid
        pid = everything[pid].parent


def _lies_under(pid: int, root: bytes) -> bool:
    for link in ("exe", "cwd"):
        with suppress(OSError):
            if _within(os.fsencode(Path(f"/proc/{pid}/{link}").readlink()), root):
                return True
    with suppress(OSError):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return any(_within(line.partition(b"=")[2], root) for line in variables if line.startswith(_TELLING))
    return False


def _within(path: bytes, root: bytes) -> bool:
    return path == root or path.startswith(root + b"/")
