"""What an instance does when its shim is gone: it finds the program, or its end, and what is left of its tree.

Half of instance.py's Instance, which alone uses it.
"""

import fcntl
import os

from . import files, launch, limits, proc, records, table
from .loop import boottime

ORPHAN_GLANCE_S = 0.2
RECORD_WAIT_S = 1.0  # after init, or the supervisor once it wrote down its end, reaped a program without a shim
BORN_WAIT_S = 0.1


class Orphans:
    def watch_process(self, pid: int, start: int) -> None:
        if (pid, start) != self.watched:
            self.unwatch()
            self.watched = (pid, start)
            self.watch = self.loop.watch_process(pid, start, self.watched_ended)

    def unwatch(self) -> None:
        if self.watch is not None:
            self.watch.cancel()
        self.watch, self.watched = None, (0, 0)
        self.cancel_orphan_timer()

    def watched_ended(self) -> None:
        """The shim ended, or the program whose shim had ended before."""
        self.watch, self.watched = None, (0, 0)
        self.look_for_shim()

    def look_for_shim(self) -> None:
        """What is there of the current run, now that nothing is watched: a shim about to write, a program, nothing."""
        try:
            self.look_at_record()
            if self.state in table.ALIVE and self.watch is None:
                self.go_on_without()
        except OSError as error:
            self.agent.say("%s can't be looked at now: %s" % (self.name, error))
            self.orphan_timer = self.loop.after(RECORD_WAIT_S, self.look_for_shim)

    def go_on_without(self) -> None:
        if self.record.pid:
            self.become_orphan()
        elif self.shim_lives():
            if self.find_earlier_run():
                self.refresh()
                return
            self.tell_shim("done %d" % (self.status["run"] - 1))  # the one before may not have heard it
            self.orphan_timer = self.loop.after(BORN_WAIT_S, self.look_for_shim)
        else:
            self.feed("lost")

    def find_earlier_run(self) -> bool:
        """A shim that an agent before had asked for began after it was given up: go on with its run, and no other."""
        for run in records.runs(os.path.join(self.folder, "exit"))[-1:]:
            record = records.read(os.path.join(self.folder, "exit", str(run)))
            if run >= self.status["run"] or record is None or record.boot != self.agent.boot:
                continue
            if record.ended == records.PENDING and not proc.ended(record.shim, record.shim_start):
                self.status["run"] = run
                return True
        return False

    def shim_lives(self) -> bool:
        """Some shim holds this instance's lock."""
        try:
            descriptor = os.open(os.path.join(self.folder, "shim.lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # as long as nobody can tell
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def withdraw(self) -> bool:
        """A shim that was asked for, and has not begun, finds nothing to run any more. False: one has begun."""
        try:
            descriptor = os.open(os.path.join(self.folder, "shim.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.forget(os.path.join(self.folder, "launch"))  # read under the lock
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def end_unseen(self) -> None:
        """It is stopped, and a shim that an agent before had asked for began all the same: it ends."""
        for run in records.runs(os.path.join(self.folder, "exit"))[-1:]:
            record = records.read(os.path.join(self.folder, "exit", str(run)))
            if record is None or record.boot != self.agent.boot or record.ended != records.PENDING:
                continue
            if proc.lives(record.shim, record.shim_start):
                self.agent.say("%s is stopped, and began: an order of an agent that was killed" % self.name)
                self.tell_shim("kill")

    def become_orphan(self) -> None:
        self.orphan = True
        self.kill_orphans()  # its shim may have died before it heard that it is to
        if not proc.ended(self.record.pid, self.record.start):
            self.watch_process(self.record.pid, self.record.start)
        else:
            self.orphan_since = boottime()
            self.feed("left")
            self.look_at_orphan()

    def look_at_orphan(self) -> None:
        """The program ended without a shim: wait for what the supervisor may know, then for its tree to be empty."""
        looked = self.refresh()
        if self.state not in table.ALIVE or not self.orphan:
            return
        late = boottime() - self.orphan_since > RECORD_WAIT_S and not self.waits_for_supervisor()
        if looked and late and self.record.ended == records.PENDING:
            self.record.ended, self.record.ended_at = "unknown", "%.3f" % boottime()
            try:
                self.record.write(self.record_path())
            except OSError as error:
                self.agent.say("%s: its end can't be written down: %s" % (self.name, error))
            self.refresh()
        if self.state in table.ALIVE and self.orphan:
            self.orphan_timer = self.loop.after(ORPHAN_GLANCE_S, self.look_at_orphan)

    def waits_for_supervisor(self) -> bool:
        """It is a zombie that our supervisor has not reaped: that knows how it ended, and may be at an upgrade."""
        state, parent, start = proc.stat_of(self.record.pid)
        return state == "Z" and start == self.record.start and parent == os.getppid()

    def cancel_orphan_timer(self) -> None:
        self.orphan_timer.cancel()

    def others(self):
        """[(pid, start)] of what runs of this instance: below its shim, or by its environment where that is gone."""
        if self.orphan:
            return sorted({*proc.with_environment(launch.mark(self.folder)), *limits.members(self.cgroup)})
        if not proc.ended(self.record.shim, self.record.shim_start):
            return [found for found in proc.descendants(self.record.shim) if not proc.ended(*found)]
        return []
