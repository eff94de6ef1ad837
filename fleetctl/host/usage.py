"""What instances use: CPU, memory, processes. Sampled every 10 s, kept in memory alone.

From an instance's control group where it has one with controllers; else from one pass over /proc for all that have not,
as the sum of what is below their shims. There shared memory counts once for each process, and the peak is that of the
samples.
"""

import os

from . import group, limits, table
from .loop import Timer

INTERVAL_S = 10.0
SOON_S = 1.0  # a new program shows something before the next sample is due
TICKS_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """The newest sample of each instance whose program runs: {name: the `usage` of its ROW}."""

    def __init__(self, agent) -> None:
        self.agent, self.loop = agent, agent.loop
        self.timer = Timer()
        self.newest: "dict[str, dict[str, float]]" = {}
        self.runs: "dict[str, int]" = {}  # what the newest samples are of

    def soon(self) -> None:
        """A program has begun."""
        self.timer.cancel()
        self.timer = self.loop.after(SOON_S, self.sample)

    def of(self, name: str, run: int):
        return self.newest.get(name) if self.runs.get(name) == run else None

    def sample(self) -> None:
        running = [
            found for found in self.agent.instances.values() if found.status["pid"] and found.state in table.ALIVE
        ]
        before, runs = self.newest, self.runs
        self.newest, self.runs = {}, {}
        families = None
        for found in running:
            usage = of_group(found.cgroup) if found.cgroup else None
            if usage is None:
                families = families or Families()
                usage = families.of(found.record)
            name, run = found.name, found.status["run"]
            if name in before and runs[name] == run:
                usage["peak_bytes"] = max(usage["peak_bytes"], before[name]["peak_bytes"])
            self.newest[name], self.runs[name] = usage, run
            limits.note_events(found)
            found.save()
        if running:
            self.timer = self.loop.after(INTERVAL_S, self.sample)


def number(folder: bytes, name: bytes) -> int:
    word = group.read(folder, name).strip()
    return int(word) if word.isdigit() else 0


def of_group(path: str):
    """As a control group accounts for it; None where it does not."""
    folder = os.fsencode(path)
    memory = number(folder, b"memory.current")
    processes = number(folder, b"pids.current")
    words = group.read(folder, b"cpu.stat").split()
    if not memory or not processes or b"usage_usec" not in words:
        return None
    peak = number(folder, b"memory.peak")  # from Linux 5.19
    return {
        "cpu_s": round(int(words[words.index(b"usage_usec") + 1]) / 1e6, 3),
        "memory_bytes": memory,
        "peak_bytes": max(peak, memory),
        "processes": processes,
    }


class Families:
    """Who is below whom, and what each has used, from one pass over /proc."""

    def __init__(self) -> None:
        self.children: "dict[int, list[int]]" = {}
        self.used: "dict[int, tuple[int, int, int, int]]" = {}  # processes, own CPU, its reaped children's, pages
        for name in os.listdir("/proc"):
            if name.isdigit():
                self.add(int(name))

    def add(self, pid: int) -> None:
        try:
            with open("/proc/%d/stat" % pid, "rb", 0) as file:
                fields = file.read(1024).rpartition(b")")[2].split(None, 22)
        except OSError:
            return
        if len(fields) > 21:
            self.children.setdefault(int(fields[1]), []).append(pid)
            own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
            self.used[pid] = (0 if fields[0] == b"Z" else 1, own, reaped, int(fields[21]))

    def of(self, record):
        """All below the shim, which itself costs nothing. What ended was reaped by someone, and counts there."""
        ahead = list(self.children.get(record.shim, ())) or [record.pid]
        ticks = self.used.get(record.shim, (0, 0, 0, 0))[2]
        pages = processes = 0
        while ahead:
            pid = ahead.pop()
            ahead += self.children.get(pid, ())
            alive, own, reaped, resident = self.used.get(pid, (0, 0, 0, 0))
            ticks += own + reaped
            pages += resident
            processes += alive
        memory = pages * PAGE_BYTES
        return {"cpu_s": ticks / TICKS_S, "memory_bytes": memory, "peak_bytes": memory, "processes": processes}
