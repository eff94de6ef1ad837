"""The supervisor's side of the nursery: asks it for one shim after the other, and for another nursery when it died.

A shim that was asked for when the nursery died is asked for again: were there two of one instance, its lock decides.
"""

import os
import time

from . import fifos, held, proc

PAUSE_S = 0.2  # before a nursery is started again that died


class Shims:
    """`execute(*arguments)`: become that role of the program; `answer(name, pid, start)`, pid 0: there is none."""

    def __init__(self, root: str, execute, answer) -> None:
        self.root, self.execute, self.answer = root, execute, answer
        self.nursery = 0  # its pid
        self.channel = -1
        self.due = 0.0
        self.wanted: "list[str]" = []  # in order; the first is being forked, where there is a nursery

    def want(self, name: str) -> None:
        self.wanted.append(name)
        if len(self.wanted) == 1:
            self.ask()

    def pause_s(self):
        """How long until `begin` is to be called, or None."""
        return None if self.nursery else max(0.0, self.due - time.monotonic())

    def begin(self) -> int:
        """Start a nursery. The descriptor to listen to, or -1: not yet."""
        self.due = time.monotonic() + PAUSE_S
        channel, theirs = held.pair()
        try:
            pid = os.fork()
        except OSError:
            os.close(channel)
            os.close(theirs)
            return -1
        if pid == 0:
            os.set_inheritable(theirs, True)
            self.execute("nursery", self.root, str(theirs))
        os.close(theirs)
        os.set_blocking(channel, False)
        self.nursery, self.channel = pid, channel
        self.ask()
        return channel

    def ask(self) -> None:
        if self.nursery and self.wanted:
            try:
                os.write(self.channel, self.wanted[0].encode())
            except OSError:
                pass  # it is dead: the next one is asked

    def hear(self) -> bool:
        """False: the other end is closed."""
        try:
            content = fifos.drain(self.channel)
        except OSError:
            return False  # it died with a message unread
        if not content:
            return False
        pid, name = int(content), self.wanted.pop(0)
        self.ask()
        if pid < 0:
            self.answer(name, 0, 0)
        else:
            _, parent, start = proc.stat_of(pid)
            ours = (self.nursery, os.getpid())  # the second where the nursery died right after its fork
            self.answer(name, pid, start if parent in ours else -1)  # -1: it ended, and the pid is another's
        return True

    def ended(self) -> None:
        os.close(self.channel)
        self.nursery, self.channel = 0, -1
