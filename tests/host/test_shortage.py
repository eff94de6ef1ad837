"""No descriptors, no room for another process, a bell that is full: nobody looks dead, and no word is lost for good."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.host.driven import lives, wait_until

if TYPE_CHECKING:
    from pathlib import Path

SLOW = {"backoff_min_s": 100.0, "backoff_max_s": 100.0, "reset_s": 600.0}


@pytest.fixture
def python(oldest_python):
    """The one with the least: what these tests are about does not differ between versions."""
    return oldest_python


@contextmanager
def no_descriptors(pid: int):
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)


def complaints(host, of: str) -> int:
    return int((host.root / "agent.log").read_text().count(of))


def shortages(host) -> int:
    return complaints(host, "Too many open files")


def test_an_end_that_can_not_be_read_for_want_of_descriptors_is_read_later(host):
    host.run("web.0@1", "while [ ! -e go ]; do sleep 0.05; done; exit 8", restart=SLOW)
    host.ready("web.0@1")
    with no_descriptors(host.agent_pid()):
        (host.folder("web.0@1") / "run" / "go").touch()
        wait_until(lambda: host.record("web.0@1").tree == "empty", "its shim wrote it down")
        wait_until(lambda: shortages(host), "the agent could not read it")
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 8"
    wait_until(lambda: not host.shims(), "its shim was told that all was heard")


def test_a_program_whose_shim_dies_during_a_shortage_is_neither_dead_nor_alone(host):
    host.run("web.0@1", "setsid sleep 1001 & exec sleep 1000", restart=SLOW)
    pid = host.ready("web.0@1")["pid"]
    with no_descriptors(host.agent_pid()):
        host.kill(host.shim_pid("web.0@1"))
        wait_until(lambda: shortages(host) >= 2, "the agent looked for it in vain")
    row = host.ready("web.0@1", for_s=0.2)
    assert (row["pid"], row["restarts"], row["last_exit"]) == (pid, 0, None), row["story"]
    before = shortages(host)
    with no_descriptors(host.agent_pid()):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: shortages(host) >= before + 2, "the agent looked for what is left in vain")
    row = host.until("web.0@1", lambda row: row["phase"] == "waiting" and row["pid"] is None)
    assert row["last_exit"] == "killed by SIGKILL"
    wait_until(lambda: not [command for command in host.processes().values() if "sleep 1001" in command])


def test_a_kill_that_could_not_be_told_is_told_later(host):
    host.run("web.0@1", "trap '' TERM; while :; do sleep 0.1; done", stop={"signal": "TERM", "timeout_s": 1.0})
    host.ready("web.0@1")
    host.stop("web.0@1")
    with no_descriptors(host.agent_pid()):
        time.sleep(2.0)  # the grace is over in this time
    assert host.stopped("web.0@1", timeout_s=15.0)["last_exit"] == "killed by SIGKILL"


FEW = (
    ("agent.py", "if soft != hard:", "if True:"),
    ("agent.py", "(min(hard, 65536) if hard > 0 else 65536, hard)", "(int(open('few').read()), hard)"),
)


@pytest.mark.parametrize("few", [22, 34])
def test_an_agent_that_begins_with_too_few_descriptors_takes_nothing_for_dead(host, few):
    """Half of the programs have lost their shim, so that no lock would keep a second copy from being started."""
    host.edits = FEW
    host.root.mkdir()
    (host.root / "few").write_text("4000")
    names = [f"web.{index}@1" for index in range(6)]
    for name in names:
        host.run(name, "exec sleep 1001", restart=SLOW)
    before = {name: (host.ready(name)["pid"], 0, None) for name in names}
    for name in names[::2]:
        host.kill(host.shim_pid(name))
        host.ready(name)
    (host.root / "few").write_text(str(few))
    host.kill_agent()
    wait_until(lambda: shortages(host), "there are too few")
    (host.root / "few").write_text("4000")
    for agent in host.role("agent"):
        if lives(agent):
            resource.prlimit(agent, resource.RLIMIT_NOFILE, (4000, resource.prlimit(agent, resource.RLIMIT_NOFILE)[1]))
    after = {name: host.ready(name, for_s=0.5) for name in names}
    assert {name: (row["pid"], row["restarts"], row["last_exit"]) for name, row in after.items()} == before
    assert len([command for command in host.processes().values() if "sleep 1001" in command]) == len(names)


def fill(bell: Path) -> None:
    descriptor = os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"no.0@1\n")
    os.close(descriptor)


def test_a_bell_that_is_full_is_rung_again(host):
    """A user who has no more room in pipes gets small ones."""
    host.edits = (("linux.py", "PIPE_BYTES = 256 * 1024", "PIPE_BYTES = 4096"),)
    host.run("web.0@1", "while [ ! -e go ]; do sleep 0.05; done; exit 8", restart=SLOW)
    host.ready("web.0@1")
    agent = host.agent_pid()
    os.kill(agent, signal.SIGSTOP)
    try:
        fill(host.root / "doorbell")
        (host.folder("web.0@1") / "run" / "go").touch()
        wait_until(lambda: host.record("web.0@1").tree == "empty")
    finally:
        os.kill(agent, signal.SIGCONT)
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 8"
    assert host.agent_pid() == agent


NO_FORK = (
    "errands.py",
    "self.pid = os.fork()",
    "self.pid = os.fork() if not os.path.exists('full') else os.kill(-2**22 - 1, 0)",
)
NO_SHIM = (
    "nursery.py",
    "        pid = fork()\n        if pid == 0:\n            live(",
    "        pid = -1\n        if pid == 0:\n            live(",
)


def test_a_program_for_which_no_process_can_be_forked_says_so(host):
    host.edits = (NO_SHIM,)
    host.run("web.0@1", "exec sleep 1000", restart=SLOW)
    row = host.until("web.0@1", lambda row: row["phase"] == "waiting")
    assert "no process could be forked for it" in row["reason"]


LOOKS = ("places.py", 'os.environ.get("FLEETCTL_BOOT") == "none"', "False")
FINDS_NONE = ("places.py", "offers = [(SCOPE, scope), (BARE, bare)]", "offers = []")


def test_an_errand_for_which_there_is_no_room_is_done_later_and_the_start_with_it(host):
    host.edits = (NO_FORK, LOOKS, FINDS_NONE)
    host.root.mkdir()
    (host.root / "full").touch()
    host.run("web.0@1", "exec sleep 1000")
    wait_until(lambda: complaints(host, "for an errand"), "it could not be forked")
    (host.root / "full").unlink()
    host.ready("web.0@1", timeout_s=15.0)
