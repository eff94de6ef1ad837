"""How runs end: by themselves, in a loop, into the background, frozen, or not at all; with real processes."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host.driven import Waited, children, descriptors, lives, wait_until

UNIFIED = next(
    (place for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if Path(place, "cgroup.procs").exists()), ""
)
DAEMON = (
    "import os, time\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "print('worker', os.getpid(), flush=True)\n"
    "time.sleep(1000)\n"
)


def restart(shortest_s: float, longest_s: float, reset_s: float = 600.0, alarm: tuple[int, float] = (5, 600.0)):
    limits = {"backoff_min_s": shortest_s, "backoff_max_s": longest_s, "reset_s": reset_s}
    return {**limits, "alarm_exits": alarm[0], "alarm_s": alarm[1]}


def story(row) -> list[str]:
    return [event["what"] for event in row["story"]]


SEES_ITS_FORERUNNERS = (
    "import os\n"
    "def lives(pid):\n"
    "  try: os.kill(pid, 0)\n"
    "  except OSError: return False\n"
    "  return True\n"
    "before = open('workers').read().split() if os.path.exists('workers') else []\n"
    "if any(lives(int(pid)) for pid in before): open('DOUBLE', 'w').close()\n"
)


def test_a_program_that_goes_to_the_background_is_told_and_its_worker_ends_before_any_restart(host):
    noted = DAEMON.replace("time.sleep", "open('workers', 'a').write('%d\\n' % os.getpid()); time.sleep")
    argv = [sys.executable, "-I", "-S", "-c", SEES_ITS_FORERUNNERS + noted]
    row = host.start("web.0@1", argv, restart=restart(0.2, 0.2))
    row = host.until("web.0@1", lambda row: row["problem"])
    assert row["problem"]["kind"] == "daemonized"
    assert "foreground" in row["problem"]["detail"]
    row = host.until("web.0@1", lambda row: row["restarts"] >= 3)
    assert any("background" in what for what in story(row))
    host.stop("web.0@1")
    host.stopped("web.0@1")
    workers = (host.folder("web.0@1") / "run" / "workers").read_text().split()
    assert not (host.folder("web.0@1") / "run" / "DOUBLE").exists()
    assert not [pid for pid in workers if lives(int(pid))]


def test_await_does_not_wait_for_a_program_that_goes_to_the_background(host):
    host.start("web.0@1", [sys.executable, "-I", "-S", "-c", DAEMON], min_healthy_s=20.0)
    with pytest.raises(AssertionError, match="foreground"):
        host.ready("web.0@1")


def test_a_double_forked_daemon_of_a_living_program_ends_with_it(host):
    host.run(
        "web.0@1", f'{sys.executable} -I -S -c "{DAEMON}"; exec sleep 1000', stop={"signal": "TERM", "timeout_s": 5.0}
    )
    worker = int(wait_until(lambda: host.lines("web.0@1"), "a worker")[0].split()[1])
    row = host.ready("web.0@1")
    assert lives(worker)
    host.stop("web.0@1")
    host.stopped("web.0@1")
    assert not lives(worker)
    assert not lives(row["pid"])


def test_at_the_alarm_it_is_crash_looping_and_is_started_again_at_the_longest_backoff_for_ever(host):
    script = "cat /proc/uptime >> starts; exit 3"
    host.run("web.0@1", script, restart=restart(0.05, 1.5, alarm=(3, 600.0)))
    row = host.until("web.0@1", lambda row: row["restarts"] >= 5)
    assert row["problem"]["kind"] == "crash_looping"
    assert "3 ends" in row["problem"]["detail"]
    assert row["last_exit"] == "exited 3"
    assert any(what.startswith("exited 3 after") for what in story(row))
    starts = [float(line.split()[0]) for line in (host.folder("web.0@1") / "run" / "starts").read_text().splitlines()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(pause >= 1.5 * 0.75 - 0.02 for pause in pauses[2:]), pauses
    host.stop("web.0@1")
    host.stopped("web.0@1")


def test_ready_for_long_enough_makes_the_backoff_short_again_and_ends_the_crash_loop(host):
    script = "[ -e well ] && exec sleep 1000; exit 3"
    host.run("web.0@1", script, restart=restart(0.05, 1.0, reset_s=0.5, alarm=(3, 600.0)))
    host.until("web.0@1", lambda row: row["problem"] and row["problem"]["kind"] == "crash_looping")
    (host.folder("web.0@1") / "run" / "well").touch()
    row = host.until("web.0@1", lambda row: row["phase"] == "ready" and row["problem"] is None)
    assert row["ready_for_s"] >= 0.4
    os.kill(row["pid"], signal.SIGKILL)
    row = host.until("web.0@1", lambda row: row["last_exit"] == "killed by SIGKILL")
    assert row["problem"] is None, "the ends before it was well are forgotten"


@pytest.mark.parametrize("restarts", [300, pytest.param(10_000, marks=pytest.mark.soak)])
def test_restarts_leave_open_files_and_memory_as_they_were(host, restarts):
    host.run("web.0@1", "exit 1", restart=restart(0.001, 0.001))
    limit_s = 120.0 + restarts / 5

    def many(count: int) -> None:
        wait_until(lambda: host.row("web.0@1")["restarts"] >= count, f"{count} restarts", limit_s)

    def settled() -> tuple[int, list[str], list[str]]:
        """The agent's memory and what both have open, between two runs."""
        host.stop("web.0@1")
        host.stopped("web.0@1")
        agent, supervisor = host.agent_pid(), host.supervisor_pid()
        wait_until(lambda: not host.shims(), "all shims left")
        return private_bytes(agent), sorted(descriptors(agent)), sorted(descriptors(supervisor))

    many(50)
    agent = host.agent_pid()
    before = private_bytes(agent), len(descriptors(agent)), len(descriptors(host.supervisor_pid()))
    many(restarts)
    assert host.agent_pid() == agent
    memory, ours, supervisors = settled()
    assert memory - before[0] < 1024 * 1024, (host.root / "agent.log").read_text()
    assert len(ours) <= before[1] + 1
    assert len(supervisors) <= before[2] + 1
    assert not [pid for pid in children(host.supervisor_pid()) if not lives(pid)], "no zombies"
    assert len(list((host.folder("web.0@1") / "exit").iterdir())) <= 12


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_", "Swap:")))


@pytest.fixture
def frozen_group():
    """A control group of the second version, which can freeze without any controller."""
    group = Path(UNIFIED, f"fleetctl-test-{os.getpid()}")
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no cgroup v2 that we may use")
    yield group
    (group / "cgroup.freeze").write_text("0")
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_a_frozen_program_ends_too(host, frozen_group):
    ignores = "trap '' TERM; sleep 1001 & echo up; while :; do sleep 1000; done"
    host.run("web.0@1", ignores, stop={"signal": "TERM", "timeout_s": 0.5})
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["up"])
    pid = host.ready("web.0@1")["pid"]
    for member in (pid, *children(pid)):
        (frozen_group / "cgroup.procs").write_text(str(member))
    (frozen_group / "cgroup.freeze").write_text("1")
    wait_until(lambda: "frozen 1" in (frozen_group / "cgroup.events").read_text(), "frozen")
    host.stop("web.0@1")
    row = host.stopped("web.0@1")
    assert row["last_exit"] == "killed by SIGKILL"
    assert "killed" in row["reason"]
    assert not [command for command in host.processes().values() if "sleep 100" in command]


def test_what_ignores_sigterm_gets_sigkill_at_the_grace(host):
    """By the instants that the host itself records: stopping_since and the end in the record of the run."""
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    host.run("web.0@1", script, stop={"signal": "TERM", "timeout_s": 2.0})
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["up"])
    host.ready("web.0@1")
    with Waited(host.agent_pid(), host.shim_pid("web.0@1")) as waited:
        host.stop("web.0@1")
        row = host.stopped("web.0@1")
    record, status = host.record("web.0@1"), host.status("web.0@1")
    took_s = float(record.ended_at) - status["stopping_since"]
    late_s = took_s - waited.seconds
    assert took_s >= 2.0
    assert late_s < 2.5 + 1.0, "within half a second of the grace, once they had a core; one more for a slow disk"
    assert any("did not end within 2 s" in what for what in story(row)), row["story"]


AT_ONCE = {"signal": "TERM", "timeout_s": 0.2}
SLOW_PLACE = (
    ("places.py", 'os.environ.get("FLEETCTL_BOOT") == "none"', "False"),
    ("places.py", "offers = [(SCOPE, scope), (BARE, bare)]", "offers = __import__('time').sleep(8) or []"),
)


@contextmanager
def suspended(pid: int):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_was_asked_for_and_never_began_is_stopped_and_never_begins(host):
    host.run("web.9@1", "exec sleep 1000")
    host.ready("web.9@1")
    with suspended(host.nursery_pid()):
        host.run("web.0@1", "exec sleep 1001", stop=AT_ONCE)
        wait_until((host.folder("web.0@1") / "launch").exists, "asked for")
        host.stop("web.0@1")
        assert host.stopped("web.0@1", timeout_s=5.0)["stuck"] == []
    host.run("web.8@1", "exec sleep 1000")
    host.ready("web.8@1")  # the nursery takes one after the other: web.0 has had its turn
    wait_until(lambda: len(host.shims()) == 2)
    assert not [command for command in host.processes().values() if "sleep 1001" in command]


def test_a_start_that_waits_for_its_control_groups_is_stopped_at_the_grace(host):
    host.edits = SLOW_PLACE
    host.run("web.0@1", "exec sleep 1001", stop=AT_ONCE)
    host.stop("web.0@1")
    assert host.stopped("web.0@1", timeout_s=5.0)["phase"] == "stopped"
    host.until("web.0@1", lambda _: "advisory: " in host.report()["facts"]["limits"])
    wait_until(lambda: "being looked for" not in host.report()["facts"]["limits"], "the search is over")
    assert host.row("web.0@1")["phase"] == "stopped"
    assert not [command for command in host.processes().values() if "sleep 1001" in command]


def test_a_shim_that_dies_before_it_hears_that_it_is_to_kill_leaves_that_to_the_agent(host):
    host.run("web.0@1", "trap '' TERM; sleep 1001 & while :; do sleep 0.1; done", stop=AT_ONCE)
    pid = host.ready("web.0@1")["pid"]
    shim = host.shim_pid("web.0@1")
    os.kill(shim, signal.SIGSTOP)
    host.stop("web.0@1")
    wait_until(lambda: host.status("web.0@1")["state"] == "killing")
    host.kill(shim)
    assert host.stopped("web.0@1", timeout_s=15.0)["stuck"] == []
    assert not lives(pid)
    assert not [command for command in host.processes().values() if "sleep 1001" in command]
