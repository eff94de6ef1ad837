"""Kills at random moments, while programs start, end and are started again: never two copies, no exit lost."""

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
        "shim": [pid for pid in host.role("supervisor") if pid != host.supervisor_pid()][:1],
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


@pytest.mark.parametrize("victims", [("agent", "supervisor", "both"), ("agent", "supervisor", "both", "shim")])
@pytest.mark.parametrize("seconds", [8, pytest.param(300, marks=pytest.mark.soak)])
def test_never_two_copies_and_no_exit_lost(host, victims, seconds):
    dice = random.Random(f"{victims}{seconds}")
    names = [f"web.{index}@1" for index in range(4)]
    for name in names:
        host.start(name, [sys.executable, "-I", "-S", "-c", PROGRAM.replace("\\\\n", "\\n")], restart=TIGHT)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(dice.random() * 0.3)
        strike(host, dice.choice(victims))
        if dice.random() < 0.3:
            host.report()
    for name in names:
        host.stop(name)
    rows = {name: host.stopped(name) for name in names}
    for name in names:
        assert not (host.folder(name) / "run" / "DOUBLE").exists(), name
        pids = starts(host, name)
        assert len(pids) >= seconds / 4, "it was kept running"
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
    wait_until(lambda: [pid for pid in host.role("supervisor") if pid != host.supervisor_pid()] == [], "all shims left")
