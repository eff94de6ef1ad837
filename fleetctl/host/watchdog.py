"""Watches whether a running program still does its work: alive probe, heartbeat, progress. Says why when it hangs.

Its time is monotonic and counts only while this agent ran and listened (loop.heed): after a lapse of an eighth of the
time that may pass, and in a new agent, everything has its full time again; a shorter one is left out of the count. A
frozen machine, or a wall clock that jumps, ends no program.
"""

import os
import stat
import time

from . import launch, page, table
from .loop import Timer, boottime
from .probes import Probe
from .readiness import Asker

LOOKS = 8  # so many looks in the time that may pass: what comes late by one of them is noticed, and not held against it
LOOK_LEAST_S, HEARTBEAT_LOOK_S, PROGRESS_LOOK_S = 0.1, 10.0, 30.0
WINDOW_LEAST_S, WINDOW_MOST_S = 0.1, 3600.0  # of what a program may ask for itself
PAGE_S = 10.0
NUMBER_BYTES = 4096


class Watchdog:
    """All that watches one run. It calls instance.hang(why); what is done then stands in table.py.

    `heartbeat` is None where the spec asks for none: a program's WATCHDOG=1 then means nothing.
    """

    def __init__(self) -> None:
        self.parts: "list[Heartbeat | Progress | AliveProbe]" = []
        self.heartbeat: "Heartbeat | None" = None

    def begin(self, instance) -> None:
        self.cancel()
        alive, hung = instance.spec.get("alive") or {}, instance.hang
        if alive.get("heartbeat") is not None:
            run, *asked = instance.status["interval"] or [0]
            timeout_s = asked[0] if run == instance.status["run"] else alive["heartbeat"]["timeout_s"]
            self.heartbeat = Heartbeat(instance, timeout_s, hung)
            self.heartbeat.extend(instance.status["extended"] - boottime())
            self.parts.append(self.heartbeat)
        if alive.get("progress") is not None:
            self.parts.append(Progress(instance, alive["progress"], hung))
        if alive.get("probe") is not None:
            self.parts.append(AliveProbe(instance, alive["probe"], hung))

    def cancel(self) -> None:
        for part in self.parts:
            part.cancel()
        self.parts, self.heartbeat = [], None


class Heartbeat:
    """By touching a file or by WATCHDOG=1. What counts is that the file changed, not its age."""

    def __init__(self, instance, timeout_s: float, hung) -> None:
        self.instance, self.loop, self.hung = instance, instance.loop, hung
        self.path = launch.heartbeat_file(instance.folder)
        self.timeout_s = timeout_s
        self.since = time.monotonic()  # of its newest sign of life, or of the run
        self.extended = 0.0  # not before this instant
        self.seen = self.mark()
        self.timer = Timer()
        self.again()

    def mark(self):
        try:
            found = os.lstat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def beat(self) -> None:
        self.since = time.monotonic()

    def take(self, timeout_s: float) -> None:
        """Another time from now on: what the program asked for, within bounds."""
        self.timeout_s = min(max(timeout_s, WINDOW_LEAST_S), WINDOW_MOST_S)
        self.beat()
        self.again()

    def extend(self, seconds: float) -> None:
        self.extended = time.monotonic() + min(seconds, WINDOW_MOST_S)

    def rest_s(self) -> float:
        since = self.loop.listened_since(self.since, self.timeout_s / LOOKS)
        return max(since + self.timeout_s, self.extended) - time.monotonic()

    def again(self) -> None:
        self.timer.cancel()
        self.timer = self.loop.after(pause_s(self.timeout_s, HEARTBEAT_LOOK_S, self.rest_s()), self.look)

    def look(self) -> None:
        mark = self.mark()
        if mark is not None and mark != self.seen:
            self.seen = mark
            self.beat()
        if self.rest_s() <= 0 and self.instance.program_lives():
            self.hung("no heartbeat for " + span(self.timeout_s))
        else:
            self.again()

    def cancel(self) -> None:
        self.timer.cancel()


class Progress:
    """By a number that changes, in a file below run/ or on the program's page of metrics."""

    def __init__(self, instance, wanted, hung) -> None:
        self.instance, self.loop, self.wanted, self.hung = instance, instance.loop, wanted, hung
        self.stalled_s = wanted["stalled_s"]
        self.name = wanted.get("file") or wanted["metric"]
        self.since = time.monotonic()
        self.value: "float | None" = None
        self.missing = ""  # why it could not be read
        self.probe: "Probe | None" = None
        self.timer = Timer()
        self.look()

    def look(self) -> None:
        if self.wanted.get("file") is not None:
            try:
                self.read(number_in(os.path.join(self.instance.folder, "run"), self.wanted["file"]))
            except OSError as error:
                self.read(None, error.strerror or str(error))
            return
        target = {
            "kind": "http",
            "address": self.instance.spec["address"],
            "port": self.wanted["port"],
            "path": self.wanted.get("path"),
            "timeout_s": min(PAGE_S, max(1.0, self.stalled_s / 2)),
        }
        self.probe = Probe(self.loop, target, self.answered)

    def answered(self, ok, detail: str) -> None:
        probe, self.probe = self.probe, None
        if ok is None:
            self.since = time.monotonic()  # as long as we can't ask, nothing counts
            self.again()
        elif ok and probe is not None:
            self.read(page.metric(probe.page, self.name), "the page has no such metric")
        else:
            self.read(None, detail)

    def read(self, value, missing: str = "no number is in it") -> None:
        if value is not None and value != self.value:
            self.value = value
            self.since = time.monotonic()
        self.missing = missing if value is None else ""
        if self.rest_s() <= 0 and self.instance.program_lives():
            self.hung("no progress: %s" % self.said())
        else:
            self.again()

    def rest_s(self) -> float:
        since = self.loop.listened_since(self.since, self.stalled_s / LOOKS)
        return since + self.stalled_s - time.monotonic()

    def again(self) -> None:
        self.timer = self.loop.after(pause_s(self.stalled_s, PROGRESS_LOOK_S, self.rest_s()), self.look)

    def said(self) -> str:
        if self.value is None:
            return "%s could not be read for %s: %s" % (self.name, span(self.stalled_s), self.missing)
        stood = "%s stood at %s for %s" % (self.name, plain(self.value), span(self.stalled_s))
        return stood + (" (now: %s)" % self.missing if self.missing else "")

    def cancel(self) -> None:
        self.timer.cancel()
        if self.probe is not None:
            self.probe.cancel()


class AliveProbe:
    """By a probe that fails so many times in a row, once its grace is over.

    After a lapse no failure from before it counts, and a grace that was not over yet starts anew.
    """

    def __init__(self, instance, wanted, hung) -> None:
        self.instance, self.loop, self.wanted, self.hung = instance, instance.loop, wanted, hung
        self.counts_from = time.monotonic()
        self.told = ""
        self.mind = self.fresh()
        self.asker = Asker(instance, wanted, self.heard)

    def fresh(self) -> table.Readiness:
        return table.Readiness(self.wanted["successes"], self.wanted["failures"], self.wanted["grace_s"], ready=True)

    def heard(self, ok, detail: str) -> None:
        if self.loop.lapsed_at > self.counts_from:
            if self.loop.lapsed_at - self.counts_from >= self.wanted["grace_s"]:
                self.wanted = dict(self.wanted, grace_s=0.0)
            self.counts_from = self.loop.lapsed_at
            self.mind = self.fresh()
        if ok is None:
            if detail != self.told:
                self.instance.agent.say("%s: alive probe: %s" % (self.instance.name, detail))
            self.told = detail
            return
        self.told = ""
        if self.mind.hear(ok, time.monotonic() - self.counts_from) == "unready":
            times = self.wanted["failures"]
            self.hung("alive probe: %s%s" % (detail, " (%d times in a row)" % times if times > 1 else ""))

    def cancel(self) -> None:
        self.asker.cancel()


def pause_s(window_s: float, most_s: float, rest_s: float) -> float:
    """Until the next look: a part of the time that may pass, and no longer than what is left of it."""
    step = min(max(window_s / LOOKS, LOOK_LEAST_S), most_s)
    return min(step, rest_s) if rest_s > 0 else step


def number_in(folder: str, path: str):
    """The number a file below a folder begins with, or None. No link is followed, nothing but a plain file opened."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *above, name = path.split("/")
        for part in above:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
            os.close(place)
            place = below
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        return page.number(os.read(file, NUMBER_BYTES).decode("utf-8", "replace"))
    finally:
        os.close(file)


def plain(value) -> str:
    return str(value) if isinstance(value, int) else "%.15g" % value


def span(seconds: float) -> str:
    """10m, 1h30m, 2.5s: for people."""
    if seconds < 60:
        return "%gs" % round(seconds, 3)
    whole = round(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    return "".join("%d%s" % part for part in parts if part[0])
