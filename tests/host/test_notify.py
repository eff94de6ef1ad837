"""What programs say of themselves by sd_notify, and who is believed."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress

import pytest

from fleetctl.host.loop import boottime
from fleetctl.host.notify import parse
from tests.host.driven import Host, children, free_port, lives, start_of, wait_until
from tests.host.test_probes import agent_of
from tests.host.test_watchdog import OLDEST, SLOW, story

SAY = """
import os, socket, sys, time
def say(text):
    place = os.environ["NOTIFY_SOCKET"]
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.connect("\\0" + place[1:] if place[0] == "@" else place)
    ear.send(text.encode("utf-8") if isinstance(text, str) else text)
    ear.close()
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.02)
"""
NOTIFY = {"kind": "notify", "interval_s": 1.0, "timeout_s": 1.0, "failures": 1, "successes": 1, "grace_s": 0.0}


def start(host, name: str, script: str, **changes):
    return host.start(name, [sys.executable, "-c", SAY + script], **changes)


def tell(host, name: str, word: str) -> None:
    (host.folder(name) / "run" / word).touch()


def test_ready_stopping_and_status_are_heard(host):
    script = r"""
say("STATUS=warming \u00fcp\t\x1b[31m" + "x" * 300); wait_for("go"); say("READY=1\nSTATUS=serving")
wait_for("leave"); say("STOPPING=1"); wait_for("again"); say("READY=1"); time.sleep(1000)
"""
    start(host, "web.0@1", script, ready=NOTIFY)
    row = host.until("web.0@1", lambda row: row["said"])
    assert row["said"] == ("warming üp  [31m" + "x" * 300)[:256]
    assert (row["phase"], row["ready_for_s"]) == ("starting", None)
    assert "not ready: no READY=1 yet" in row["reason"]
    tell(host, "web.0@1", "go")
    row = host.ready("web.0@1", for_s=0.2)
    assert (row["said"], row["reason"]) == ("serving", "")
    tell(host, "web.0@1", "leave")
    row = host.until("web.0@1", lambda row: row["phase"] == "unready")
    assert "it says that it is stopping" in row["reason"]
    assert "it says that it is stopping" in story(row)
    tell(host, "web.0@1", "again")
    assert host.ready("web.0@1")["restarts"] == 0


def test_what_says_that_it_is_stopping_is_not_ready_whatever_its_probes_say(standing):
    wanted = {**NOTIFY, "kind": "command", "argv": ["true"], "interval_s": 0.05}
    start(standing, "leaves.0@1", 'wait_for("leave"); say("STOPPING=1"); time.sleep(1000)', ready=wanted)
    standing.ready("leaves.0@1")
    tell(standing, "leaves.0@1", "leave")
    standing.until("leaves.0@1", lambda row: row["phase"] == "unready")
    standing.kill(agent_of(standing))  # nor after that
    time.sleep(0.5)
    row = standing.row("leaves.0@1")
    assert (row["phase"], row["restarts"]) == ("unready", 0)
    assert "it says that it is stopping" in row["reason"]
    standing.stop("leaves.0@1")


def send(place: str, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.connect("\0" + place[1:] if place.startswith("@") else place)
        ear.send(content)


def test_only_the_instances_own_tree_is_believed_a_dead_sender_included(standing):
    script = r"""
import subprocess
say(b"\xff\xfe\0garbage"); say("X" * 5000); say("FDSTORE=1\nERRNO=5\nNOTHING"); say("READY=2\nSTATUS=own")
wait_for("go")
for word in ("READY=1", "STATUS=child"):  # by a child in a session of its own, which ends at once
    subprocess.run([sys.executable, "-c", os.environ["SAY"] + "say(%r)" % word], start_new_session=True, env={
        "NOTIFY_SOCKET": os.environ["NOTIFY_SOCKET"], "SAY": ""})
time.sleep(1000)
"""
    start(standing, "own.0@1", script, ready=NOTIFY, env={"SAY": SAY})
    standing.until("own.0@1", lambda row: row["said"] == "own")
    place = str(standing.folder("own.0@1") / "notify")
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.connect(place)
    read, write = os.pipe()
    socket.send_fds(ear, [b"READY=1\nSTATUS=stranger"], [read])
    ear.close()
    os.close(read)
    wait_until(lambda: closed(write), "the descriptor that was sent along closed")
    os.close(write)
    row = standing.row("own.0@1")
    assert (row["said"], row["phase"]) == ("own", "starting")
    agent = agent_of(standing)
    standing.kill(agent)  # then both senders are dead before anybody looks
    tell(standing, "own.0@1", "go")
    row = standing.ready("own.0@1")
    standing.until("own.0@1", lambda row: row["said"] == "child")
    assert row["restarts"] == 0
    standing.stop("own.0@1")


def closed(write: int) -> bool:
    """Nobody has the other end."""
    with suppress(BrokenPipeError):
        os.write(write, b"x")
        return False
    return True


def test_heartbeats_by_message_their_interval_and_the_trigger(standing):
    alive = {"heartbeat": {"timeout_s": 4.0}}  # far more than a busy machine keeps a program from its tenth of a second
    script = """
while not os.path.exists("rest"): say("WATCHDOG=1"); time.sleep(0.1)
say("WATCHDOG_USEC=100000000"); time.sleep(6); say("STATUS=rested"); wait_for("end"); say("WATCHDOG=trigger")
time.sleep(1000)
"""
    start(standing, "beats.0@1", script, alive=alive, min_healthy_s=6.0, restart=SLOW)
    standing.ready("beats.0@1")
    tell(standing, "beats.0@1", "rest")
    standing.until("beats.0@1", lambda row: row["said"] == "rested")
    tell(standing, "beats.0@1", "end")
    row = standing.until("beats.0@1", lambda row: row["phase"] == "waiting")
    assert (row["restarts"], row["last_exit"]) == (0, "killed by SIGABRT")
    assert "killed: it asked for it: WATCHDOG=trigger" in row["reason"]
    standing.stop("beats.0@1")


def test_a_program_that_names_its_child_and_ends_goes_on_as_that_child(host):
    script = """
import signal
if os.path.exists("twice"): time.sleep(1000)
open("twice", "w").close()
child = os.fork()
if child == 0:
    os.setsid(); wait_for("end"); os._exit(3)
say("MAINPID=%d" % child)
"""
    start(host, "web.0@1", script, min_healthy_s=0.5)
    row = host.ready("web.0@1", for_s=1.0)
    child = row["pid"]
    assert (row["restarts"], row["problem"], lives(child)) == (0, None, True)
    host.kill(agent_of(host))
    assert host.ready("web.0@1")["pid"] == child
    tell(host, "web.0@1", "end")
    row = host.until("web.0@1", lambda row: row["restarts"] == 1 and row["phase"] == "ready")
    assert row["last_exit"] == "exited 3"


@OLDEST
def test_a_dead_sender_may_not_name_the_main_process(host):
    script = """
if os.fork() == 0:
    wait_for("end")
    if os.fork() == 0: say("MAINPID=1"); say("MAINPID=%d" % os.getppid()); os._exit(0)
    os.wait(); open("sent", "w").close(); time.sleep(1000)
wait_for("sent")
"""
    start(host, "web.0@1", script, restart=SLOW, min_healthy_s=0.2)
    old = host.ready("web.0@1")["pid"]
    agent = agent_of(host)
    os.kill(agent, signal.SIGSTOP)
    (host.folder("web.0@1") / "run" / "end").touch()
    wait_until(lambda: not start_of(old), "its end")
    os.kill(agent, signal.SIGCONT)
    row = host.until("web.0@1", lambda row: row["last_exit"] is not None)
    assert row["last_exit"] == "exited 0"


def test_more_time_to_stop_is_given_to_who_asks_for_it(standing):
    script = """
import signal
def stop(*_):
    say("EXTEND_TIMEOUT_USEC=60000000"); wait_for("enough"); sys.exit(7)
signal.signal(signal.SIGTERM, stop)
say("READY=1"); time.sleep(1000)
"""
    start(standing, "slow.0@1", script, ready=NOTIFY, stop={"signal": "TERM", "timeout_s": 5.0})
    standing.ready("slow.0@1")
    standing.stop("slow.0@1")
    standing.kill(agent_of(standing))  # what is granted holds for the next agent, too
    since = wait_until(lambda: standing.status("slow.0@1")["stopping_since"], "the signal")
    wait_until(lambda: boottime() > since + 5.5, "its own time is over")
    tell(standing, "slow.0@1", "enough")
    assert standing.stopped("slow.0@1")["last_exit"] == "exited 7"


@OLDEST
def test_messages_sent_while_no_agent_runs_are_heard_by_the_next(host):
    start(host, "web.0@1", 'wait_for("go"); say("READY=1\\nSTATUS=alone"); wait_for("never")', ready=NOTIFY)
    host.until("web.0@1", lambda row: row["pid"])
    supervisor = host.supervisor_pid()
    os.kill(supervisor, signal.SIGSTOP)  # else it starts another agent at once
    host.kill(agent_of(host))
    tell(host, "web.0@1", "go")
    time.sleep(0.5)
    os.kill(supervisor, signal.SIGCONT)
    row = host.ready("web.0@1")
    assert (row["said"], row["restarts"]) == ("alone", 0)


@OLDEST
@pytest.mark.parametrize("seconds", [6, pytest.param(120, marks=pytest.mark.soak)])
def test_no_message_is_lost_however_often_agents_are_killed(host, seconds):
    script = """
import random
end = time.time() + int(sys.argv[1]) + 0.5
time.sleep(random.random() * int(sys.argv[1])); say("READY=1")
number = 0
while time.time() < end: say("WATCHDOG=1\\nSTATUS=%d" % number); number += 1; time.sleep(0.05)
say("STATUS=the last")
while True: say("WATCHDOG=1"); time.sleep(0.05)
"""
    names = [f"web.{index}@1" for index in range(6)]
    for name in names:
        argv = [sys.executable, "-c", SAY + script, str(seconds)]
        host.start(name, argv, ready=NOTIFY, alive={"heartbeat": {"timeout_s": 5.0}}, restart=SLOW)
    dice = random.Random(seconds)
    end = time.monotonic() + seconds
    kills = 0
    while time.monotonic() < end or kills < seconds / 3:
        time.sleep(dice.random() * 0.6)
        for pid in children(host.supervisor_pid()):
            if pid in host.role("agent"):
                os.kill(pid, signal.SIGKILL)
                kills += 1
    for name in names:
        host.ready(name)
        row = host.until(name, lambda row: row["said"] == "the last")
        assert (row["phase"], row["restarts"], row["problem"]) == ("ready", 0, None)


@OLDEST
def test_who_sends_by_the_path_is_heard_again_after_all_of_ours_were_killed(host):
    start(host, "web.0@1", 'wait_for("go"); say("READY=1"); wait_for("never")', ready=NOTIFY)
    pid = host.until("web.0@1", lambda row: row["pid"])["pid"]
    host.kill_all_of_ours()
    assert host.row("web.0@1")["phase"] == "starting"
    tell(host, "web.0@1", "go")
    assert host.ready("web.0@1")["pid"] == pid


@OLDEST
def test_a_root_too_deep_for_a_socket_has_an_abstract_one(tmp_path, python):
    host = Host(tmp_path / ("deep" * 25) / "root", python)
    host.root.parent.mkdir()
    try:
        start(host, "web.0@1", 'print(os.environ["NOTIFY_SOCKET"][:10], flush=True); say("READY=1"); wait_for("never")')
        host.until("web.0@1", lambda _: host.lines("web.0@1") == ["@fleetctl/"])
        start(host, "web.1@1", 'say("READY=1"); wait_for("again"); os.remove("again")', ready=NOTIFY)
        for restarts in range(3):
            host.until("web.1@1", lambda row, restarts=restarts: (row["restarts"], row["phase"]) == (restarts, "ready"))
            if restarts == 1:
                host.kill_agent()
                host.ready("web.1@1")
            tell(host, "web.1@1", "again")
    finally:
        host.end()


@OLDEST
def test_a_flood_costs_the_agent_little_and_others_nothing(host):
    start(host, "web.0@1", 'print("on", flush=True)\nwhile True: say("STATUS=%d" % time.time())')
    start(host, "web.1@1", 'say("READY=1"); time.sleep(1000)', ready=NOTIFY)
    host.ready("web.1@1")
    agent = agent_of(host)
    before = busy_s(agent)
    began = time.monotonic()
    time.sleep(1.5)
    share = (busy_s(agent) - before) / (time.monotonic() - began)
    assert share < 0.5
    host.stop("web.0@1")
    host.stopped("web.0@1")


def busy_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_gunicorn_unmodified_says_when_it_is_ready(standing):
    gunicorn = pytest.importorskip("gunicorn")
    assert gunicorn.__version__
    port = free_port()
    page = "def app(environ, start):\n    start('200 OK', [])\n    return [b'here']\n"
    script = f'echo "$PAGE" > page.py; exec {sys.executable} -m gunicorn --bind 127.0.0.1:{port} page:app'
    standing.run("gunicorn.0@1", script, ready=NOTIFY, env={"PAGE": page})
    row = standing.ready("gunicorn.0@1")
    assert row["said"] == "Gunicorn arbiter booted"
    standing.stop("gunicorn.0@1")
    assert standing.stopped("gunicorn.0@1")["last_exit"] == "exited 0"


def test_lines_are_assignments():
    assert parse(b"READY=1\n\nSTATUS=a=b\nno\n=x\nX-Y=1\n\xff=2") == [("READY", "1"), ("STATUS", "a=b")]
