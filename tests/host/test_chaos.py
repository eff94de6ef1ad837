"""Kills at random moments, while programs start, end and are started again: never two copies, no exit or line lost."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress

import pytest

from fleetctl.host import records
from tests.host.driven import lives, wait_until
from tests.host.test_notify import NOTIFY
from tests.host.test_probes import agent_of

PROGRAM = """
import fcntl, os, random, sys, time
lock = open("lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open("DOUBLE", "w").close()
with open("starts", "a") as file:
    file.write("%d\\\\n" % os.getpid())
time.sleep(random.random() * 0.4)
print("ended", os.getpid(), flush=True)
os._exit(random.choice([1, 2, 3]))
"""

TIGHT = {"backoff_min_s": 0.02, "backoff_max_s": 0.05, "reset_s": 600.0}


@pytest.fixture
def python(oldest_python):
    """The one with the least: what these tests are about does not differ between versions."""
    return oldest_python


def strike(host, what: str) -> None:
    pids = {
        "agent": host.role("agent"),
        "supervisor": [host.supervisor_pid()],
        "both": [host.supervisor_pid(), *host.role("agent")],
        "shim": host.shims()[:1],
        "nursery": host.nurseries(),
    }[what]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def starts(host, name: str) -> list[str]:
    with suppress(FileNotFoundError):
        return (host.folder(name) / "run" / "starts").read_text().split()
    return []


ENDS = {"exited 1", "exited 2", "exited 3"}


def ends(host, name: str) -> list[str]:
    """How the runs that are still on record ended, oldest first."""
    folder = str(host.folder(name) / "exit")
    return [records.read(f"{folder}/{run}").ended for run in records.runs(folder)]


OURS = ("agent", "supervisor", "both", "nursery")


@pytest.mark.parametrize("victims", [OURS, (*OURS, "shim")])
@pytest.mark.parametrize("seconds", [12, pytest.param(300, marks=pytest.mark.soak)])
def test_never_two_copies_and_no_exit_lost(host, victims, seconds):
    dice = random.Random(f"{victims}{seconds}")
    names = [f"web.{index}@1" for index in range(4)]
    for name in names:
        host.start(name, [sys.executable, "-I", "-S", "-c", PROGRAM.replace("\\\\n", "\\n")], restart=TIGHT)
    end = time.monotonic() + seconds
    while time.monotonic() < end or min(len(starts(host, name)) for name in names) < seconds / 4:
        assert time.monotonic() < end + 10 * seconds, "each is kept running, though on a busy machine it takes longer"
        # Where a shim was killed, an agent waits a second for what the supervisor knows of the program's end: it has to
        # live for longer now and then, or nothing goes on.
        time.sleep(dice.choice((0.05, 0.2, 0.3, 1.5)))
        strike(host, dice.choice(victims))
        if dice.random() < 0.5:
            host.report()
    for name in names:
        host.stop(name)
    rows = {name: host.stopped(name) for name in names}
    for name in names:
        assert not (host.folder(name) / "run" / "DOUBLE").exists(), name
        pids = starts(host, name)
        wait_until(lambda pids=pids: not any(lives(int(pid)) for pid in pids[-1:]))
        said = [line.split()[1] for line in host.lines(name, 10_000) if line.startswith("ended")]
        assert len(set(said)) == len(said), "no line was doubled"
        assert rows[name]["restarts"] + 1 >= len(pids), "each start has a run of its own"
        if "shim" not in victims:
            assert all(ended in ENDS for ended in ends(host, name)[:-1]), ends(host, name)
            assert set(pids) - set(said) <= {pids[-1]}, (
                "what a program said last is kept; only the stopped one said none"
            )
    assert not [command for command in host.processes().values() if "fcntl.flock" in command]
    wait_until(lambda: host.shims() == [], "all shims left")


FILLING = "x" * 1010
RATE = 100 * 1024 * 1024  # bytes a second, at most
LEAST_MIB_S = 5.0  # two busy cores reach that, with the agent away half of the time; busier ones go on for longer

TALKER = f"""
import fcntl, os, random, socket, time
lock = open("lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open("DOUBLE", "w").close()
speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
speaker.setblocking(False)
hearer = os.environ["NOTIFY_SOCKET"]
if hearer[0] == "@":
    hearer = chr(0) + hearer[1:]
def say(words):
    try:
        speaker.sendto(words, hearer)
    except BlockingIOError:
        pass
def note(name, text):
    with open(name, "a") as file:
        file.write(text + chr(10))
note("starts", str(os.getpid()))
number = int(open("exits").read().split()[-1]) if os.path.exists("exits") else 0
say(b"READY=1")
filling = b"{FILLING}" + bytes([10])
began, wrote, beat = time.monotonic(), 0, 0
end = began + 0.5 + random.random() * 3
while time.monotonic() < end:
    block = b"".join(b"%012d %s" % (count, filling) for count in range(number, number + 64))
    os.write(1, block)
    number, wrote = number + 64, wrote + len(block)
    if time.monotonic() - beat > 0.05:
        beat = time.monotonic()
        say(b"WATCHDOG=1")
    time.sleep(max(0, wrote / {RATE} - (time.monotonic() - began)))
code = random.choice([1, 2, 3])
note("exits", "%d %d %d" % (os.getpid(), code, number))
os._exit(code)
"""


class Ledger:
    """The lines of a log, as they come: each is the number after the last one's, and whole."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.number = 0
        self.rest = b""

    @property
    def mib(self) -> float:
        return self.number * 1024 / 2**20

    def collect(self) -> None:
        """The files that were cut off; they are removed, for all of them together are large."""
        for path in sorted(path for path in self.folder.iterdir() if path.name.isdigit()):
            self.read(path)
            path.unlink()

    def read(self, path) -> None:
        *lines, self.rest = (self.rest + path.read_bytes()).split(b"\n")
        for line in lines:
            assert line == b"%012d %s" % (self.number, FILLING.encode()), (path, self.number, len(line), line[:40])
            self.number += 1


def words(host, name: str, file: str) -> list[list[str]]:
    return [line.split() for line in (host.folder(name) / "run" / file).read_text().splitlines()]


@pytest.mark.parametrize("seconds", [20, pytest.param(300, marks=pytest.mark.soak)])
def test_no_line_that_entered_the_pipe_is_lost_over_kills_of_the_agent(host, seconds):
    dice = random.Random(f"lines{seconds}")
    host.start(
        "web.0@1",
        [sys.executable, "-I", "-S", "-c", TALKER],
        ready=NOTIFY,
        alive={"heartbeat": {"timeout_s": 15.0}},
        log={"size_bytes": 16 * 1024 * 1024, "keep": 1000, "when_full": "block"},
        restart=TIGHT,
    )
    ledger, kills, began = Ledger(host.folder("web.0@1") / "log"), 0, time.monotonic()
    while time.monotonic() < began + seconds or kills < seconds / 4 or ledger.mib < seconds * LEAST_MIB_S:
        assert time.monotonic() < began + 10 * seconds, f"{ledger.mib:.0f} MiB over {kills} kills"
        time.sleep(dice.uniform(0.1, 1.2))
        with suppress(ProcessLookupError):
            os.kill(agent_of(host), signal.SIGKILL)
            kills += 1
        ledger.collect()
    took_s = time.monotonic() - began
    host.stop("web.0@1")
    row = host.stopped("web.0@1")
    ledger.collect()
    ledger.read(host.folder("web.0@1") / "log" / "current")
    assert not (host.folder("web.0@1") / "run" / "DOUBLE").exists()
    starts, exits = words(host, "web.0@1", "starts"), words(host, "web.0@1", "exits")
    assert ledger.number >= int(exits[-1][2]), "what entered the pipe is in the log"
    assert len(starts) - len(exits) in (0, 1), "each exit was followed by one start, but for the last"
    assert row["restarts"] + 1 >= len(starts), "each start is a run of its own"
    codes, folder = {int(pid): code for pid, code, _ in exits}, str(host.folder("web.0@1") / "exit")
    seen = [records.read(f"{folder}/{run}") for run in records.runs(folder)]
    assert [found.ended for found in seen[:-1]] == [f"exited {codes[found.pid]}" for found in seen[:-1]]
    print(f"{ledger.mib / took_s:.1f} MiB/s over {kills} kills and {len(exits)} exits")
