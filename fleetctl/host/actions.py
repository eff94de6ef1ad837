"""What the table tells an instance to do, under the table's own names: to end, to begin again, to be watched.

Half of instance.py's Instance, which alone uses it. Which action follows which event is said in table.py alone.
"""

import os
import signal

from . import group, proc, readiness, records, rows, table
from .loop import boottime
from .orphans import ORPHAN_GLANCE_S, Orphans

PATIENCE_S = 5.0  # SIGKILL takes effect within milliseconds, unless a process sleeps in the kernel
ABORT_S = 10.0  # for a core or a trace, before what hangs is killed
STUCK_GLANCE_S = 1.0
RECORDS_KEPT = 10


class Actions(Orphans):
    # Ending

    def give_notice(self) -> None:
        try:
            with open(os.path.join(self.folder, "notice"), "w") as file:
                file.write(self.order["reason"] + "\n")
        except OSError:
            pass  # a full disk keeps no program from being stopped

    def note_stopping(self) -> None:
        self.status["stopping_since"], self.status["extended"] = boottime(), 0.0

    def tell_shim(self, words: str) -> None:
        try:
            descriptor = os.open(os.path.join(self.folder, "ctl"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in proc.SHORTAGE:
                self.again(lambda: self.tell_shim(words))
            return  # no shim reads there: its end is seen by the watch
        try:
            os.write(descriptor, words.encode() + b"\n")
        except OSError as error:
            self.agent.say("%s: its shim does not listen: %s" % (self.name, error))
        finally:
            os.close(descriptor)

    def ask_tree(self) -> None:
        self.log.let_go()
        number = rows.signal_number(self.spec["stop"]["signal"])
        if self.orphan:
            self.ask_orphans(number)
        else:
            self.tell_shim("term %d" % number)

    def ask_orphans(self, number: int) -> None:
        if self.state in (table.CLEARING, table.STOPPING):
            try:
                proc.send_all(self.others(), number)
            except OSError:
                self.again(lambda: self.ask_orphans(number))

    def kill_tree(self) -> None:
        if self.orphan:
            self.kill_orphans()
            return
        if self.record.run == 0:
            self.refresh()  # it may have begun right now
        if self.record.run == 0 and self.withdraw():
            self.feed("lost")  # nothing of it began, and nothing will
        else:
            self.tell_shim("kill")

    def kill_orphans(self) -> None:
        """As its shim would have: again and again, for as long as anything of it is to be killed."""
        self.kill_timer.cancel()
        if not self.orphan or self.state not in table.KILLED:
            return
        pause_s = STUCK_GLANCE_S if self.state in (table.JAMMED, table.STUCK) else ORPHAN_GLANCE_S
        self.kill_timer = self.loop.after(pause_s, self.kill_orphans)
        if self.cgroup:
            group.kill(os.fsencode(self.cgroup))
        try:
            proc.send_all(self.others(), signal.SIGKILL)
        except OSError:
            pass  # no descriptors to look for them: again in a moment

    def arm_drain(self) -> None:
        """Without one the next step is taken in the same breath."""
        drain_s = rows.drain_s(self.spec)
        if drain_s > 0:
            self.arm(drain_s, "drained")
        else:
            self.feed("drained")

    def arm_grace(self) -> None:
        self.arm(self.spec["stop"]["timeout_s"], "grace")

    def arm_patience(self) -> None:
        self.arm(PATIENCE_S, "patience")

    def arm(self, seconds: float, event: str) -> None:
        self.disarm()
        self.timer = self.loop.after(seconds, lambda: self.feed(event))

    def disarm(self) -> None:
        self.timer.cancel()

    def note_killing(self) -> None:
        self.status["note"] = "it did not end within %g s: killed" % self.spec["stop"]["timeout_s"]
        rows.tell(self.status, self.status["note"])

    def note_stuck(self) -> None:
        if self.orphan and not self.orphan_timer.pending():
            self.orphan_timer = self.loop.after(ORPHAN_GLANCE_S, self.look_at_orphan)
        self.status["stuck"] = [rows.stuck(pid) for pid, _ in self.others()]
        self.agent.say("%s is stuck: %s" % (self.name, self.status["stuck"]))
        rows.tell(
            self.status, "can't be killed: %s" % ", ".join("pid %(pid)d %(why)s" % one for one in self.status["stuck"])
        )

    def note_stopped(self) -> None:
        self.withdraw()
        self.log.close()
        self.notify.close()
        self.agent.limits.release(self)
        self.status.update(pid=None, ready_since=None, stuck=[], problem=None)
        self.agent.prune_soon()

    def dismiss(self) -> None:
        """What it said and how it ended is kept: its shim may go."""
        self.log.finish()
        self.unwatch()
        self.status["stuck"] = []
        self.agent.limits.release(self)
        self.save()
        self.tell_shim("done %d" % self.status["run"])

    # Again

    def count_exit(self) -> None:
        status, limits = self.status, self.spec["restart"]
        status["failures"], status["exits"], looping = table.after_exit(
            status["failures"], status["exits"], boottime(), status["was_ready_since"], limits
        )
        chance = int.from_bytes(os.urandom(2), "big") / 65535.0
        self.pause_s = table.pause_s(status["failures"], looping, chance, limits)
        if looping and status["problem"] is None:
            detail = "it ends again and again (alarm: %d ends within %g s)" % table.alarm(limits)
            status["problem"] = rows.problem("crash_looping", detail)

    def back_off(self) -> None:
        self.status["failures"] += 1
        self.status["due"] = boottime() + self.pause_s
        self.arm(self.pause_s, "due")

    def forget_record(self) -> None:
        self.unwatch()
        self.kill_timer.cancel()
        self.record = records.Record(0, "")
        self.orphan = False
        self.main = (0, 0)

    def tidy_records(self) -> None:
        folder = os.path.join(self.folder, "exit")
        for run in records.runs(folder)[:-RECORDS_KEPT]:
            os.unlink(os.path.join(folder, str(run)))

    # Readiness

    def await_ready(self) -> None:
        self.end_probes()
        if self.state == table.READY and self.status["ready_since"] is not None:
            self.arm_steady(self.status["ready_since"])
        self.ready_watch = readiness.watch(self, self.told_ready)
        self.watchdog.begin(self)

    def told_ready(self, event: str, note: str) -> None:
        """What the probes saw: maybe an event, and what is wrong, if something is."""
        if self.status["leaving"] == self.status["run"] and event != "unready":
            return  # it said that it is stopping: no probe knows better
        if note or self.status["note"].startswith(readiness.NOTES):
            self.status["note"] = note
        if event:
            self.feed(event)
        else:
            self.save()

    def end_probes(self) -> None:
        self.steady_timer.cancel()
        self.ready_watch.cancel()
        self.ready_watch = readiness.Watcher()
        self.watchdog.cancel()

    def note_ready(self) -> None:
        """Ready since now; without a probe since it began: it turned out to have been well all along."""
        since = self.status["began"] if self.spec["ready"] is None else boottime()
        self.status.update(ready_since=since, was_ready_since=since, ever_ready=True, ready_run=self.status["run"])
        self.status["hung"] = ""
        if self.status["problem"] is not None and self.status["problem"]["kind"] != "crash_looping":
            self.status["problem"] = None
        self.arm_steady(since)

    def arm_steady(self, since: float) -> None:
        self.steady_timer.cancel()
        rest_s = since + self.spec["restart"]["reset_s"] - boottime()
        self.steady_timer = self.loop.after(rest_s, self.be_steady)

    def be_steady(self) -> None:
        """It was ready for reset_s in one piece: the next backoff is the shortest again, and no crash loop is left."""
        self.status.update(failures=0, exits=[], problem=None)
        self.save()

    def note_unready(self) -> None:
        self.steady_timer.cancel()
        self.status["ready_since"] = None

    def forget_ready(self) -> None:
        self.end_probes()
        self.status["ready_since"] = None
        if self.status["note"].startswith(readiness.NOTES):
            self.status["note"] = ""

    # It hangs

    def hang(self, why: str) -> None:
        """A watchdog's verdict."""
        if self.state in table.LIVE:
            self.status["hung"] = why
            self.feed("hung")

    def note_hung(self) -> None:
        rows.tell(self.status, "killed: " + self.status["hung"])

    def abort_program(self) -> None:
        """SIGABRT to the program alone, so that it can leave a core or a trace."""
        if self.orphan:
            proc.send_all([(self.record.pid, self.record.start)], signal.SIGABRT)
        else:
            self.tell_shim("abort")

    def arm_abort(self) -> None:
        self.arm(ABORT_S, "grace")
