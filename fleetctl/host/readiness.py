"""Watches whether a running program is ready: by probes at its own address, or by its having run for long enough.

Only while that very process lives: nobody else may answer for it. What follows from the answers is the table's affair.
"""

from . import proc, table
from .loop import Loop, Timer, boottime
from .probes import Probe

NOT_READY = "not ready"


def watch(loop: Loop, spec, process, began: float, ready: bool, told) -> "Watcher":
    """Calls `told(event, note)` with `ready`, `unready` or "", and what is wrong or "", until it is cancelled.

    `process`: (pid, start); `began`: when, on CLOCK_BOOTTIME; `ready`: what was thought of it until now.
    """
    if spec["ready"] is None:
        return Patience(loop, began + spec["min_healthy_s"], process, ready, told)
    return Prober(loop, spec, process, began, ready, told)


class Watcher:
    """Whatever watches, until it is cancelled. This one watches nothing."""

    def cancel(self) -> None:
        pass


class Patience(Watcher):
    """Without a probe: it ran for min_healthy_s."""

    def __init__(self, loop: Loop, due: float, process, ready: bool, told) -> None:
        self.process, self.told = process, told
        self.timer = Timer() if ready else loop.after(due - boottime(), self.is_due)

    def is_due(self) -> None:
        if proc.lives(*self.process):
            self.told("ready", "")

    def cancel(self) -> None:
        self.timer.cancel()


class Prober(Watcher):
    def __init__(self, loop: Loop, spec, process, began: float, ready: bool, told) -> None:
        wanted = spec["ready"]
        self.loop, self.process, self.began, self.told = loop, process, began, told
        self.interval_s = wanted["interval_s"]
        self.target = {
            "kind": wanted["kind"],
            "address": spec["address"],
            "port": wanted["port"],
            "path": wanted.get("path"),
            "timeout_s": wanted["timeout_s"],
        }
        self.mind = table.Readiness(wanted["successes"], wanted["failures"], wanted["grace_s"], ready)
        self.timer = Timer()
        self.probe: "Probe | None" = None
        self.asked_at = 0.0
        self.ask()

    def ask(self) -> None:
        self.asked_at = boottime()
        self.probe = Probe(self.loop, self.target, self.answered)

    def answered(self, ok: bool, detail: str) -> None:
        self.probe = None
        if not proc.lives(*self.process):
            return  # whoever answered was not the program; its end is on its way here
        self.timer = self.loop.after(self.asked_at + self.interval_s - boottime(), self.ask)
        event = self.mind.hear(ok, boottime() - self.began)
        self.told(event, "" if ok else "%s: %s" % (NOT_READY, detail))

    def cancel(self) -> None:
        self.timer.cancel()
        if self.probe is not None:
            self.probe.cancel()
