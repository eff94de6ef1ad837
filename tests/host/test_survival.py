"""What survives what: the agent, the supervisor and the shims are killed, the boot changes, the program is upgraded."""

from __future__ import annotations

import os
import signal
import sys
import time
from threading import Thread

import pytest

from fleetctl.host.loop import boottime
from tests.host.driven import Waited, children, free_port, lives, queued_s, start_of, wait_until
from tests.host.test_life import http_ready, server

SLOW = {"backoff_min_s": 100.0, "backoff_max_s": 100.0, "reset_s": 600.0}


def test_the_agent_is_killed_ten_times_and_the_same_process_is_adopted(host):
    port = free_port()
    host.start("web.0@1", server(port), ports={"http": port}, ready=http_ready(port))
    before = host.ready("web.0@1")
    serials = [host.report()["serial"]]
    for _ in range(10):
        agent = host.agent_pid()
        with Waited(host.supervisor_pid()) as waited:
            began = time.monotonic()
            host.kill_agent()
            row = host.ready("web.0@1")
            queued = waited.seconds + sum(queued_s(pid) for pid in (host.agent_pid(), host.link.process.pid))
            took_s = time.monotonic() - began - queued
        assert took_s < 5.0, "it is adopted, and that is told, within 5 s; less what they waited for a core"
        assert (row["pid"], row["restarts"], row["last_exit"]) == (before["pid"], 0, None)
        assert host.agent_pid() != agent
        serials.append(host.report()["serial"])
    assert serials == sorted(set(serials)), "no serial of a dead agent means anything any more"
    host.stop("web.0@1")
    assert host.stopped("web.0@1")["last_exit"] == "killed by SIGTERM"


def test_ready_since_is_kept_over_the_agents_death(host):
    host.run("web.0@1", "exec sleep 1000")
    host.ready("web.0@1", for_s=1.0)
    host.kill_agent()
    assert host.row("web.0@1")["ready_for_s"] >= 1.0


def test_an_exit_while_no_agent_runs_is_shown_and_answered_by_one_restart(host):
    host.run("web.0@1", "[ -e once ] && exec sleep 1000; touch once; while [ ! -e go ]; do sleep 0.02; done; exit 42")
    pid = host.ready("web.0@1")["pid"]
    supervisor = host.supervisor_pid()
    os.kill(supervisor, signal.SIGSTOP)  # so that no other agent comes
    try:
        host.kill_agent()
        (host.folder("web.0@1") / "run" / "go").touch()
        wait_until(lambda: not lives(pid))
        wait_until(lambda: host.record("web.0@1").tree == "empty")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    row = host.ready("web.0@1")
    assert (row["last_exit"], row["restarts"]) == ("exited 42", 1)
    host.kill_agent()
    row = host.ready("web.0@1", for_s=0.5)
    assert (row["last_exit"], row["restarts"]) == ("exited 42", 1)


def test_the_agent_is_killed_in_the_middle_of_starts_and_restarts(host):
    host.run(
        "web.0@1", "echo run; sleep 0.1; exit 7", restart={"backoff_min_s": 0.02, "backoff_max_s": 0.05, "reset_s": 600}
    )
    for after_s in (0.0, 0.02, 0.05, 0.1, 0.2) * 2:
        time.sleep(after_s)
        host.kill_agent()
        wait_until(lambda: len(host.shims()) <= 2, "one that leaves, one that comes: never two programs")
        host.row("web.0@1")
    host.stop("web.0@1")
    row = host.stopped("web.0@1")
    assert row["last_exit"] in ("exited 7", "killed by SIGTERM", None)
    runs = host.lines("web.0@1")
    assert len(runs) <= row["restarts"] + 1


def test_a_stop_begun_by_a_killed_agent_is_finished_by_the_next(host):
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    host.run("web.0@1", script, stop={"signal": "TERM", "timeout_s": 2.0})
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["up"])
    began = time.monotonic()
    host.stop("web.0@1")
    host.kill_agent()
    assert host.stopped("web.0@1")["last_exit"] == "killed by SIGKILL"
    assert 2.0 <= time.monotonic() - began < 20.0


def test_a_drain_begun_by_a_killed_agent_goes_on_with_the_next(host):
    host.run("web.0@1", "exec sleep 1000", stop={"signal": "TERM", "timeout_s": 20.0, "drain_s": 3.0})
    host.ready("web.0@1")
    noticed = boottime()
    host.stop("web.0@1")
    host.kill_agent()
    killed = boottime()
    assert host.stopped("web.0@1")["last_exit"] == "killed by SIGTERM"
    ended = float(host.record("web.0@1").ended_at)
    assert ended > killed, "by the next agent"
    assert 3.0 <= ended - noticed < 20.0


def test_the_supervisor_is_killed_and_everything_runs_on(host):
    host.run("web.0@1", "while [ ! -e go ]; do sleep 0.05; done; exit 9", restart=SLOW)
    before = host.ready("web.0@1")
    old = host.supervisor_pid()
    host.kill(old)
    wait_until(lambda: host.supervisor_pid() != old and lives(host.supervisor_pid()), "another supervisor")
    row = host.ready("web.0@1")
    assert (row["pid"], row["restarts"]) == (before["pid"], 0)
    (host.folder("web.0@1") / "run" / "go").touch()
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 9"
    host.run("web.1@1", "exec sleep 1000")
    host.ready("web.1@1")


def test_agent_and_supervisor_are_killed_and_the_next_link_brings_them_back(host):
    host.run("web.0@1", "exec sleep 1000")
    before = host.ready("web.0@1")
    for pid in (host.supervisor_pid(), host.agent_pid()):
        os.kill(pid, signal.SIGSTOP)
    for pid in (host.supervisor_pid(), host.agent_pid()):
        os.kill(pid, signal.SIGKILL)
    row = host.ready("web.0@1")
    assert (row["pid"], row["restarts"]) == (before["pid"], 0)
    host.stop("web.0@1")
    assert host.stopped("web.0@1")["last_exit"] == "killed by SIGTERM"


def test_the_shim_is_killed_the_program_runs_on_and_its_exit_is_kept(host):
    host.run("web.0@1", "while [ ! -e go ]; do echo tick; sleep 0.05; done; exit 8", restart=SLOW)
    before = host.ready("web.0@1")
    host.kill(host.shim_pid("web.0@1"))
    row = host.ready("web.0@1", for_s=0.3)
    assert (row["pid"], row["restarts"]) == (before["pid"], 0)
    count = len(host.lines("web.0@1", 10000))
    wait_until(lambda: len(host.lines("web.0@1", 10000)) > count, "it goes on logging")
    (host.folder("web.0@1") / "run" / "go").touch()
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 8"


def test_without_its_shim_a_program_is_stopped_with_its_grandchildren(host):
    host.run("web.0@1", "setsid sleep 1001 & (sleep 1002 &) ; sleep 1003")
    host.ready("web.0@1", for_s=0.2)
    host.kill(host.shim_pid("web.0@1"))
    host.stop("web.0@1")
    host.stopped("web.0@1", timeout_s=15)
    assert not [command for command in host.processes().values() if "sleep 100" in command]


def test_all_of_ours_are_killed_at_once_and_a_later_exit_is_unknown_never_0(host):
    host.run("web.0@1", "while [ ! -e go ]; do echo tick; sleep 0.05; done; exit 0", restart=SLOW)
    before = host.ready("web.0@1")
    host.kill_all_of_ours()
    row = host.ready("web.0@1", for_s=0.3)
    assert (row["pid"], row["restarts"]) == (before["pid"], 0)
    (host.folder("web.0@1") / "run" / "go").touch()
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "unknown"


def test_a_recorded_pid_that_belongs_to_another_process_is_left_alone(host):
    host.run("web.0@1", "exec sleep 1000")
    host.ready("web.0@1")
    record = host.record("web.0@1")
    path = host.folder("web.0@1") / "exit" / "1"
    host.kill_everything()
    stranger = os.spawnv(os.P_NOWAIT, "/bin/sleep", ["sleep", "1000"])
    try:
        record.pid = stranger
        record.write(str(path))
        row = host.until("web.0@1", lambda row: row["phase"] == "ready")
        assert row["pid"] != stranger
        assert row["last_exit"] == "unknown"
        host.stop("web.0@1")
        host.stopped("web.0@1")
        assert start_of(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)


def test_after_a_boot_old_records_are_void_and_specs_are_started_again(host):
    host.run("web.0@1", "exec sleep 1000")
    host.run("web.1@1", "exec sleep 1000")
    before = host.ready("web.0@1")
    host.ready("web.1@1")
    host.stop("web.1@1")
    host.stopped("web.1@1")
    serial = host.report()["serial"]
    host.power_off()
    row = host.ready("web.0@1")
    assert row["pid"] != before["pid"]
    assert row["last_exit"] == "unknown (the host was started again)"
    assert row["restarts"] == 1
    assert host.row("web.1@1")["phase"] == "stopped"
    assert host.report()["serial"] > serial


def test_a_pid_of_another_boot_gets_no_signal(host):
    """The records of the old boot name a process that lives now: by their boot they mean another."""
    host.run("web.0@1", "exec sleep 1000")
    host.ready("web.0@1")
    path = host.folder("web.0@1") / "exit" / "1"
    host.power_off()
    stranger = os.spawnv(os.P_NOWAIT, "/bin/sleep", ["sleep", "1000"])
    try:
        record = host.record("web.0@1")
        record.pid, record.start = stranger, int(start_of(stranger))
        record.write(str(path))
        assert host.ready("web.0@1")["pid"] != stranger
        host.stop("web.0@1")
        host.stopped("web.0@1")
        assert start_of(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)


def test_an_upgrade_replaces_agent_and_supervisor_and_touches_no_program(host):
    host.run("web.0@1", "while [ ! -e go ]; do echo tick; sleep 0.05; done; exit 6", restart=SLOW)
    before = host.ready("web.0@1")
    supervisor = host.supervisor_pid()
    first = host.report()["program"]
    host.link_now = host.connect(version="0.2.0", change="newer")
    second = host.report()["program"]
    assert (first["version"], second["version"]) == ("0.1.0", "0.2.0")
    assert first["digest"] != second["digest"]
    assert host.supervisor_pid() == supervisor
    row = host.ready("web.0@1")
    assert (row["pid"], row["restarts"]) == (before["pid"], 0)
    (host.folder("web.0@1") / "run" / "go").touch()
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 6"


def test_a_program_that_does_not_load_is_not_installed(host):
    host.run("web.0@1", "exec sleep 1000")
    before = host.ready("web.0@1")
    broken = host.connect(version="0.2.0", change="\nraise SystemExit('broken on purpose')")
    assert broken.linked["linked"] == 0
    assert broken.linked["error"]["kind"] == "bundle"
    assert "broken on purpose" in broken.linked["error"]["message"]
    assert host.report()["program"]["version"] == "0.1.0"
    assert host.row("web.0@1")["pid"] == before["pid"]
    assert len([path for path in host.root.iterdir() if path.name.startswith("program-")]) == 1


def test_two_links_at_once_bring_up_one_supervisor(host):
    links = []
    threads = [Thread(target=lambda: links.append(host.connect())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [link.linked for link in links] == [{"linked": 1, "by": "agent"}] * 4
    wait_until(lambda: len(host.role("supervisor")) == 1 and len(host.role("agent")) == 1)


def test_a_hundred_orphans_leave_no_zombie(host):
    script = (
        "import os, time\n"
        "r, w = os.pipe()\n"
        "for _ in range(100):\n"
        "  if os.fork(): os.wait()\n"
        "  elif os.fork(): os._exit(0)\n"
        "  else: os.close(w); os.read(r, 1); os._exit(0)\n"
        "while not os.path.exists('go'): time.sleep(0.05)\n"
        "os.close(w)\n"
        "time.sleep(1000)\n"
    )
    host.start("web.0@1", [sys.executable, "-I", "-c", script])
    host.ready("web.0@1")
    shim = host.shim_pid("web.0@1")
    wait_until(lambda: len(children(shim)) == 101, "orphans fall to the shim")
    (host.folder("web.0@1") / "run" / "go").touch()
    wait_until(lambda: len(children(shim)) == 1, "and are reaped")


@pytest.mark.parametrize(
    "edits",
    [
        (("linux.py", "SYS_PIDFD_OPEN = 424, 434", "SYS_PIDFD_OPEN = 424, 100434"),),
        (("proc.py", "/children", "/no_such_file"),),
    ],
    ids=["no pidfd", "no list of children"],
)
def test_older_kernels_do(host, edits):
    host.edits = edits
    host.run("web.0@1", "setsid sleep 1001 & (sleep 1002 &) ; sleep 1003; exit 5")
    before = host.ready("web.0@1", for_s=0.2)
    host.kill_agent()
    assert host.ready("web.0@1")["pid"] == before["pid"]
    host.stop("web.0@1")
    host.stopped("web.0@1", timeout_s=15)
    assert not [command for command in host.processes().values() if "sleep 100" in command]
    host.run("web.1@1", "while [ ! -e go ]; do sleep 0.05; done; exit 9", restart=SLOW)
    host.ready("web.1@1")
    host.kill(host.shim_pid("web.1@1"))
    (host.folder("web.1@1") / "run" / "go").touch()
    assert host.until("web.1@1", lambda row: row["last_exit"])["last_exit"] == "exited 9"


def test_a_start_that_an_agent_asked_for_in_its_last_breath_does_not_outlive_a_stop(host):
    """The nursery is kept from forking until that agent is dead, and the next has found nothing that runs."""
    host.run("web.9@1", "exec sleep 1000")
    host.ready("web.9@1")
    nursery = host.nursery_pid()
    os.kill(nursery, signal.SIGSTOP)
    host.run("web.0@1", "echo ran >> ran; exec sleep 1000")
    wait_until((host.folder("web.0@1") / "launch").exists, "asked for")
    host.stop("web.0@1")
    host.kill_agent()
    host.stopped("web.0@1")
    os.kill(nursery, signal.SIGCONT)
    host.run("web.8@1", "exec sleep 1000")
    host.ready("web.8@1")  # the nursery takes one after the other: web.0 has had its turn
    wait_until(lambda: not [command for command in host.processes().values() if "echo ran" in command])
    assert host.row("web.0@1")["phase"] == "stopped"
    assert not (host.folder("web.0@1") / "run" / "ran").exists()


SLOW_CHECK = "\nimport sys, time\nif sys.argv[1] == 'check': time.sleep(1)"


def test_an_exit_while_the_supervisor_executes_a_newer_program_is_kept(host):
    host.run("web.0@1", "while [ ! -e go ]; do sleep 0.05; done; exit 8", restart=SLOW)
    pid = host.ready("web.0@1")["pid"]
    supervisor = host.supervisor_pid()
    host.kill(host.shim_pid("web.0@1"))
    wait_until(lambda: pid in children(supervisor), "the program is the supervisor's own child")

    def end_it_during_the_check() -> None:
        wait_until(lambda: set(host.role("check")) & set(children(supervisor)), "it sees whether the newer one runs")
        (host.folder("web.0@1") / "run" / "go").touch()

    ending = Thread(target=end_it_during_the_check)
    ending.start()
    host.link_now = host.connect(version="0.2.0", change=SLOW_CHECK)
    ending.join()
    assert host.supervisor_pid() == supervisor
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 8"
