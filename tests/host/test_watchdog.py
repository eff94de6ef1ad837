"""What ends a program that runs but hangs, and what does not: a frozen machine, another agent, an old file."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

import pytest

from fleetctl.host.loop import LAPSE_S, LAPSES_KEPT, Loop, boottime
from fleetctl.host.watchdog import span
from tests.host.conftest import PYTHONS
from tests.host.driven import free_port, lives
from tests.host.test_probes import SERVER, agent_of, probe

OLDEST = pytest.mark.parametrize("python", [str(PYTHONS[-1])])  # what it tests is time, not Python
BEATS = 'while :; do echo "$((n = n + 1))" > "$FLEETCTL_HEARTBEAT"; sleep 0.1; done'


def story(row) -> str:
    return "; ".join(event["what"] for event in row["story"])


def test_an_alive_probe_that_fails_aborts_the_program_and_says_why_until_the_next_is_ready(standing):
    port = free_port()
    waits = "while [ -e slow ]; do sleep 0.05; done"
    script = f"echo 200 fine well > page; {waits}; exec {sys.executable} -c '{SERVER}' {port}"
    alive = {"probe": probe("http", port=port, failures=2, grace_s=10.0)}
    standing.run("web.0@1", script, alive=alive, ready=probe("http", port=port))
    pid = standing.ready("web.0@1")["pid"]
    run = standing.folder("web.0@1") / "run"
    (run / "new").write_text("500 bad ill")
    (run / "slow").touch()
    (run / "new").rename(run / "page")
    row = standing.until("web.0@1", lambda row: row["phase"] == "unready")
    assert (row["pid"], row["restarts"]) == (pid, 0)  # the grace holds for failures, not for readiness
    row = standing.until("web.0@1", lambda row: row["restarts"] == 1 and row["phase"] == "starting")
    assert "killed: alive probe: answered 500 (2 times in a row)" in row["reason"]
    (run / "slow").unlink()
    row = standing.ready("web.0@1")
    assert row["last_exit"] == "killed by SIGABRT"
    assert "killed: alive probe: answered 500" in story(row)
    assert "killed" not in row["reason"]
    standing.stop("web.0@1")


@OLDEST
def test_what_ignores_sigabrt_is_killed_with_its_tree_also_by_the_next_agent(host):
    host.edits = (("actions.py", "ABORT_S = 10.0", "ABORT_S = 6.0"),)
    script = "trap '' ABRT TERM; (trap '' ABRT TERM; setsid sleep 8881 &) ; while :; do sleep 0.1; done"
    host.run("web.0@1", script, alive={"heartbeat": {"timeout_s": 2.0}}, restart=SLOW)
    old = host.until("web.0@1", lambda row: row["phase"] == "unready")
    assert lives(old["pid"])
    host.kill(agent_of(host))
    row = host.until("web.0@1", lambda row: row["last_exit"] is not None)
    assert row["last_exit"] == "killed by SIGKILL"
    assert "killed: no heartbeat for 2s" in story(row)
    assert not [command for command in host.processes().values() if "sleep 8881" in command]


SLOW = {"backoff_min_s": 600.0, "backoff_max_s": 600.0, "reset_s": 600.0}


def test_a_heartbeat_is_a_change_of_the_file_whatever_its_age(standing):
    alive = {"heartbeat": {"timeout_s": 4.0}}
    old = 'while :; do touch -d "2001-01-0$((n = n % 9 + 1))" "$FLEETCTL_HEARTBEAT"; sleep 0.1; done'
    standing.run("old.0@1", old, alive=alive, min_healthy_s=9.0)
    standing.run("new.0@1", 'touch -d 2099-01-01 "$FLEETCTL_HEARTBEAT"; exec sleep 1000', alive=alive, restart=SLOW)
    standing.run("gone.0@1", 'echo "$WATCHDOG_USEC"; exec sleep 1000', alive=alive, restart=SLOW)
    for name in ("new.0@1", "gone.0@1"):
        row = standing.until(name, lambda row: row["phase"] == "waiting")
        assert "killed: no heartbeat for 4s" in row["reason"]
        record = standing.record(name)
        assert float(record.ended_at) - float(record.began) >= 4.0
    assert standing.lines("gone.0@1") == ["4000000"]
    assert standing.ready("old.0@1")["restarts"] == 0
    for name in ("old.0@1", "new.0@1", "gone.0@1"):
        standing.stop(name)


METRICS = """
import http.server, os, sys, threading, time
count = [0]
def beat():
    while True:
        open(os.environ["FLEETCTL_HEARTBEAT"], "a").write("."); time.sleep(0.1)
        count[0] += not os.path.exists("stand")
threading.Thread(target=beat, daemon=True).start()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(b'docs{of="x"} 0\\ndocs{of="y"} %d\\n' % count[0])
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""


def test_a_metric_that_stands_still_ends_a_program_though_its_heart_beats(standing):
    port = free_port()
    progress = {"stalled_s": 4.0, "metric": 'docs{of="y"}', "port": port, "path": "/metrics"}
    alive = {"heartbeat": {"timeout_s": 4.0}, "progress": progress}
    standing.start("docs.0@1", [sys.executable, "-c", METRICS, str(port)], alive=alive, min_healthy_s=9.0, restart=SLOW)
    assert standing.ready("docs.0@1")["restarts"] == 0
    (standing.folder("docs.0@1") / "run" / "stand").touch()
    row = standing.until("docs.0@1", lambda row: row["phase"] == "waiting")
    assert 'killed: no progress: docs{of="y"} stood at ' in row["reason"]
    assert " for 4s" in row["reason"]
    standing.stop("docs.0@1")


def test_a_number_in_a_file_that_stands_still_or_is_not_there_ends_a_program(standing):
    alive = {"progress": {"stalled_s": 3.0, "file": "state/docs.count"}}
    standing.run("a.0@1", "mkdir state; echo 812 docs > state/docs.count; exec sleep 1000", alive=alive, restart=SLOW)
    standing.run("b.0@1", "ln -s /proc/self state; mkfifo docs.count; exec sleep 1000", alive=alive, restart=SLOW)
    standing.run("c.0@1", "mkdir state; mkfifo state/docs.count; exec sleep 1000", alive=alive, restart=SLOW)
    seen = {name: standing.until(name, lambda row: row["phase"] == "waiting") for name in ("a.0@1", "b.0@1", "c.0@1")}
    assert "killed: no progress: state/docs.count stood at 812 for 3s" in seen["a.0@1"]["reason"]
    assert "could not be read for 3s: Not a directory" in seen["b.0@1"]["reason"]
    assert "could not be read for 3s: no number is in it" in seen["c.0@1"]["reason"]
    for name in seen:
        standing.stop(name)


@OLDEST
def test_who_was_frozen_for_three_intervals_has_one_whole_interval_after_that(host):
    alive = {
        "heartbeat": {"timeout_s": 3.0},
        "progress": {"stalled_s": 3.0, "file": "heartbeat"},
        "probe": probe("command", argv=["sleep", "1"], timeout_s=6.0),
    }
    host.run("beats.0@1", BEATS, alive=alive)
    host.run("silent.0@1", "exec sleep 1000", alive={"heartbeat": {"timeout_s": 4.0}}, restart=SLOW)
    beats = host.ready("beats.0@1", for_s=1.0)["pid"]
    silent = host.ready("silent.0@1")["pid"]
    agent = agent_of(host)
    everyone = [agent, *(pid for pid in host.processes() if pid in (beats, silent) or pid > agent)]
    frozen = [pid for pid in everyone if lives(pid)]
    for pid in frozen:
        send(pid, signal.SIGSTOP)
    time.sleep(3 * 4.0)  # the time itself is what is tested
    thawed = boottime()
    for pid in reversed(frozen):  # the agent last
        send(pid, signal.SIGCONT)
    row = host.until("silent.0@1", lambda row: row["phase"] == "waiting")
    assert "no heartbeat for 4s" in row["reason"]
    assert float(host.record("silent.0@1").ended_at) >= thawed + 4.0 - 0.1
    row = host.row("beats.0@1")
    assert (row["pid"], row["restarts"], row["phase"]) == (beats, 0, "ready")


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@OLDEST
def test_a_new_agent_gives_everyone_a_whole_interval(host):
    host.run("silent.0@1", "exec sleep 1000", alive={"heartbeat": {"timeout_s": 6.0}}, restart=SLOW)
    host.ready("silent.0@1", for_s=1.5)
    host.kill(agent_of(host))
    killed = boottime()
    row = host.until("silent.0@1", lambda row: row["phase"] == "waiting")
    assert "no heartbeat for 6s" in row["reason"]
    assert float(host.record("silent.0@1").ended_at) >= killed + 6.0


def test_a_loop_notices_that_it_did_not_run():
    loop = Loop()
    began = loop.lapsed_at
    loop.after(0.0, lambda: None)
    loop.turn()
    assert loop.lapsed_at == began
    loop.after(0.0, lambda: None)
    time.sleep(LAPSE_S + 0.1)  # as if it was stopped
    loop.turn()
    assert loop.lapsed_at > began


def test_a_long_lapse_begins_a_silence_anew_and_short_ones_are_left_out_of_it_but_excuse_nothing_more():
    loop = Loop()
    loop.lapses = [(100.0, float("inf"))]
    assert loop.listened_since(90.0, 30.0) == 100.0, "what an agent before this one heard"
    assert loop.listened_since(200.0, 30.0) == 200.0
    loop.lapses += [(300.0, 2.0), (400.0, 3.0)]
    assert loop.listened_since(200.0, 30.0) == 205.0
    assert loop.listened_since(350.0, 30.0) == 353.0
    loop.lapses.append((500.0, 30.0))
    assert loop.listened_since(200.0, 30.0) == 500.0
    assert loop.listened_since(450.0, 40.0) == 480.0


def test_many_lapses_are_all_left_out_though_few_are_kept():
    loop = Loop()
    loop.lapses = [(float(at), 1.0) for at in range(1, LAPSES_KEPT + 1)]
    before = loop.listened_since(0.0, 30.0)
    loop.after(0.0, lambda: None)
    time.sleep(LAPSE_S + 0.1)
    loop.turn()
    assert len(loop.lapses) == LAPSES_KEPT
    assert loop.listened_since(0.0, 30.0) > before


def test_spans_read_as_people_write_them():
    assert [span(seconds) for seconds in (0.25, 2, 60, 600, 5400, 90061)] == [
        "0.25s",
        "2s",
        "1m",
        "10m",
        "1h30m",
        "1d1h1m1s",
    ]
