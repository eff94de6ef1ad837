"""What runs on a real machine with systemd survives our own ends and the clock's jumps, as root and as a plain user."""

from __future__ import annotations

import pytest

from tests.vm.host import program_of

COUNTING = 'n=0; while echo "line $n"; do n=$((n+1)); sleep 0.2; done'
SERVING = ["/bin/busybox", "nc", "-ll", "-p", "8080", "-e", "/bin/true"]
PROBE = {
    "kind": "tcp", "port": 8080, "path": "/", "interval_s": 0.5, "timeout_s": 20.0, "failures": 1, "successes": 1,
    "grace_s": 0.0,
}  # fmt: skip
DAY_S = 86400

WINDOW_S = 8.0  # of a machine without KVM, whose one core is shared with the tests: a beat may take two
BEATS = 'n=0; while test ! -e rest; do n=$((n+1)); echo $n > "$FLEETCTL_HEARTBEAT"; sleep 0.5; done; exec sleep 1000'
ASKED = {**PROBE, "kind": "command", "argv": ["true"], "interval_s": 2.0, "timeout_s": 20.0}
ALIVE = {
    "heartbeat": {"timeout_s": WINDOW_S},
    "progress": {"stalled_s": WINDOW_S, "file": "heartbeat"},
    "probe": ASKED,
}
ONCE = {"backoff_min_s": 600.0, "backoff_max_s": 600.0, "reset_s": 600.0}
FREEZE = """
group = "/sys/fs/cgroup/frozen-by-a-test"
os.mkdir(group)
for pid in under(argument["root"]):
    try:
        open(group + "/cgroup.procs", "w").write(str(pid))
    except OSError:
        pass  # a command that was asked just now
def freeze(word):
    open(group + "/cgroup.freeze", "w").write(word)
    while "frozen " + word not in open(group + "/cgroup.events").read():
        time.sleep(0.01)
freeze("1")
open(argument["rest"], "w").close()
time.sleep(argument["seconds"])
print(time.clock_gettime(time.CLOCK_BOOTTIME))
freeze("0")
"""


@pytest.fixture(params=["root_host", "ops_host"])
def host(request):
    return request.getfixturevalue(request.param)


def test_a_program_survives_the_end_of_all_that_is_ours(host):
    host.run("web.0@1", COUNTING)
    host.ready("web.0@1")
    before = program_of(host, "web.0@1")
    host.kill_agent()
    assert program_of(host, "web.0@1") == before
    host.kill_all_of_ours()
    assert host.start_of(before[0]) == before[1]
    assert program_of(host, "web.0@1") == before  # adopted by those that the next link brought
    assert host.row("web.0@1")["phase"] == "ready"
    host.stop("web.0@1")
    host.stopped("web.0@1")
    assert host.start_of(before[0]) == ""


def test_a_day_forward_or_back_on_the_wall_clock_restarts_nothing(root_host):
    host = root_host
    host.start("web.0@1", SERVING, ports={"http": 8080}, ready=PROBE)
    host.run("beats.0@1", BEATS, alive=ALIVE, restart=ONCE)
    host.ready("web.0@1")
    before, beating, agent = program_of(host, "web.0@1"), program_of(host, "beats.0@1"), host.agent_pid()
    for by_s in (DAY_S, -2 * DAY_S, DAY_S):
        host.machine.set_clock(by_s)
        host.ready("web.0@1", for_s=3.0)  # its probes go on, and it is ready by them
        assert program_of(host, "web.0@1") == before
        assert program_of(host, "beats.0@1") == beating
    row = host.row("web.0@1")
    assert row["restarts"] == 0, row
    assert host.agent_pid() == agent


def test_who_was_frozen_for_three_intervals_has_a_whole_one_after_that(root_host):
    host = root_host
    for name in ("web.0@1", "hung.0@1"):
        host.run(name, BEATS, alive=ALIVE, restart=ONCE)
        host.ready(name)
    before = program_of(host, "web.0@1")
    rest = str(host.folder("hung.0@1") / "run" / "rest")  # made in the freeze: it never beats again
    thawed = float(host.python_there(FREEZE, {"root": host.place, "rest": rest, "seconds": 3 * WINDOW_S}))
    row = host.until("hung.0@1", lambda row: row["last_exit"] is not None)
    assert (row["last_exit"], row["restarts"]) == ("killed by SIGABRT", 0)
    assert "killed: no " in row["reason"]
    assert float(host.record("hung.0@1").ended_at) >= thawed + WINDOW_S
    row = host.row("web.0@1")
    assert (program_of(host, "web.0@1"), row["restarts"], row["phase"]) == (before, 0, "ready")
