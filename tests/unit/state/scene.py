"""Words the tests of the store share: a clock that is set, other processes, a small plan."""

import os
import signal
import traceback
from contextlib import contextmanager

from fleetctl.model.instant import Instant
from fleetctl.model.job import Digest, JobSpec, Release
from fleetctl.model.memory import Wish
from fleetctl.model.plan import Held, HeldKind, Plan, Stage, Start, Stop, Upload
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.verdict import Health, HostVerdict

WALL = 1_750_000_000.0
DIGEST = Digest("ab" * 32)
OTHER_DIGEST = Digest("cd" * 32)


class SetClock:
    """Both clocks of a machine, each moved by hand."""

    def __init__(self, now=1000.0, wall=WALL):
        self.boottime, self.walltime = now, wall

    def now(self):
        return Instant(self.boottime)

    def wall(self):
        return self.walltime

    async def sleep(self, seconds):
        raise NotImplementedError

    def passes(self, seconds):
        self.boottime += seconds
        self.walltime += seconds


def release(number, *, job="web", artifact=DIGEST, command=("./web",)):
    return Release(number, JobSpec(name=job, hosts="app", command=command), artifact)


def wish(number, *, job="web", replicas=2, stopped=False):
    return Wish(job, number, replicas, stopped=stopped)


def plan(generation, *stages, held=(), verdicts=None):
    return Plan(Generation(generation), tuple(Stage(actions) for actions in stages), held, verdicts or {})


def rollout(generation, *, since=990.0):
    """A plan with something of everything."""
    new, old = (InstanceName.parse(f"web.0@{epoch}") for epoch in (generation, 400))
    return plan(
        generation,
        (Upload("h1", Generation(generation), DIGEST, "web", "h1 lacks it"),),
        (Start("h1", new, 2, (("http", 20000),), "192.0.2.1", "replaces web.0@400"),),
        (Stop("h2", old, 30.0, "superseded by web.0@1"),),
        held=(Held("web.1", HeldKind.BUDGET, "budget 1 of 1 used by web.0"),),
        verdicts={"h1": HostVerdict(Health.HEALTHY, "answered", Instant(since))},
    )


@contextmanager
def another_process(work):
    """Runs `work(say)` in a process of its own, which then stays alive; gives its pid and what it said.

    It is killed at the end, where it is not gone by then.
    """
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        _live(work, heard, said)
    os.close(said)
    with os.fdopen(heard, encoding="utf-8") as hearing:
        try:
            yield pid, hearing
        finally:
            kill(pid)


def _live(work, heard, said):
    """Never returns: the test runner that this process is a copy of must not go on twice."""
    try:
        os.close(heard)
        with os.fdopen(said, "w", encoding="utf-8", buffering=1) as saying:
            work(lambda text: print(text, file=saying))
            while True:
                signal.pause()
    except BaseException:  # noqa: BLE001 (whatever it is, it is told, and the copy ends)
        traceback.print_exc()
    finally:
        os._exit(1)


def kill(pid):
    """kill -9, and asks for it; harmless the second time."""
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def wait_until_dead(pid):
    """Until the process is dead and nobody has asked for it: a zombie."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
