"""Start, ready, stop, again: what a program's life is like on a host."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fleetctl.host.loop import boottime
from tests.host.driven import LIMIT_S, RefusedError, Waited, free_port, lives, wait_until

SERVER = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        import os
        good = not os.path.exists("bad") and self.path == "/healthz"
        self.send_response(200 if good else 503); self.end_headers(); self.wfile.write(b"here")
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""

FORKER = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.time() + 120
while time.time() < end:  # a chain: each forks the next, which leaves the session, and ends
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.0005)
"""


def server(port: int) -> list[str]:
    return [sys.executable, "-c", SERVER, str(port)]


def http_ready(port: int, **changes):
    found = {
        "kind": "http",
        "port": port,
        "path": "/healthz",
        "interval_s": 0.05,
        "timeout_s": 2.0,
        "failures": 2,
        "successes": 1,
        "grace_s": 0.0,
    }
    found.update(changes)
    return found


def test_a_program_is_started_becomes_ready_and_stops(host):
    host.run("web.0@1", "echo hello; exec sleep 1000")
    row = host.ready("web.0@1")
    assert row["phase"] == "ready"
    assert row["ever_ready"]
    assert lives(row["pid"])
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["hello"])
    host.stop("web.0@1", "the test is over")
    ended = host.stopped("web.0@1")
    assert (ended["phase"], ended["wanted"], ended["pid"]) == ("stopped", "stop", None)
    assert ended["last_exit"] == "killed by SIGTERM"
    assert ended["reason"] == "the test is over"
    assert not lives(row["pid"])


def test_without_a_probe_ready_means_it_ran_for_min_healthy(host):
    host.run("web.0@1", "exec sleep 1000", min_healthy_s=1.5)
    row = host.ready("web.0@1", for_s=1.5)
    assert row["ready_for_s"] >= 1.5
    assert row["ready_for_s"] < 30


def test_an_http_probe_decides_about_ready_and_unready(host):
    port = free_port()
    host.start("web.0@1", server(port), ports={"http": port}, ready=http_ready(port))
    pid = host.ready("web.0@1", for_s=0.2)["pid"]
    bad = host.folder("web.0@1") / "run" / "bad"
    bad.touch()
    row = host.until("web.0@1", lambda row: row["phase"] == "unready" and "answered 503" in row["reason"])
    assert row["ready_for_s"] is None
    bad.unlink()
    row = host.ready("web.0@1")
    assert (row["pid"], row["restarts"]) == (pid, 0)
    assert "503" not in row["reason"]


def test_a_tcp_probe_needs_a_listener(host):
    port = free_port()
    host.run("web.0@1", "exec sleep 1000", ready=http_ready(port, kind="tcp"))
    with pytest.raises(RefusedError) as caught:
        host.ready("web.0@1", timeout_s=0.5)
    assert caught.value.kind == "timeout"
    host.start("web.1@1", server(port), ready=http_ready(port, kind="tcp"))
    host.ready("web.1@1")


def test_await_says_how_it_ended_and_shows_the_last_lines(host):
    host.run("web.0@1", "for i in $(seq 1 50); do echo line $i; done; exec sleep 1000", min_healthy_s=1000)
    host.until("web.0@1", lambda _: len(host.lines("web.0@1")) == 50)
    with pytest.raises(RefusedError) as caught:
        host.ready("web.0@1", timeout_s=0.3)
    error = caught.value.error
    assert (error["kind"], error["instance"]["phase"]) == ("timeout", "starting")
    assert error["log"] == [f"line {number}" for number in range(31, 51)]
    with pytest.raises(RefusedError) as caught:
        host.stopped("web.0@1", timeout_s=0.3)
    assert caught.value.kind == "timeout"


def test_a_stop_asks_the_whole_tree_and_nothing_of_it_is_left(host):
    host.run("web.0@1", "setsid sleep 1001 & (sleep 1002 & ) ; sleep 1003")
    host.ready("web.0@1")
    wait_until(lambda: len([command for command in host.processes().values() if "sleep 100" in command]) >= 3)
    host.stop("web.0@1")
    host.stopped("web.0@1", timeout_s=15)  # within the grace of 20 s: asked, not killed
    assert not [command for command in host.processes().values() if "sleep 100" in command]


def test_what_ignores_sigterm_is_killed_at_the_grace_and_the_status_says_so(host):
    on = "while :; do sleep 1; done"
    script = f"trap '' TERM; setsid sh -c \"trap '' TERM; echo up; {on}\" & {on}"
    host.run("web.0@1", script, stop={"signal": "TERM", "timeout_s": 1.0})
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["up"])
    row = host.ready("web.0@1")
    began = time.monotonic()
    host.stop("web.0@1")
    ended = host.stopped("web.0@1")
    took = time.monotonic() - began
    assert 1.0 <= took < 20.0
    assert ended["last_exit"] == "killed by SIGKILL"
    assert "killed" in ended["reason"]
    assert not lives(row["pid"])
    assert not [command for command in host.processes().values() if "while :" in command]


def test_a_chain_that_forks_and_changes_session_ends_too(host):
    host.start("web.0@1", [sys.executable, "-c", FORKER], stop={"signal": "TERM", "timeout_s": 0.2})
    wait_until(lambda: any("FORKER" in c or "os.setsid()" in c for c in host.processes().values()))
    with Waited(host.agent_pid(), host.shim_pid("web.0@1")) as waited:
        began = time.monotonic()
        host.stop("web.0@1")
        host.stopped("web.0@1")
        took_s = time.monotonic() - began - waited.seconds
    assert took_s < 0.2 + 2.0, "the whole tree is gone within 2 s of the kill at the grace, of those that had a core"
    assert not [command for command in host.processes().values() if "os.setsid()" in command]


def test_a_stopped_process_ends_too(host):
    host.run("web.0@1", "exec sleep 1000")
    pid = host.ready("web.0@1")["pid"]
    os.kill(pid, signal.SIGSTOP)
    host.stop("web.0@1")
    assert host.stopped("web.0@1", timeout_s=15)["last_exit"] == "killed by SIGTERM"


FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.fixture
def freezer(tmp_path):
    """A control group of the first version: what is frozen in it outlives SIGKILL, as a process in the kernel would."""
    group = FREEZER / f"fleetctl-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no freezer of cgroup v1 that we may use")
    yield group
    (group / "freezer.state").write_text("THAWED")
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_what_can_not_be_killed_is_stuck_says_so_and_keeps_its_room(host, freezer):
    host.run("web.0@1", "exec sleep 1000", stop={"signal": "TERM", "timeout_s": 0.2})
    pid = host.ready("web.0@1")["pid"]
    (freezer / "cgroup.procs").write_text(str(pid))
    (freezer / "freezer.state").write_text("FROZEN")
    wait_until(lambda: (freezer / "freezer.state").read_text().strip() == "FROZEN")
    host.stop("web.0@1")
    with pytest.raises(RefusedError) as caught:
        host.stopped("web.0@1")
    row = caught.value.error["instance"]
    assert (caught.value.kind, row["phase"]) == ("failed", "stuck")
    assert [found["pid"] for found in row["stuck"]] == [pid]
    host.kill_agent()
    assert host.row("web.0@1")["phase"] == "stuck"
    (freezer / "freezer.state").write_text("THAWED")
    row = host.until("web.0@1", lambda row: row["phase"] == "stopped")
    assert row["stuck"] == []


def test_the_stop_signal_is_the_specs_and_notice_comes_first(host):
    script = "trap 'cat $FLEETCTL_NOTICE; exit 3' USR1; echo up; while :; do sleep 0.05; done"
    host.run("web.0@1", script, stop={"signal": "USR1", "timeout_s": 20.0})
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["up"])
    host.stop("web.0@1", "make room")
    assert host.stopped("web.0@1")["last_exit"] == "exited 3"
    assert host.lines("web.0@1")[-1] == "make room"


def fetched(port: int) -> bytes:
    """The page; b"" where nobody serves it any more."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=LIMIT_S) as answer:
            return answer.read()
    except (ConnectionError, http.client.HTTPException, urllib.error.URLError):
        return b""


def test_between_notice_and_signal_a_program_serves_on(host):
    port = free_port()
    stop = {"signal": "TERM", "timeout_s": 20.0, "drain_s": 1.5}
    host.start("web.0@1", server(port), ports={"http": port}, ready=http_ready(port), stop=stop)
    pid = host.ready("web.0@1")["pid"]
    noticed = boottime()
    row = host.stop("web.0@1", "make room")
    assert (row["phase"], row["pid"], row["ready_for_s"]) == ("stopping", pid, None)
    assert (host.folder("web.0@1") / "notice").read_text() == "make room\n"
    served = 0
    while fetched(port) == b"here":
        served += 1
        time.sleep(0.05)
    assert served > 0
    assert boottime() - noticed >= 1.5, "whoever asked it until then had an answer"
    ended = host.stopped("web.0@1")
    assert ended["last_exit"] == "killed by SIGTERM"
    assert float(host.record("web.0@1").ended_at) - noticed < 20.0


def test_a_program_that_ends_during_its_drain_is_stopped_at_once(host):
    script = "while [ ! -e $FLEETCTL_NOTICE ]; do sleep 0.05; done; exit 4"
    host.run("web.0@1", script, stop={"signal": "TERM", "timeout_s": 20.0, "drain_s": 100.0})
    host.ready("web.0@1")
    host.stop("web.0@1")
    ended = host.stopped("web.0@1", timeout_s=15)
    assert (ended["last_exit"], ended["restarts"]) == ("exited 4", 0)


def test_what_a_program_leaves_behind_in_its_drain_is_asked_at_once(host):
    script = "setsid sleep 1001 & while [ ! -e $FLEETCTL_NOTICE ]; do sleep 0.05; done; exit 4"
    host.run("web.0@1", script, stop={"signal": "TERM", "timeout_s": 100.0, "drain_s": 100.0})
    host.ready("web.0@1")
    host.stop("web.0@1")
    host.stopped("web.0@1", timeout_s=15)
    assert not [command for command in host.processes().values() if "sleep 1001" in command]


def test_the_grace_begins_when_the_drain_is_over(host):
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    host.run("web.0@1", script, stop={"signal": "TERM", "timeout_s": 1.0, "drain_s": 1.0})
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["up"])
    host.ready("web.0@1")
    began = time.monotonic()
    host.stop("web.0@1")
    assert host.stopped("web.0@1")["last_exit"] == "killed by SIGKILL"
    assert 2.0 <= time.monotonic() - began < 20.0


def test_a_stop_during_the_backoff_needs_no_drain(host):
    slow = {"backoff_min_s": 100.0, "backoff_max_s": 100.0, "reset_s": 600.0}
    host.run("web.0@1", "exit 1", restart=slow, stop={"signal": "TERM", "timeout_s": 20.0, "drain_s": 100.0})
    host.until("web.0@1", lambda row: row["phase"] == "waiting")
    host.stop("web.0@1")
    assert host.row("web.0@1")["phase"] == "stopped"


@pytest.mark.parametrize("drain_s", [-1.0, "5s", None])
def test_a_drain_that_is_no_duration_is_refused(host, drain_s):
    with pytest.raises(RefusedError, match="drain_s"):
        host.run("web.0@1", "exec sleep 1000", stop={"signal": "TERM", "timeout_s": 20.0, "drain_s": drain_s})


def test_a_program_that_ends_is_restarted_with_backoff(host):
    for_ever = {"backoff_min_s": 0.05, "backoff_max_s": 1000.0, "reset_s": 600.0, "alarm_exits": 5, "alarm_s": 600.0}
    host.run("web.0@1", "echo run; exit 42", restart=for_ever)
    row = host.until("web.0@1", lambda row: row["restarts"] >= 3)
    assert row["last_exit"] == "exited 42"
    row = host.until("web.0@1", lambda row: row["problem"])
    assert row["problem"]["kind"] == "crash_looping"
    host.stop("web.0@1")
    restarts = host.stopped("web.0@1")["restarts"]
    assert len(host.lines("web.0@1")) == restarts + 1


def test_exit_137_and_death_by_sigkill_are_told_apart(host):
    slow = {"backoff_min_s": 100.0, "backoff_max_s": 100.0, "reset_s": 600.0}
    host.run("web.0@1", "exit 137", restart=slow)
    host.run("web.1@1", "kill -9 $$", restart=slow)
    assert host.until("web.0@1", lambda row: row["last_exit"])["last_exit"] == "exited 137"
    assert host.until("web.1@1", lambda row: row["last_exit"])["last_exit"] == "killed by SIGKILL"


def test_what_a_crashed_program_left_behind_ends_before_the_restart(host):
    host.run("web.0@1", "setsid sleep 1000 & echo $!; exit 1")
    host.until("web.0@1", lambda row: row["restarts"] >= 2)
    first = int(host.lines("web.0@1")[0])
    assert not lives(first)


@pytest.mark.parametrize(
    ("argv", "kind", "words"),
    [
        (["/nowhere/to/be/found"], "not_executable", "No such file"),
        (["no-such-program-anywhere"], "not_executable", "not on PATH"),
        (["/etc/passwd"], "not_executable", "Permission denied"),
        (["/bin/sh", "-c", "exit 125"], "exit_125", "125"),
    ],
)
def test_what_can_never_run_is_final_and_says_why(host, argv, kind, words):
    host.start("web.0@1", argv)
    with pytest.raises(RefusedError) as caught:
        host.ready("web.0@1")
    row = caught.value.error["instance"]
    assert caught.value.kind == "failed"
    assert (row["phase"], row["problem"]["kind"]) == ("failed", kind)
    assert words in row["problem"]["detail"]
    host.stop("web.0@1")
    assert host.stopped("web.0@1")["phase"] == "stopped"


def test_a_missing_artifact_is_a_problem_of_its_own(host):
    host.start("web.0@1", ["./web"], artifact="0" * 64)
    row = host.until("web.0@1", lambda row: row["phase"] == "failed")
    assert row["problem"]["kind"] == "artifact_missing"


def test_a_port_that_something_else_holds_is_named_with_its_pid(host):
    port = free_port()
    host.start("other.0@1", server(port), ports={"http": port}, ready=http_ready(port))
    holder = host.ready("other.0@1")["pid"]
    wants_it = "import socket, sys\nsocket.create_server(('127.0.0.1', int(sys.argv[1])))"  # and soon: within a second
    argv = [sys.executable, "-I", "-S", "-c", wants_it, str(port)]
    host.start("web.0@1", argv, ports={"http": port}, ready=http_ready(port, path="/never"))
    with pytest.raises(RefusedError) as caught:
        host.ready("web.0@1")
    assert caught.value.kind == "failed"
    problem = caught.value.error["instance"]["problem"]
    assert (problem["kind"], problem["port"], problem["pid"]) == ("port_taken", port, holder)
    assert any("Address already in use" in line for line in caught.value.error["log"])


def test_a_program_finds_who_it_is_and_a_clean_start(host):
    script = (
        "import json, os, resource, signal\n"
        "ignored = [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN]\n"
        "status = dict(l.split(':', 1) for l in open('/proc/self/status') if ':' in l)\n"
        "print(json.dumps({'env': dict(os.environ), 'cwd': os.getcwd(), 'fds': sorted(os.listdir('/proc/self/fd')),\n"
        "  'ignored': status['SigIgn'].strip(), 'blocked': status['SigBlk'].strip(),\n"
        "  'sid': os.getsid(0) == os.getpid(),\n"
        "  'core': resource.getrlimit(resource.RLIMIT_CORE)[0], 'stdin': os.readlink('/proc/self/fd/0'),\n"
        "  'oom': int(open('/proc/self/oom_score_adj').read())}), flush=True)\n"
        "import time; time.sleep(1000)\n"
    )
    port = free_port()
    host.start(
        "web.3@47",
        [sys.executable, "-I", "-c", script],
        ports={"http-alt": port},
        env={"LOG_LEVEL": "info", "FLEETCTL_EPOCH": "forged"},
        release=9,
        wish_replicas=4,
    )
    host.until("web.3@47", lambda _: host.lines("web.3@47"))
    found = json.loads(host.lines("web.3@47")[0])
    run = str(host.folder("web.3@47") / "run")
    assert found["cwd"] == run
    assert found["fds"] == ["0", "1", "2", "3"]  # 3: the listing itself
    assert (found["stdin"], found["sid"], found["core"]) == ("/dev/null", True, 0)
    assert int(found["blocked"], 16) == 0
    python_ignores = (1 << signal.SIGPIPE - 1) | (1 << signal.SIGXFSZ - 1)  # what this very program does by itself
    assert int(found["ignored"], 16) & ~python_ignores == 0
    assert found["oom"] >= 500
    environment = found["env"]
    assert environment["LOG_LEVEL"] == "info"
    assert environment["HOME"]
    expected = {
        "FLEET": "test",
        "JOB": "web",
        "REPLICA": "web.3",
        "INDEX": "3",
        "COUNT": "4",
        "RELEASE": "9",
        "EPOCH": "47",
        "HOST": "h1",
        "ADDRESS": "127.0.0.1",
        "PORT_HTTP_ALT": str(port),
        "NOTICE": str(host.folder("web.3@47") / "notice"),
        "RUN": run,
    }
    assert {key: environment["FLEETCTL_" + key] for key in expected} == expected


def test_sigpipe_ends_a_program_as_it_would_in_a_shell(host):
    host.run("web.0@1", "(sleep 0.3; yes) | head -n 1; echo ${PIPESTATUS:-ended}; exec sleep 1000")
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["y", "ended"])
    assert not [command for command in host.processes().values() if command.startswith("yes")]


def test_the_two_newest_that_are_over_are_kept(host):
    for epoch in range(1, 5):
        host.run(f"web.0@{epoch}", "exec sleep 1000")
        host.ready(f"web.0@{epoch}")
        host.stop(f"web.0@{epoch}")
        host.stopped(f"web.0@{epoch}")
    host.run("web.0@5", "exec sleep 1000")
    host.ready("web.0@5")
    names = ["web.0@3", "web.0@4", "web.0@5"]
    assert [row["instance"] for row in host.report()["instances"]] == names
    wait_until(lambda: sorted(path.name for path in (host.root / "instances").iterdir()) == names)
