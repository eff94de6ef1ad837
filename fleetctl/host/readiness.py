"""Watches whether a running program is ready: by probes, by its own word, or by its having run for long enough.

Only while that very process lives: nobody else may answer for it. What follows from the answers is the table's affair.
"""

import time

from . import table
from .command import Command
from .loop import Timer, boottime
from .probes import Probe

NOT_READY, NOT_ASKED = "not ready", "its readiness is not known"
HELD = "the one before can't be killed"
GLANCE_S = 0.05
KILL_S = 5.0  # what a command that took too long left behind has this long to be gone
NOTES = (NOT_READY, NOT_ASKED)  # how notes begin that are about readiness


def watch(instance, told) -> "Watcher":
    """Calls `told(event, note)` with `ready`, `unready` or "", and what is wrong or "", until it is cancelled."""
    wanted = instance.spec["ready"]
    ready = instance.state == table.READY
    if wanted is None:
        return Patience(instance, ready, told)
    if wanted["kind"] == "notify":
        return Awaited(instance, ready, told)
    return Prober(instance, wanted, ready, told)


class Watcher:
    """Whatever watches, until it is cancelled. This one watches nothing."""

    def cancel(self) -> None:
        pass


class Patience(Watcher):
    """Without a probe: it ran for min_healthy_s."""

    def __init__(self, instance, ready: bool, told) -> None:
        self.instance, self.told = instance, told
        due = instance.status["began"] + instance.spec["min_healthy_s"]
        self.timer = Timer() if ready else instance.loop.after(due - boottime(), self.is_due)

    def is_due(self) -> None:
        if self.instance.program_lives():
            self.told("ready", "")
        else:  # its end is on its way here, or another process takes its place
            self.timer = self.instance.loop.after(GLANCE_S, self.is_due)

    def cancel(self) -> None:
        self.timer.cancel()


class Awaited(Watcher):
    """The program says so itself: notify.py hears it."""

    def __init__(self, instance, ready: bool, told) -> None:
        self.instance, self.told = instance, told
        self.timer = Timer() if ready else instance.loop.after(0, self.say_so)

    def say_so(self) -> None:
        if self.instance.state == table.STARTING:  # it may have said it in this very turn
            self.told("", NOT_READY + ": no READY=1 yet")

    def cancel(self) -> None:
        self.timer.cancel()


class Asker(Watcher):
    """Puts a PROBE of the program again and again, at its interval: `heard(ok, detail)`, ok None being neither."""

    def __init__(self, instance, wanted, heard) -> None:
        self.instance, self.wanted, self.heard = instance, wanted, heard
        self.loop = instance.loop
        self.timer = Timer()
        self.question: "Probe | Command | None" = None
        self.asked_at = self.answered_at = 0.0
        self.ask()

    def ask(self) -> None:
        now = time.monotonic()
        if self.question is not None and not self.question.gone():
            if now - max(self.answered_at, self.loop.lapsed_at) < KILL_S:
                self.timer = self.loop.after(GLANCE_S, self.ask)
            else:
                self.asked_at = now
                self.tell(False, HELD)
            return
        self.asked_at = now
        if not self.instance.program_lives():  # its end is on its way here, or another process takes its place
            self.again()
        elif self.wanted["kind"] == "command":
            argv = self.wanted["argv"]
            self.question = Command(
                self.loop, lambda: self.instance.command(argv), self.wanted["timeout_s"], self.answered
            )
        else:
            self.question = Probe(self.loop, dict(self.wanted, address=self.instance.spec["address"]), self.answered)

    def again(self) -> None:
        self.timer = self.loop.after(self.asked_at + self.wanted["interval_s"] - time.monotonic(), self.ask)

    def answered(self, ok, detail: str) -> None:
        self.answered_at = time.monotonic()
        self.tell(ok, detail)

    def tell(self, ok, detail: str) -> None:
        self.again()
        if self.instance.program_lives():  # else whoever answered was not the program
            self.heard(ok, detail)

    def cancel(self) -> None:
        self.timer.cancel()
        if self.question is not None:
            self.question.cancel()


class Prober(Watcher):
    """By a probe: so many yes or no in a row."""

    def __init__(self, instance, wanted, ready: bool, told) -> None:
        self.instance, self.told = instance, told
        self.mind = table.Readiness(wanted["successes"], wanted["failures"], wanted["grace_s"], ready)
        self.asker = Asker(instance, wanted, self.heard)

    def heard(self, ok, detail: str) -> None:
        if ok is None:
            self.told("", "%s: %s" % (NOT_ASKED, detail))
            return
        event = self.mind.hear(ok, boottime() - self.instance.status["began"])
        self.told(event, "" if ok else "%s: %s" % (NOT_READY, detail))

    def cancel(self) -> None:
        self.asker.cancel()
