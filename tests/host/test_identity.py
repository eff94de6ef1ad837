"""Who is who, when everything of ours was killed, a number was given out again, or two come at once."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from fleetctl.host import proc
from tests.host.driven import RefusedError, children, descriptors, lives, start_of, wait_until

SLOW = {"backoff_min_s": 100.0, "backoff_max_s": 100.0, "reset_s": 600.0}
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
TRIES = 2000  # others on this machine fork, too


@pytest.fixture
def python(oldest_python):
    """The one with the least: what these tests are about does not differ between versions."""
    return oldest_python


def given_out_again(pid: int) -> int:
    """A process of ours that has this number, which is free. Whatever begins after it has a new number again."""
    before = LAST_PID.read_text() if LAST_PID.exists() else ""
    for _ in range(TRIES):
        try:
            LAST_PID.write_text(str(pid - 1))
        except OSError:
            pytest.skip("nobody lets us choose a pid here")
        found = os.spawnv(os.P_NOWAIT, "/bin/sleep", ["sleep", "1000"])
        LAST_PID.write_text(before)  # or tests beside this one would see their dead live again
        if found == pid:
            return found
        os.kill(found, signal.SIGKILL)
        os.waitpid(found, 0)
    raise AssertionError(f"{pid} was never free")


def awaited_lines(host, name: str) -> list[str]:
    """What it has said: ready it may be before it said anything."""
    return wait_until(lambda: host.lines(name), f"a word of {name}")


def test_a_number_that_was_given_out_again_gets_no_signal_and_its_record_is_closed(host):
    host.run("web.0@1", "exec sleep 1000")
    pid = host.ready("web.0@1")["pid"]
    record = host.record("web.0@1")
    host.kill_everything()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the number is free")
    stranger = given_out_again(pid)
    try:
        row = host.until("web.0@1", lambda row: row["phase"] == "ready")
        assert (row["last_exit"], row["restarts"]) == ("unknown", 1)
        assert row["pid"] != stranger == record.pid
        host.stop("web.0@1")
        host.stopped("web.0@1")
        assert start_of(stranger), "it lives"
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)


def test_all_of_ours_are_killed_and_a_program_is_stopped_with_its_grandchildren(host):
    script = "setsid sleep 1001 & (sleep 1002 &) ; while :; do echo tick; sleep 0.05; done"
    host.run("web.0@1", script)
    before = host.ready("web.0@1", for_s=0.2)
    host.kill_all_of_ours()
    assert host.ready("web.0@1")["pid"] == before["pid"]
    count = len(host.lines("web.0@1", 10000))
    wait_until(lambda: len(host.lines("web.0@1", 10000)) > count, "it goes on writing")
    host.stop("web.0@1")
    host.stopped("web.0@1")
    assert not lives(before["pid"])
    assert not [command for command in host.processes().values() if "sleep 100" in command]


def test_the_nursery_is_killed_and_everything_goes_on(host):
    host.run("web.0@1", "while [ ! -e go ]; do sleep 0.05; done; exit 7", restart=SLOW)
    before = host.ready("web.0@1")
    nursery = host.nursery_pid()
    host.kill(nursery)
    host.run("web.1@1", "exec sleep 1000")
    host.ready("web.1@1")
    assert host.nursery_pid() != nursery
    row = host.row("web.0@1")
    assert (row["pid"], row["restarts"]) == (before["pid"], 0)
    shim = host.shim_pid("web.0@1")
    assert shim in children(host.supervisor_pid()), "what it forked is the supervisor's now"
    (host.folder("web.0@1") / "run" / "go").touch()
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 7"
    wait_until(lambda: not Path(f"/proc/{shim}").exists(), "its shim has left, and is no zombie")


def test_the_supervisor_is_killed_as_soon_as_it_is_there_and_the_agent_takes_its_place_each_time(host):
    """It dies with its lock in the hands of a child that it was just forking, too."""
    host.run("web.0@1", "ulimit -Sn; exec sleep 1000")
    before = host.ready("web.0@1")
    for _ in range(6):
        old = host.supervisor_pid()
        host.kill(old)
        wait_until(lambda old=old: host.supervisor_pid() != old and lives(host.supervisor_pid()), "another supervisor")
        row = host.row("web.0@1")
        assert (row["pid"], row["restarts"]) == (before["pid"], 0)
    host.run("web.1@1", "ulimit -Sn; exec sleep 1000")
    host.ready("web.1@1")
    said = [awaited_lines(host, name) for name in ("web.0@1", "web.1@1")]
    assert said[0] == said[1], "the agent's own limits are not handed on"


def test_starts_while_nurseries_are_killed_make_one_program_each(host):
    names = [f"web.{index}@1" for index in range(8)]
    for name in names:
        host.run(name, "echo begun; exec sleep 1000")
        with suppress(ProcessLookupError):
            os.kill(host.nursery_pid(), signal.SIGKILL)
    for name in names:
        row = host.ready(name)
        assert len(awaited_lines(host, name)) == 1 + row["restarts"] == 1
    wait_until(lambda: len(host.shims()) == len(names), "a second one of an instance gives up")


def test_two_links_that_order_the_same_start_at_once_make_one_program(host):
    links = [host.link, host.connect()]
    spec = host.spec("web.0@1", ["/bin/sh", "-c", "echo begun; exec sleep 1000"])
    order = {"instance": "web.0@1", "spec": spec, "generation": 1, "author": host.author}
    numbers = [link.send("start", **order) for link in links]
    for link, number in zip(links, numbers, strict=True):
        assert link.answer(number)["instance"]["instance"] == "web.0@1"
    pid = host.ready("web.0@1")["pid"]
    other = dict(order, spec=dict(spec, env={"A": "1"}))
    with pytest.raises(RefusedError, match="is there with another spec") as caught:
        links[1].ask("start", **other)
    assert caught.value.kind == "exists"
    assert caught.value.error["instance"]["pid"] == pid, "it says what runs already"
    assert awaited_lines(host, "web.0@1") == ["begun"]
    assert len(host.shims()) == 1


def test_a_core_dump_is_told(host):
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        pytest.skip("cores go to a program here")
    host.run("web.0@1", "kill -SEGV $$", restart=SLOW, core=True)
    host.run("web.1@1", "kill -SEGV $$", restart=SLOW)
    row = host.until("web.0@1", lambda row: row["last_exit"])
    assert row["last_exit"] == "killed by SIGSEGV (core dumped)"
    assert host.until("web.1@1", lambda row: row["last_exit"])["last_exit"] == "killed by SIGSEGV"


def test_a_supervisor_that_has_no_descriptors_for_an_agent_tries_again_and_leaves_none_open(host):
    host.run("web.0@1", "exec sleep 1000")
    pid = host.ready("web.0@1")["pid"]
    supervisor = host.supervisor_pid()
    usual = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    before = descriptors(supervisor)
    newest = max(int(path.name) for path in Path(f"/proc/{supervisor}/fd").iterdir())
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (newest + 1, usual[1]))  # for one pipe, not for two
    said = host.root / "agent.log"
    host.kill_agent()
    wait_until(lambda: said.read_text().count("Too many open files") >= 2, "it tried twice")
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, usual)
    assert host.ready("web.0@1")["pid"] == pid
    assert len(descriptors(supervisor)) == len(before)


NO_DESCRIPTORS = """\
import resource, sys
sys.path.insert(0, sys.argv[1])
from host import proc
known = proc.boot()
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
try:
    print("known" if proc.boot() == known else "another boot")
except OSError as error:
    print(error.strerror)
"""


def test_a_boot_that_can_not_be_looked_up_is_no_other_boot(oldest_python):
    """For want of descriptors, here: it would make all records void, and all that runs would be started twice."""
    argv = [oldest_python, "-c", NO_DESCRIPTORS, str(Path(proc.__file__).parents[1])]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "Too many open files\n"
