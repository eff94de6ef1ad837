"""Control groups of a real kernel and systemd: as root and as a lingering user with units, and as root without."""

from __future__ import annotations

import time

import pytest

from tests.host.driven import wait_until
from tests.vm.host import VmHost, program_of

CLAIMS = {"cpu_milli": 200, "memory_bytes": 40 << 20, "disk_bytes": 0, "pids": 16}
BOUND = "cgroup: memory 40.0 MiB, no swap, cpu 0.2, pids 16"
SLOW = {"backoff_min_s": 300.0, "backoff_max_s": 300.0, "reset_s": 600.0}
HOG = ["/usr/bin/python3", "-c", "import os\nos.fork()\nx = []\nwhile 1: x.append(bytearray(1 << 20))"]
BOMB = "trap '' TERM; bomb() { bomb | bomb & }; bomb 2>/dev/null; while :; do sleep 1; done"
SYSTEM = "/sys/fs/cgroup/system.slice/fleetctl-work.scope"
OPS = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/fleetctl-work.scope"


def begin(host: VmHost) -> None:
    """With all that the host arranges for itself."""
    host.link_now = host.connect(FLEETCTL_BOOT="as it is")
    assert host.link_now.linked == {"linked": 1, "by": "agent"}, host.link_now.linked
    wait_until(lambda: "being looked for" not in host.report()["facts"]["limits"], "a place, or none")


@pytest.fixture(params=["root", "ops"], scope="module")
def bound(machine, request):
    """A host with a unit, and the group its programs' groups are in."""
    if request.param == "ops":
        machine.run("loginctl enable-linger ops")
    host = VmHost(machine, request.param)
    begin(host)
    yield host, OPS if request.param == "ops" else SYSTEM
    host.end()
    if request.param == "ops":
        machine.run("loginctl disable-linger ops")


def group_of(host: VmHost, pid: int) -> str:
    return host.machine.run(f"sed -n 's/^0:://p' /proc/{pid}/cgroup")


def words(host: VmHost, path: str) -> dict[str, int]:
    lines = host.machine.read(path).split("\n")
    return {name: int(number) for name, number in (line.split() for line in lines if line)}


def told(row, what: str) -> bool:
    return any(what in event["what"] for event in row["story"])


def test_a_user_who_does_not_linger_is_told_what_would_help(machine):
    host = VmHost(machine, "ops")
    try:
        begin(host)
        host.run("calm.0@1", "exec sleep 1000", resources=CLAIMS)
        row = host.ready("calm.0@1")
        assert row["limits"].startswith("advisory: the systemd of user ops ends with its last session")
        assert "loginctl enable-linger ops" in row["limits"]
        assert host.report()["facts"]["limits"] == row["limits"]
        assert int(machine.read(f"/proc/{row['pid']}/oom_score_adj")) >= 500
    finally:
        host.end()


def test_a_program_is_bound_and_what_watches_over_it_is_not(bound):
    host, place = bound
    assert host.report()["facts"]["limits"] == "cgroup"
    host.run("calm.0@1", "exec sleep 1000", resources=CLAIMS)
    calm = host.ready("calm.0@1")
    assert calm["limits"] == BOUND
    before = program_of(host, "calm.0@1")
    group = f"{place}/calm.0@1.1"
    assert "/sys/fs/cgroup" + group_of(host, calm["pid"]) == group
    supervisor, agent = host.supervisor_pid(), host.agent_pid()
    for pid in (supervisor, agent, host.shim_pid("calm.0@1")):
        assert "fleetctl-work" not in group_of(host, pid)

    # beyond its memory the whole of it is killed, and nothing else
    host.start("hog.0@1", HOG, resources=CLAIMS, restart=SLOW)
    hog = host.until("hog.0@1", lambda row: row["last_exit"])
    assert hog["last_exit"] == "killed by SIGKILL (out of memory: limit 40.0 MiB)"
    assert told(hog, "killed: out of memory (limit 40.0 MiB)")
    host.until("hog.0@1", lambda row: row["phase"] == "waiting")

    # what forks without end is held at its number, and ends when it is to
    host.run("bomb.0@1", BOMB, resources=CLAIMS, stop={"signal": "TERM", "timeout_s": 1.0})
    bomb = host.until("bomb.0@1", lambda row: told(row, "it reached its limit of 16 processes"))
    assert bomb["usage"]["processes"] <= 16
    assert bomb["usage"]["peak_bytes"] <= 40 << 20
    host.stop("bomb.0@1")
    host.stopped("bomb.0@1", timeout_s=90)

    # its share of the CPU is all it gets
    host.run("busy.0@1", "while :; do :; done", resources=CLAIMS)
    pid = host.ready("busy.0@1")["pid"]
    began = time.monotonic()
    wait_until(lambda: words(host, f"{place}/busy.0@1.1/cpu.stat")["nr_throttled"] > 20, "throttled")
    took_s = time.monotonic() - began
    assert words(host, f"{place}/busy.0@1.1/cpu.stat")["usage_usec"] < (took_s + 10) * 0.4e6

    # what is frozen ends at a stop
    host.machine.run(f"echo 1 > {place}/busy.0@1.1/cgroup.freeze")
    host.stop("busy.0@1")
    host.stopped("busy.0@1", timeout_s=90)
    assert host.start_of(pid) == ""

    assert host.agent_pid() == agent
    assert host.supervisor_pid() == supervisor
    assert program_of(host, "calm.0@1") == before
    assert host.machine.run(["ls", place]).split().count("calm.0@1.1") == 1
    left = [name for name in host.machine.run(["ls", place]).split() if "@" in name]
    assert left == ["calm.0@1.1"]


def test_limits_outlive_the_unit_and_the_agent(bound):
    host, place = bound
    host.run("kept.0@1", "exec sleep 1000", resources=CLAIMS)
    host.ready("kept.0@1")
    before = program_of(host, "kept.0@1")
    host.kill_agent()
    scope = "" if host.user == "root" else "--user "
    host.machine.run(f"systemctl {scope}restart fleetctl.service", host.user)
    host.machine.run(f"systemctl {scope}daemon-reload", host.user)
    host.forget_links()
    host.until("kept.0@1", lambda row: row["phase"] == "ready")
    assert program_of(host, "kept.0@1") == before
    assert host.machine.read(f"{place}/kept.0@1.1/memory.max").strip() == str(40 << 20)
    host.run("new.0@1", "exec sleep 1000", resources=CLAIMS)
    assert host.ready("new.0@1")["limits"] == BOUND


def test_a_scope_that_someone_stops_is_made_again_and_no_start_fails(bound):
    host, place = bound
    host.run("hit.0@1", "exec sleep 1000", resources=CLAIMS)
    pid = host.ready("hit.0@1")["pid"]
    scope = "" if host.user == "root" else "--user "
    host.machine.run(f"systemctl {scope}stop fleetctl-work.scope", host.user)
    row = host.until("hit.0@1", lambda row: row["pid"] not in (None, pid) and row["phase"] == "ready")
    assert row["limits"] == BOUND
    assert row["restarts"] == 1
    assert "/sys/fs/cgroup" + group_of(host, row["pid"]) == f"{place}/hit.0@1.2"


def test_root_without_a_unit_and_without_scopes_has_groups_of_its_own(machine):
    host = VmHost(machine)
    systemd_run = machine.run("command -v systemd-run")
    machine.run(f"ln -sf /dev/null /etc/systemd/system/fleetctl.service; mount --bind /bin/false {systemd_run}")
    try:
        begin(host)
        assert host.report()["facts"]["limits"] == "cgroup"
        host.run("calm.0@1", "exec sleep 1000", resources=CLAIMS)
        row = host.ready("calm.0@1")
        assert row["limits"] == BOUND
        assert group_of(host, row["pid"]) == "/fleetctl/calm.0@1.1"
        assert "fleetctl" not in group_of(host, host.supervisor_pid())
        host.start("hog.0@1", HOG, resources=CLAIMS, restart=SLOW)
        hog = host.until("hog.0@1", lambda row: row["last_exit"])
        assert hog["last_exit"] == "killed by SIGKILL (out of memory: limit 40.0 MiB)"
        assert host.row("calm.0@1")["pid"] == row["pid"]
    finally:
        machine.run(f"umount {systemd_run}")
        host.end()
        machine.run(
            "rmdir /sys/fs/cgroup/fleetctl/*@* /sys/fs/cgroup/fleetctl; rm -f /etc/systemd/system/fleetctl.service"
        )
