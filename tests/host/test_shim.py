"""The shim by itself: what it does with one program, its control groups and the words it hears."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from fleetctl.host import child, records
from tests.host.driven import HERE, lives, start_of, wait_until

UNIFIED = [Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]


class Alone:
    """A shim and the nursery that it is a fork of, with no supervisor or agent around them."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.folder = root / "instances" / "web.0@1"
        for name in ("exit", "log", "run"):
            (self.folder / name).mkdir(parents=True)
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [python, "-I", "-S", "-E", str(HERE / "main.py"), "nursery", str(root), str(theirs.fileno())]
        self.said = root / "agent.log"
        with self.said.open("wb") as log:
            self.nursery = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stderr=log)
        theirs.close()
        self.shim = 0

    def run(self, script: str, **more) -> None:
        environment = {b"PATH": os.environ["PATH"].encode(), b"FLEETCTL_RUN": bytes(self.folder / "run")}
        argv = [b"sh", b"-c", script.encode()]
        launch = child.pack_launch(1, b"/bin/sh", bytes(self.folder / "run"), argv, environment, **more)
        (self.folder / "launch").write_bytes(launch)
        self.channel.send(b"web.0@1")
        self.shim = int(self.channel.recv(100))

    @property
    def record(self) -> records.Record:
        found = records.read(str(self.folder / "exit" / "1"))
        return found if found is not None else records.Record(1, "")

    def until(self, condition) -> records.Record:
        wait_until(lambda: condition(self.record), f"{vars(self.record)}")
        return self.record

    def ended(self) -> str:
        return self.until(lambda record: record.tree == records.EMPTY).ended

    def tell(self, words: str) -> None:
        with (self.folder / "ctl").open("w") as file:
            file.write(words + "\n")

    def told(self, name: str) -> str:
        """What the program wrote into a file of its folder."""
        path = self.folder / "run" / name
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), name)
        return path.read_text().strip()

    def end(self) -> None:
        if self.record.pid and lives(self.shim):
            self.tell("kill")
            self.ended()
            self.tell("done 1")
        wait_until(lambda: not lives(self.shim), "the shim has left")
        assert not Path(f"/proc/{self.shim}").exists(), "and is no zombie"
        self.channel.close()
        assert self.nursery.wait(20) == 0


@pytest.fixture
def alone(tmp_path, python):
    found = Alone(tmp_path / "root", python)
    yield found
    found.end()


@pytest.fixture
def group():
    """A control group of the second version that processes may be killed by."""
    base = next((base for base in UNIFIED if (base / "cgroup.procs").exists()), None)
    if base is None:
        pytest.skip("no cgroup v2 here")
    found = base / f"fleetctl-test-{os.getpid()}"
    try:
        found.mkdir()
        (base / "cgroup.procs").open("w").close()
    except OSError:
        pytest.skip("no cgroup v2 that we may use")
    yield found
    (found / "cgroup.kill").write_text("1")
    wait_until(lambda: "populated 0" in (found / "cgroup.events").read_text())
    found.rmdir()


def test_a_core_file_is_written_only_where_the_spec_allows_it_and_the_record_says_so(alone):
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        pytest.skip("cores go to a program here")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("no core may be written here")
    alone.run("kill -ABRT $$", core=True)
    assert alone.ended() == "killed by SIGABRT (core dumped)"


def test_without_that_a_crash_leaves_no_core(alone):
    alone.run("ulimit -c > limit; ulimit -Hc >> limit; kill -ABRT $$")
    assert alone.ended() == "killed by SIGABRT"
    assert alone.told("limit").split() == ["0", "0"]


def test_the_program_is_in_its_group_before_it_begins(alone, group):
    alone.run("grep ^0:: /proc/self/cgroup > where; exec sleep 1000", groups=[(bytes(group), True)])
    assert alone.told("where") == "0::/" + group.name
    assert str(alone.record.pid) in (group / "cgroup.procs").read_text().split()


@pytest.mark.parametrize(("needed", "ended"), [(True, "unexecutable 2 cgroup"), (False, "exited 3")])
def test_a_group_that_can_not_be_entered(alone, needed, ended):
    alone.run("exit 3", groups=[(b"/sys/fs/cgroup/no/such", needed)])
    assert alone.ended() == ended


def test_what_moved_into_the_group_from_elsewhere_ends_with_it(alone, group):
    """It is below no shim: nobody finds it by its parents."""
    stranger = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        (group / "cgroup.procs").write_text(str(stranger.pid))
        alone.run("exit 7", groups=[(bytes(group), True)])
        record = alone.until(lambda record: record.ended != "-")
        assert (record.ended, record.tree) == ("exited 7", "left")
        alone.tell("kill")
        assert alone.ended() == "exited 7"
        assert stranger.wait(10) == -signal.SIGKILL
    finally:
        stranger.kill()
        stranger.wait()


def test_a_named_main_process_becomes_the_program_when_the_first_one_ends(alone):
    alone.run("sh -c 'echo $$ > main; while [ ! -e go ]; do sleep 0.05; done; exit 4' & exec sleep 1000")
    main, first = int(alone.told("main")), alone.record.pid
    alone.tell(f"main {main} {start_of(main)}")
    os.kill(first, signal.SIGTERM)
    record = alone.until(lambda record: record.pid == main)
    assert (record.ended, record.tree, record.start) == ("-", "-", int(start_of(main)))
    (alone.folder / "run" / "go").touch()
    assert alone.ended() == "exited 4"


def test_a_main_process_named_after_the_first_one_ended_is_the_program_from_then_on(alone):
    alone.run("setsid sh -c 'echo $$ > main; while [ ! -e go ]; do sleep 0.05; done; exit 4' & exit 0")
    main = int(alone.told("main"))
    assert alone.until(lambda record: record.tree == "left").ended == "exited 0"
    alone.tell(f"main {main} {start_of(main)}")
    assert alone.until(lambda record: record.pid == main).ended == "-"
    (alone.folder / "run" / "go").touch()
    assert alone.ended() == "exited 4"


def test_how_another_ones_child_ended_is_unknown(alone):
    alone.run("setsid sh -c 'sh -c \"echo \\$\\$ > main; exec sleep 1000\"; exec sleep 1000' & exit 0")
    main = int(alone.told("main"))
    alone.until(lambda record: record.tree == "left")
    alone.tell(f"main {main} {start_of(main)}")
    alone.until(lambda record: record.pid == main)
    os.kill(main, signal.SIGTERM)
    record = alone.until(lambda record: record.ended != "-")
    assert (record.ended, record.tree) == ("unknown", "left")


def test_a_process_that_is_none_of_its_own_is_never_the_program(alone):
    alone.run("exec sleep 1000")
    first = alone.until(lambda record: record.pid).pid
    alone.tell(f"main {os.getpid()} {start_of(os.getpid())}")
    alone.tell("abort")
    record = alone.until(lambda record: record.ended != "-")
    assert (record.pid, record.ended) == (first, "killed by SIGABRT")


def test_abort_is_for_the_program_alone(alone):
    alone.run("trap '' ABRT; sleep 1000 & echo $! > other; trap - ABRT; exec sleep 1001")
    other = int(alone.told("other"))
    pid = alone.record.pid
    wait_until(lambda: b"1001" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(pid, signal.SIGSTOP)
    alone.tell("abort")
    record = alone.until(lambda record: record.ended != "-")
    assert (record.ended, record.tree) == ("killed by SIGABRT", "left")
    assert lives(other)


def test_of_two_shims_of_one_instance_the_second_leaves_and_says_why(alone):
    alone.run("echo $$ >> starts; exec sleep 1000")
    alone.told("starts")
    alone.channel.send(b"web.0@1")
    second = int(alone.channel.recv(100))
    wait_until(lambda: not lives(second))
    assert "shim web.0@1: it runs already, below another shim" in alone.said.read_text()
    assert alone.told("starts") == str(alone.record.pid)
    assert alone.record.shim == alone.shim
    assert lives(alone.shim)


WAITS = """
import _thread, os, sys, time
sys.path.insert(0, sys.argv[1])
from host import linux
taken = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
linux.lock(taken)
def wait():
    linux.await_lock(os.open(sys.argv[2], os.O_RDWR))
    print("had it", flush=True)
    os._exit(0)
_thread.start_new_thread(wait, ())
time.sleep(0.3)
os.close(taken)
time.sleep(20)
"""


def test_a_call_that_takes_long_stops_no_other_thread(python, tmp_path):
    """The agent's porter speaks while the rest of the agent hangs in a call."""
    argv = [python, "-I", "-S", "-c", WAITS, str(HERE.parent), str(tmp_path / "lock")]
    assert subprocess.run(argv, check=True, capture_output=True, timeout=30).stdout == b"had it\n"
