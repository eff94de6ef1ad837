"""One instance: carries out what table.py says, with the names it uses, and tells it what happened.

It knows files, processes and timers; what to do when is in the table alone.
"""

import errno
import fcntl
import os
import signal

from . import facts, files, launch, logs, proc, readiness, records, rows, table
from .loop import Timer, boottime

PATIENCE_S = 5.0  # SIGKILL takes effect within milliseconds, unless a process sleeps in the kernel
ORPHAN_GLANCE_S = 0.2
RECORD_WAIT_S = 1.0  # the supervisor may still be writing down the end of a program whose shim was killed
BORN_WAIT_S = 0.1
PORT_TAKEN_S = 10.0  # an interpreter on a busy host needs seconds to find out that its port is taken
RECORDS_KEPT = 10
TRANSIENT = (errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EIO)


class Instance:
    def __init__(self, agent, name: str, order) -> None:
        self.agent, self.loop, self.name = agent, agent.loop, name
        self.folder = os.path.join(agent.root, "instances", name)
        self.order = order  # what spec.json holds: see rows.new_order
        self.spec = order["spec"]
        self.status = rows.blank_status()
        self.saved: "dict[str, object]" = {}
        self.record = records.Record(0, "")  # of the current run; blank until it is read
        self.watch = None  # of the shim, or of the program where its shim was killed
        self.watched = (0, 0)
        self.orphan = False  # the shim is gone, the run is not over
        self.orphan_timer = Timer()
        self.timer = Timer()  # drain, grace, patience or backoff: never two at once
        self.ready_watch = readiness.Watcher()
        self.orphan_since = 0.0
        self.queue: "list[str]" = []
        self.feeding = False
        self.log = logs.Log(
            self.loop,
            os.path.join(self.folder, "log"),
            self.spec["log"]["size_bytes"],
            self.spec["log"]["keep"],
        )

    # What happens to it

    @property
    def state(self) -> str:
        return str(self.status["state"])

    def feed(self, event: str) -> None:
        """One event through the table. Events that actions cause wait for their turn."""
        self.queue.append(event)
        if self.feeding:
            return
        self.feeding = True
        try:
            while self.queue:
                before = (self.status["state"], self.status["run"])
                self.status["state"], actions = table.step(self.state, self.queue.pop(0))
                for action in actions:
                    getattr(self, action)()
                self.save()
                self.agent.noted(self, before, (self.status["state"], self.status["run"]))
        finally:
            self.feeding = False

    def save(self) -> None:
        """Publish status.json, if it says something new. On a full disk the old one stays whole."""
        if self.status == self.saved:
            return
        try:
            files.replace_json(os.path.join(self.folder, "status.json"), self.status, durable=False)
        except OSError as error:
            self.agent.say("%s: its status can't be written: %s" % (self.name, error))
            return
        self.saved = dict(self.status)

    def row(self):
        return rows.row(self.name, self.order, self.status, self.log.dropped_bytes)

    def close(self) -> None:
        """Let go of everything, without doing anything to the program."""
        self.disarm()
        self.end_probes()
        self.unwatch()
        self.log.close()

    # Starting

    def begin(self) -> None:
        """A new instance, written down already."""
        self.status["boot"] = self.agent.boot
        self.launch()
        self.save()

    def launch(self) -> None:
        """Write down what to run, then ask the supervisor for a shim that runs it."""
        self.status["run"] += 1
        self.status.update(boot=self.agent.boot, pid=None, ready_since=None, was_ready_since=None, due=None)
        self.forget_record()
        try:
            folder = os.path.join(self.folder, "run")
            content = launch.pack(self.agent.root, self.name, self.spec, self.agent.login, self.status["run"])
            for needed in (folder, os.path.join(self.folder, "exit"), os.path.join(self.folder, "log")):
                os.makedirs(needed, 0o700, exist_ok=True)
            os.chmod(folder, 0o755)
            self.tidy_records()
            self.save()
            files.replace(os.path.join(self.folder, "launch"), content, durable=True)
            self.log.open()
        except launch.Unfit as unfit:
            self.status["problem"] = rows.problem(*unfit.args)
            self.status["last_exit"] = None
            self.feed("unfit")
            return
        except OSError as error:
            self.status["note"] = "the start can't be written down: %s" % error.strerror
            self.feed("lost")
            return
        self.status["note"] = ""
        self.agent.ask_shim(self.name)

    def shim_forked(self, pid: int, start: int) -> None:
        """The supervisor's answer; pid 0: it could not."""
        if self.state not in table.ALIVE or self.record.run:
            return
        if pid == 0:
            self.feed("lost")
        else:
            self.watch_process(pid, start)

    # What its shim tells

    def record_path(self) -> str:
        return os.path.join(self.folder, "exit", str(self.status["run"]))

    def refresh(self) -> None:
        """Read the record of the current run, and make events of what is new in it."""
        if self.state not in table.ALIVE:
            return
        record = records.read(self.record_path())
        if record is None or record.boot != self.agent.boot:
            return
        begun = record.ended != records.PENDING or proc.lives(record.pid, record.start)
        if record.pid and begun and self.status["pid"] != record.pid and self.status["seen"] != self.status["run"]:
            self.record = record
            self.status["pid"], self.status["began"] = record.pid, float(record.began)
            self.watch_process(record.shim, record.shim_start)
            self.feed("launched")
        self.record = record
        if record.ended == records.PENDING:
            return
        if self.status["seen"] != self.status["run"]:
            self.status["seen"] = self.status["run"]
            self.note_end(record)
        if record.tree == records.EMPTY or (self.orphan and not self.others()):
            self.over()
        else:
            self.feed("left")

    def note_end(self, record) -> None:
        self.status["pid"] = None
        self.status["last_exit"] = said(record.ended)
        self.status["ended_at"] = float(record.ended_at)

    def over(self) -> None:
        """The run is over and its tree is empty: again, or is that pointless?"""
        self.cancel_orphan_timer()
        self.orphan = False
        found = self.status["problem"] = self.judge()
        self.feed("unfit" if found is not None and found["kind"] in ("not_executable", "exit_125") else "exited")

    def judge(self):
        """What is wrong with a program that ended like this, if that can be told."""
        ended = self.record.ended
        if ended.startswith("unexecutable"):
            number = int(ended.split()[1])
            if number in TRANSIENT:
                return None
            return rows.problem("not_executable", "%s: %s" % (self.spec["argv"][0], os.strerror(number)))
        if ended == "exited 125":
            return rows.problem("exit_125", "it ended with status 125: do not start me again")
        ran_s = float(self.record.ended_at) - float(self.record.began)
        if self.status["ready_run"] != self.status["run"] and ran_s < PORT_TAKEN_S:
            for name, port in sorted(self.spec["ports"].items()):
                taken, pid = facts.holder(self.spec["address"], port)
                if taken:
                    detail = "port %d (%s) is taken%s" % (port, name, " by pid %d" % pid if pid else "")
                    return rows.problem("port_taken", detail, port, pid or None)
        return None

    # When its shim is gone

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
        self.refresh()
        if self.state not in table.ALIVE or self.watch is not None:
            return
        if self.record.pid:
            self.become_orphan()
        elif self.shim_lives():
            self.tell_shim("done %d" % (self.status["run"] - 1))  # the one before may not have heard it
            self.orphan_timer = self.loop.after(BORN_WAIT_S, self.look_for_shim)
        else:
            self.feed("lost")

    def shim_lives(self) -> bool:
        """Some shim holds this instance's lock."""
        try:
            descriptor = os.open(os.path.join(self.folder, "shim.lock"), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def become_orphan(self) -> None:
        self.orphan = True
        if proc.lives(self.record.pid, self.record.start):
            self.watch_process(self.record.pid, self.record.start)
        else:
            self.orphan_since = boottime()
            self.feed("left")
            self.look_at_orphan()

    def look_at_orphan(self) -> None:
        """The program ended without a shim: wait for what the supervisor may know, then for its tree to be empty."""
        self.refresh()
        if self.state not in table.ALIVE or not self.orphan:
            return
        if self.record.ended == records.PENDING and boottime() - self.orphan_since > RECORD_WAIT_S:
            self.record.ended, self.record.ended_at = "unknown", "%.3f" % boottime()
            try:
                self.record.write(self.record_path())
            except OSError as error:
                self.agent.say("%s: its end can't be written down: %s" % (self.name, error))
            self.refresh()
        if self.state in table.ALIVE and self.orphan:
            self.orphan_timer = self.loop.after(ORPHAN_GLANCE_S, self.look_at_orphan)

    def cancel_orphan_timer(self) -> None:
        self.orphan_timer.cancel()

    def others(self):
        """[(pid, start)] of what runs of this instance: below its shim, or by its environment where that is gone."""
        if self.orphan:
            return proc.with_environment(launch.mark(self.folder))
        if proc.lives(self.record.shim, self.record.shim_start):
            return [found for found in proc.descendants(self.record.shim) if proc.lives(*found)]
        return []

    # The table's actions: ending

    def give_notice(self) -> None:
        try:
            with open(os.path.join(self.folder, "notice"), "w") as file:
                file.write(self.order["reason"] + "\n")
        except OSError:
            pass  # a full disk keeps no program from being stopped

    def note_stopping(self) -> None:
        self.status["stopping_since"] = boottime()

    def tell_shim(self, words: str) -> None:
        try:
            descriptor = os.open(os.path.join(self.folder, "ctl"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # no shim reads there: its end is seen by the watch
        try:
            os.write(descriptor, words.encode() + b"\n")
        except OSError as error:
            self.agent.say("%s: its shim does not listen: %s" % (self.name, error))
        finally:
            os.close(descriptor)

    def ask_tree(self) -> None:
        number = rows.signal_number(self.spec["stop"]["signal"])
        if self.orphan:
            proc.send_all(self.others(), number)
        else:
            self.tell_shim("term %d" % number)

    def kill_tree(self) -> None:
        if self.orphan:
            for pid, start in self.others():
                proc.send(pid, start, signal.SIGKILL)
            if self.state in (table.SWEEPING, table.KILLING):
                self.loop.after(ORPHAN_GLANCE_S, self.kill_again)
        else:
            self.tell_shim("kill")

    def kill_again(self) -> None:
        if self.orphan and self.state in (table.SWEEPING, table.KILLING):
            self.kill_tree()

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

    def note_stuck(self) -> None:
        self.status["stuck"] = [rows.stuck(pid) for pid, _ in self.others()]
        self.agent.say("%s is stuck: %s" % (self.name, self.status["stuck"]))
        if self.orphan and not self.orphan_timer.pending():
            self.orphan_timer = self.loop.after(ORPHAN_GLANCE_S, self.look_at_orphan)

    def note_stopped(self) -> None:
        self.log.close()
        self.status.update(pid=None, ready_since=None, stuck=[], problem=None)
        self.agent.prune_soon()

    def dismiss(self) -> None:
        """What it said and how it ended is kept: its shim may go."""
        self.log.drain()
        self.log.close()
        self.unwatch()
        self.status["stuck"] = []
        self.save()
        self.tell_shim("done %d" % self.status["run"])

    # The table's actions: again

    def count_exit(self) -> None:
        now = boottime()
        ready_since = self.status["was_ready_since"]
        if ready_since is not None and now - ready_since >= self.spec["restart"]["reset_s"]:
            self.status["failures"] = 0
        recent = [at for at in self.status["exits"] if at > now - table.CRASH_WINDOW_S]
        self.status["exits"] = [*recent[-20:], now]
        if self.status["problem"] is None and table.crash_looping(self.status["exits"], now):
            detail = "it ended %d times in the last 10 min" % len(self.status["exits"])
            self.status["problem"] = rows.problem("crash_looping", detail)

    def back_off(self) -> None:
        limits = self.spec["restart"]
        chance = int.from_bytes(os.urandom(2), "big") / 65535.0
        pause = table.backoff_s(self.status["failures"], chance, limits["backoff_min_s"], limits["backoff_max_s"])
        self.status["failures"] += 1
        self.status["due"] = boottime() + pause
        self.arm(pause, "due")

    def forget_record(self) -> None:
        self.unwatch()
        self.record = records.Record(0, "")
        self.orphan = False

    def tidy_records(self) -> None:
        folder = os.path.join(self.folder, "exit")
        for run in records.runs(folder)[:-RECORDS_KEPT]:
            os.unlink(os.path.join(folder, str(run)))

    # The table's actions: readiness

    def await_ready(self) -> None:
        self.end_probes()
        began, ready = self.status["began"], self.state == table.READY
        process = (self.record.pid, self.record.start)
        self.ready_watch = readiness.watch(self.loop, self.spec, process, began, ready, self.told_ready)

    def told_ready(self, event: str, note: str) -> None:
        """What the probes saw: maybe an event, and what is wrong, if something is."""
        if note or self.status["note"].startswith(readiness.NOT_READY):
            self.status["note"] = note
        if event:
            self.feed(event)
        else:
            self.save()

    def end_probes(self) -> None:
        self.ready_watch.cancel()
        self.ready_watch = readiness.Watcher()

    def note_ready(self) -> None:
        """Ready since now; without a probe since it began: it turned out to have been well all along."""
        since = self.status["began"] if self.spec["ready"] is None else boottime()
        self.status.update(ready_since=since, was_ready_since=since, ever_ready=True, ready_run=self.status["run"])
        if self.status["problem"] is not None and self.status["problem"]["kind"] != "crash_looping":
            self.status["problem"] = None

    def note_unready(self) -> None:
        self.status["ready_since"] = None

    def forget_ready(self) -> None:
        self.end_probes()
        self.status["ready_since"] = None
        if self.status["note"].startswith(readiness.NOT_READY):
            self.status["note"] = ""

    # Its log

    def last_lines(self, lines: int):
        self.log.drain()
        return logs.tail(self.log.folder, lines)


def said(ended: str) -> str:
    """A record's end, for people."""
    if ended.startswith("unexecutable"):
        return "could not be executed: %s" % os.strerror(int(ended.split()[1]))
    return ended
