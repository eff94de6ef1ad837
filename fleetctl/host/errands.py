"""What takes long or may hang is done by a child with a deadline, so that the loop goes on."""

import json
import os
import signal

from . import complaints, linux, proc
from .loop import Loop, Timer

ANSWER_BYTES_MAX = 1024 * 1024
AGAIN_S = 1.0


class Errand:
    """Calls `work()` in a child, then `done(value, error)` here: its JSON-able value and "", or None and the reason."""

    def __init__(self, loop: Loop, work, done, deadline_s: float) -> None:
        self.loop, self.done = loop, done
        self.work, self.deadline_s = work, deadline_s
        self.content = b""
        self.pid, self.pipe = 0, -1
        self.timer = Timer()
        self.begin()

    def begin(self) -> None:
        """Later, where there is no room for another process or pipe now."""
        write = -1
        try:
            self.pipe, write = os.pipe()
            self.pid = os.fork()
        except OSError as error:
            complaints.complain("agent: no child can be had for an errand: %s" % error)
            if self.pipe >= 0:
                os.close(self.pipe)
                os.close(write)
            self.pipe = -1
            self.timer = self.loop.after(AGAIN_S, self.begin)
            return
        if self.pid == 0:
            run(self.work, write)
        os.close(write)
        self.loop.watch(self.pipe, self.hear)
        self.timer = self.loop.after(self.deadline_s, self.give_up)

    def hear(self, _events: int) -> None:
        part = os.read(self.pipe, 65536)
        self.content += part
        if not part or len(self.content) > ANSWER_BYTES_MAX:
            self.finish("")

    def cancel(self) -> None:
        self.done = lambda _value, _error: None
        self.finish("")

    def give_up(self) -> None:
        self.finish("it took too long")

    def finish(self, reason: str) -> None:
        self.timer.cancel()
        if self.pid == 0:
            return  # it was cancelled before it began
        self.loop.unwatch(self.pipe)
        os.close(self.pipe)
        try:
            os.kill(self.pid, signal.SIGKILL)  # our own child, not yet reaped: nobody else can have its number
        except OSError:
            pass
        self.reap()
        try:
            value, error = json.loads(self.content.decode("utf-8"))
        except ValueError:
            value, error = None, reason or "the child ended without an answer"
        self.done(value, error)

    def reap(self) -> None:
        try:
            if os.waitpid(self.pid, os.WNOHANG)[0] == 0:  # it sleeps in the kernel: look again later
                self.loop.after(0.05, self.reap)
        except ChildProcessError:
            pass


def run(work, write: int) -> None:
    """In the child: hold nothing of the agent's but the pipe, answer, and end."""
    try:
        linux.die_with_parent()
        proc.close_descriptors((0, 1, 2, write))
        try:
            answer = [work(), ""]
        except Exception as error:
            answer = [None, complaints.in_words(error)]
        content = json.dumps(answer).encode("ascii")
        while content:
            content = content[os.write(write, content) :]
    finally:
        os._exit(0)
