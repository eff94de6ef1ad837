"""One instance: carries out what table.py says, with the names it uses, and tells it what happened.

It knows files, processes and timers; what to do when is in the table alone.
"""

import errno
import os

from . import (
    ballast,
    doubts,
    facts,
    files,
    launch,
    limits,
    log_reading,
    logs,
    notify,
    proc,
    readiness,
    records,
    rows,
    table,
    watchdog,
)
from .actions import Actions
from .loop import Timer

MAIN_GLANCE_S = 0.1
AGAIN_S = 1.0
PORT_TAKEN_S = 10.0  # an interpreter on a busy host needs seconds to find out that its port is taken
DAEMONIZED_S = 10.0  # what goes to the background does so at once; an interpreter on a busy host needs seconds
TRANSIENT = (errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EIO)


class Instance(Actions):
    def __init__(self, agent, name: str, order) -> None:
        self.agent, self.loop, self.name = agent, agent.loop, name
        self.folder = os.path.join(agent.root, "instances", name)
        self.order = order  # what spec.json holds: see rows.new_order
        self.spec = order["spec"]
        self.status = rows.blank_status()
        self.saved: "dict[str, object]" = {}
        self.record = records.Record(0, "")  # of the current run; blank until it is read
        self.cgroup = ""  # the folder of the run's control group, where it has one
        self.watch = None  # of the shim, or of the program where its shim was killed
        self.watched = (0, 0)
        self.orphan = False  # the shim is gone, the run is not over
        self.orphan_timer = Timer()
        self.kill_timer = Timer()  # another look for what is to be killed without a shim
        self.pause_s = 0.0  # the backoff that follows the newest end
        self.timer = Timer()  # drain, grace, patience or backoff: never two at once
        self.ready_watch = readiness.Watcher()
        self.watchdog = watchdog.Watchdog()
        self.notify = notify.Notify(self)
        self.main = (0, 0)  # the process that takes the program's place when that ends: it said so
        self.steady_timer = Timer()  # it was ready for long enough: what was before is forgotten
        self.orphan_since = 0.0
        self.queue: "list[str]" = []
        self.feeding = False
        self.log = logs.Log(
            self.loop,
            os.path.join(self.folder, "log"),
            self.spec["log"]["size_bytes"],
            self.spec["log"]["keep"],
            self.spec["log"].get("when_full", "drop"),
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
                    self.loop.guarded(getattr(self, action))  # what fails keeps no other from being done
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
        usage = self.agent.usage.of(self.name, self.status["run"]) if self.status["pid"] else None
        return rows.row(self.name, self.order, self.status, self.log.dropped_bytes, usage)

    def close(self) -> None:
        """Let go of everything, without doing anything to the program."""
        self.disarm()
        self.kill_timer.cancel()
        self.end_probes()
        self.unwatch()
        self.log.close()
        self.notify.close()

    # Starting

    def begin(self) -> None:
        """A new instance, written down already."""
        self.status["boot"] = self.agent.boot
        if self.agent.doubts.about(self.spec):
            self.status["state"] = table.WAITING
            doubts.start_when_sound(self)
        else:
            self.launch()
        self.save()

    def launch(self) -> None:
        """Write down what to run, then ask the supervisor for a shim that runs it."""
        self.status["run"] += 1
        self.status.update(boot=self.agent.boot, pid=None, ready_since=None, was_ready_since=None, due=None, said="")
        self.status["extended"] = 0.0
        if self.status["problem"] is not None and self.status["problem"]["kind"] == "daemonized":
            self.status["problem"] = None  # what is said of a run that is over
        self.forget_record()
        self.agent.limits.when_known(self.launch_now)

    def launch_now(self) -> None:
        """Not before it is known where control groups can be made, unless that takes long."""
        if self.state != table.LAUNCHING:  # it was stopped meanwhile
            self.feed("lost")
            return
        self.agent.limits.make(self)
        try:
            folder = os.path.join(self.folder, "run")
            login, run = self.agent.login, self.status["run"]
            content = launch.pack(self.agent.root, self.name, self.spec, login, run, self.cgroup)
            for needed in (folder, os.path.join(self.folder, "exit"), os.path.join(self.folder, "log")):
                os.makedirs(needed, 0o700, exist_ok=True)
            os.chmod(folder, 0o755)
            self.tidy_records()
            self.save()
            path = os.path.join(self.folder, "launch")
            files.write_down(self.agent.root, path, content, ballast.FOR_STOPS)
            self.log.open(self.status["run"])
            self.notify.open()
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
            self.status["note"] = "no process could be forked for it"
            self.feed("lost")
        else:
            self.watch_process(pid, start)

    # What its shim tells

    def record_path(self) -> str:
        return os.path.join(self.folder, "exit", str(self.status["run"]))

    def refresh(self) -> bool:
        """Read the record of the current run, and make events of what is new in it.

        False: that could not be done, for want of descriptors or memory, and is tried again.
        """
        try:
            self.look_at_record()
        except OSError as error:
            self.agent.say("%s can't be looked at now: %s" % (self.name, error))
            self.again(self.refresh)
            return False
        return True

    def again(self, call) -> None:
        """A moment later, if it is still about the same run."""
        run = self.status["run"]
        self.loop.after(AGAIN_S, lambda: call() if self.status["run"] == run else None)

    def look_at_record(self) -> None:
        if self.state == table.STOPPED:
            self.end_unseen()
        if self.state not in table.ALIVE:
            return
        record = records.read(self.record_path())
        if record is None or record.boot != self.agent.boot:
            return
        begun = record.ended != records.PENDING or not proc.ended(record.pid, record.start)
        if record.pid and begun and self.status["pid"] != record.pid and self.status["seen"] != self.status["run"]:
            self.record = record
            self.status["pid"], self.status["began"] = record.pid, float(record.began)
            self.watch_process(record.shim, record.shim_start)
            self.agent.limits.look_inside(self)
            self.agent.usage.soon()
            self.feed("launched")
        self.record = record
        if record.ended == records.PENDING or self.succeeded():
            return
        if self.status["seen"] != self.status["run"]:
            self.status["seen"] = self.status["run"]
            self.note_end(record)
        if record.tree == records.EMPTY or (self.orphan and not self.others()):
            self.over()
        else:
            self.feed("left")

    def succeeded(self) -> bool:
        """The program ended, and another takes its place, or may: first all that was said of that is heard."""
        if self.orphan:
            return False  # nobody is there who could watch over another
        if not self.notify.busy:
            self.notify.read_all()
            if self.main == (self.record.pid, self.record.start) or proc.ended(*self.main):
                return False
        self.loop.after(MAIN_GLANCE_S, self.refresh)
        return True

    def take_main(self, pid: int, start: int) -> None:
        self.main = (pid, start)
        self.tell_shim("main %d %d" % (pid, start))

    def program_lives(self) -> bool:
        return not proc.ended(self.record.pid, self.record.start)

    def command(self, argv):
        """What is to be executed for a probe of this program: see launch.command."""
        return launch.command(self.agent.root, self.name, self.spec, self.agent.login, argv)

    def note_end(self, record) -> None:
        """How the program itself ended. What it left behind may run on."""
        ran_s = float(record.ended_at) - float(record.began)
        self.status["pid"] = None
        self.status["last_exit"] = limits.told(self, said(record.ended))
        self.status["ended_at"] = float(record.ended_at)
        rows.tell(self.status, "%s after %.1f s" % (self.status["last_exit"], max(0.0, ran_s)))
        gone_on = record.tree == records.LEFT and record.ended == "exited 0" and ran_s < DAEMONIZED_S
        if gone_on and self.order["wanted"] == "run":
            left = [pid for pid, _ in self.others()]
            detail = "it went to the background (pid %s): tell it to stay in the foreground" % (left or ["gone"])[0]
            self.status["problem"] = rows.problem("daemonized", detail, None, left[0] if left else None)
            rows.tell(self.status, detail)

    def over(self) -> None:
        """The run is over and its tree is empty: again, or is that pointless?"""
        self.cancel_orphan_timer()
        self.orphan = False
        self.status["problem"] = found = self.judge()
        self.feed("unfit" if found is not None and found["kind"] in ("not_executable", "exit_125") else "exited")

    def judge(self):
        """What is wrong with a program that ended like this, if that can be told."""
        ended, before = self.record.ended, self.status["problem"]
        if before is not None and before["kind"] == "daemonized":
            return before
        if ended.startswith("unexecutable"):
            number = int(ended.split()[1])
            if number in TRANSIENT or len(ended.split()) > 2:  # a control group can be made anew
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

    # Its log

    def last_lines(self, lines: int):
        self.log.drain()
        return log_reading.tail(self.log.folder, lines)

    def read_log(self, lines: int, run: int, since: float, after):
        self.log.drain()
        is_over = self.state not in table.ALIVE
        return log_reading.read(self.log.folder, lines, run, since, after, self.status["run"], is_over)


def said(ended: str) -> str:
    """A record's end, for people."""
    if ended.startswith("unexecutable"):
        _, number, *of = ended.split()
        return "could not be %s: %s" % ("put into its control group" if of else "executed", os.strerror(int(number)))
    return ended
