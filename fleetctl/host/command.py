"""A command as a probe: run beside the program as the program is run, exit 0 being a yes.

Below the agent stands a sitter, a fork that never executes anything: what the command leaves behind becomes its child,
and it ends when all of that was killed, also when the agent is. It needs no clock: the agent says when time is up.
"""

import errno
import itertools
import os
import select
import signal
import time

from . import child, linux, proc, records
from .complaints import complain
from .fifos import drain
from .launch import Unfit
from .probes import Question

MARK = b"FLEETCTL_PROBE"  # in the environment of what a probe runs: it is found by that where its sitter was killed
SWEEP_PAUSE_S, SWEEP_ROUNDS, SWEEP_SLOW_S = 0.002, 1000, 0.5
REAP_S = 0.05
REAP_AGAIN_S = 1.0

numbers = itertools.count(1)


class Command(Question):
    """`command()` gives (file, arguments, environment, folder) or raises Unfit.

    After its answer it is `gone()` only once nothing of it runs any more.
    """

    def __init__(self, loop, command, timeout_s: float, done) -> None:
        self.command = command
        self.sitter, self.start, self.heard, self.hold = 0, 0, -1, -1
        self.content = b""
        super().__init__(loop, timeout_s, done)

    def gone(self) -> bool:
        return self.sitter == 0

    def begin(self) -> None:
        try:
            file, arguments, environment, folder = self.command()
        except Unfit as unfit:
            self.end(None, "it can't be run: %s" % unfit.args[1])
            return
        self.mark = MARK + b"=%d.%d" % (os.getpid(), next(numbers))
        variables = dict(environment)
        variables[MARK] = self.mark.partition(b"=")[2]
        try:
            self.fork((file, arguments, variables, folder))
        except OSError as error:
            self.end(None, "it can't be run: %s" % error.strerror)

    def fork(self, program) -> None:
        answer, heard = -1, -1
        try:
            heard, answer = os.pipe()
            held, self.hold = os.pipe()
            try:
                self.sitter = os.fork()
                if self.sitter == 0:
                    sit(program, answer, held)
            finally:
                os.close(held)
        except OSError:
            self.let_go()
            if heard >= 0:
                os.close(heard)
            raise
        finally:
            if answer >= 0:
                os.close(answer)
        self.heard, self.start = heard, proc.start_of(self.sitter)
        self.loop.watch(heard, self.safely(self.hear))

    def hear(self, _events: int) -> None:
        part = os.read(self.heard, 4096)
        self.content += part
        if b"\n" in self.content and not self.over:
            self.end(*verdict(self.content.partition(b"\n")[0].decode("ascii", "replace")))
        if not part:
            self.loop.unwatch(self.heard)
            os.close(self.heard)
            self.heard = -1
            self.reap()

    def reap(self) -> None:
        """The sitter closed its end: it has ended, or is about to."""
        try:
            pid, status = os.waitpid(self.sitter, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.sitter, 0
        if pid == 0:
            self.loop.after(REAP_S, self.reap)
            return
        if status == 0:
            self.sitter = 0
        else:  # killed by somebody: what it looked after is ours to end
            self.end_leftovers()
        self.end(None, "it could not be asked: its prober was killed")

    def end_leftovers(self) -> None:
        try:
            for pid, start in proc.with_environment(self.mark):
                proc.send(pid, start, signal.SIGKILL)
            self.sitter = 0
        except OSError:  # no descriptors to look for it
            self.loop.after(REAP_AGAIN_S, self.end_leftovers)

    def late_detail(self) -> str:
        return "it did not end within %g s: killed" % self.timeout_s

    def close(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        """The sitter's word to end all there is."""
        if self.hold >= 0:
            os.close(self.hold)
            self.hold = -1


def verdict(said: str):
    """(yes, what) of what a sitter said: `exited N`, `killed by S` or `unexecutable E`."""
    if said.startswith("unexecutable"):
        return None, "it can't be run: %s" % os.strerror(int(said.split()[1]))
    return said == "exited 0", "it " + ("was " if said.startswith("killed") else "") + said


# In the sitter


def sit(program, answer: int, held: int) -> None:
    """Run the program, say how it ended, end what is left of it. Never returns."""
    status = 1
    try:
        os.setsid()
        linux.become_subreaper()
        linux.name_process("probe")
        proc.close_descriptors((2, answer, held))
        wake = hear_children()
        pid = begin(program, answer)
        if pid:
            watch_over(pid, answer, held, wake)
        sweep()
        status = 0
    except BaseException as error:
        complain("probe: %r" % error)
    finally:
        os._exit(status)


def hear_children() -> int:
    """A descriptor that is readable when a child ended. What ends sessions and shutdowns does not end the sitter."""
    wake, wake_write = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_write, False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return wake


def begin(program, answer: int) -> int:
    """The pid of the command, or 0 where it could not be executed, which is said."""
    failed, fail = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.write(answer, b"unexecutable %d\n" % (error.errno or errno.EAGAIN))
        return 0
    if pid == 0:
        become(program, fail)
    os.close(fail)
    failure = os.read(failed, 16)
    os.close(failed)
    if failure:
        os.write(answer, b"unexecutable %s\n" % failure)
        return 0
    return pid


def become(program, fail: int) -> None:
    file, arguments, environment, folder = program
    try:
        os.setsid()
        child.reset_signals()
        linux.limit_core(allowed=False)
        child.raise_oom_score()
        os.umask(0o022)
        os.chdir(folder)
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        proc.close_descriptors((0, 1, 2, fail))
        os.execve(file, arguments, environment)
    except OSError as error:
        os.write(fail, b"%d" % (error.errno or errno.EIO))
    finally:
        os._exit(127)


def watch_over(pid: int, answer: int, held: int, wake: int) -> None:
    """Until it ended, or the agent lets go of `held`: time is up, nobody asks any more, or the agent is dead."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(held, select.POLLIN)
    while True:
        ended = reap(pid)
        if ended:
            os.write(answer, ended.encode() + b"\n")
            return
        for descriptor, _ in poll.poll():
            if descriptor == held:
                return
            drain(wake)


def reap(pid: int) -> str:
    """How the command ended, if it did; also takes what else ended below us."""
    said = ""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return said
        if found is None:
            return said
        if found.si_pid == pid:
            said = records.describe(found.si_code, found.si_status)


def sweep() -> None:
    rounds = 0
    while True:
        for pid, start in proc.descendants(os.getpid()):
            proc.send(pid, start, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                rounds += 1
                time.sleep(SWEEP_PAUSE_S if rounds < SWEEP_ROUNDS else SWEEP_SLOW_S)
        except ChildProcessError:
            return
