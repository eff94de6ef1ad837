"""The one loop of the agent: descriptors, timers and ends of processes become calls. It knows nothing of instances."""

import heapq
import os
import selectors
import sys
import time

from . import linux, proc, shim

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
LAPSES_KEPT = 64  # beyond that the two oldest count as one
LAPSE_S = 0.5  # a timer that comes later than this says that the process did not run meanwhile
GLANCE_S = 1.0  # how often a process is looked for where the kernel has no pidfd


def boottime() -> float:
    """Seconds since the boot, those asleep included: never jumps, and means the same to every process of this boot."""
    return time.clock_gettime(linux.CLOCK_BOOTTIME)


class Timer:
    """A call that is due later. One that is not pending calls nothing."""

    def __init__(self, call=None) -> None:
        self.call = call

    def pending(self) -> bool:
        return self.call is not None

    def cancel(self) -> None:
        self.call = None


class Loop:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.timers: "list[tuple[float, int, Timer]]" = []
        self.count = 0
        self.ended = False
        self.turning_since = 0.0  # since when it is at work, monotonic; 0: it waits for something to happen
        self.lapsed_at = time.monotonic()  # since when this process runs without a lapse: see heed
        self.lapses = [(self.lapsed_at, float("inf"))]  # when each ended, and how long it was: before, nobody listened
        self.slept = boottime() - time.monotonic()

    def watch(self, descriptor: int, call, events: int = READ) -> None:
        """Call `call(events)` when the descriptor is ready for one of the events. Again: other events, other call."""
        try:
            self.selector.modify(descriptor, events, call)
        except KeyError:
            self.selector.register(descriptor, events, call)

    def unwatch(self, descriptor: int) -> None:
        try:
            self.selector.unregister(descriptor)
        except (KeyError, ValueError):
            pass

    def after(self, seconds: float, call) -> Timer:
        timer = Timer(call)
        self.count += 1
        heapq.heappush(self.timers, (time.monotonic() + max(0.0, seconds), self.count, timer))
        return timer

    def watch_process(self, pid: int, start: int, call) -> "Watch":
        return Watch(self, pid, start, call)

    def run(self) -> None:
        while not self.ended:
            self.turn()

    def turn(self) -> None:
        found = self.selector.select(self.pause())
        self.turning_since = self.heed()
        for key, events in found:
            if self.selector.get_map().get(key.fd) is key:  # an earlier call of this turn may have let go of it
                self.guarded(key.data, events)
        now = self.heed()
        while self.timers and self.timers[0][0] <= now:
            timer = heapq.heappop(self.timers)[2]
            call, timer.call = timer.call, None
            if call is not None:
                self.guarded(call)
        self.turning_since = 0.0

    def heed(self) -> float:
        """Now, having noticed whether this process was stopped or frozen, its machine asleep, or itself too busy.

        Whatever measures how long others kept silent asks `listened_since`: nobody listened meanwhile.
        """
        now = time.monotonic()
        slept = boottime() - now  # rises by the time asleep, which the monotonic clock does not count
        lapse_s = max(slept - self.slept, now - self.timers[0][0] if self.timers else 0.0)
        if lapse_s > LAPSE_S:
            self.lapsed_at = now
            self.lapses.append((now, lapse_s))
            if len(self.lapses) > LAPSES_KEPT:
                self.lapses[:2] = [(self.lapses[1][0], self.lapses[0][1] + self.lapses[1][1])]
        self.slept = slept
        return now

    def listened_since(self, since: float, whole_s: float) -> float:
        """From when on silence counts of what was heard at `since`, in monotonic seconds.

        A lapse of `whole_s` or more begins everything anew; a shorter one is only not counted: a host that is too busy
        for its agent every minute would else excuse a silence for ever.
        """
        for ended, lapse_s in self.lapses:
            if ended > since:
                since = ended if lapse_s >= whole_s else since + lapse_s
        return since

    def pause(self):
        while self.timers and self.timers[0][2].call is None:
            heapq.heappop(self.timers)
        if not self.timers:
            return None
        return max(0.0, self.timers[0][0] - time.monotonic())

    def guarded(self, call, *arguments) -> None:
        """A call that fails is told and does not end the loop."""
        try:
            call(*arguments)
        except Exception:
            complain()


def complain() -> None:
    """The exception at hand, to agent.log."""
    kind, error, trace = sys.exc_info()
    if kind is not None and error is not None:
        shim.complain("agent: %s:" % kind.__name__)
        sys.excepthook(kind, error, trace)
        sys.stderr.flush()  # before 3.9 what goes to a file waits until it is much


class Watch:
    """Calls once when that very process has ended: by pidfd, else by looking for it every second."""

    def __init__(self, loop: Loop, pid: int, start: int, call) -> None:
        self.loop, self.pid, self.start, self.call = loop, pid, start, call
        self.timer = Timer()
        self.descriptor = -1
        try:
            self.descriptor = linux.pidfd_open(pid)
        except OSError:
            self.timer = loop.after(0, self.glance)
            return
        if proc.ended(pid, start):
            self.drop_descriptor()
            self.timer = loop.after(0, self.finish)
        elif self.descriptor >= 0:
            loop.watch(self.descriptor, self.finish)
        else:
            self.timer = loop.after(GLANCE_S, self.glance)

    def glance(self) -> None:
        if proc.ended(self.pid, self.start):
            self.finish()
        else:
            self.timer = self.loop.after(GLANCE_S, self.glance)

    def finish(self, _events: int = 0) -> None:
        self.cancel()
        self.call()

    def cancel(self) -> None:
        self.timer.cancel()
        self.drop_descriptor()

    def drop_descriptor(self) -> None:
        if self.descriptor >= 0:
            self.loop.unwatch(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = -1
