"""What a program says is kept: across the agent's death, across rotation, and never at the program's cost."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from fleetctl.host import log_reading
from fleetctl.host.protocol import LINE_BYTES_MAX
from tests.host.driven import wait_until

WRITER = """
import os, sys, time
count, pause = int(sys.argv[1]), float(sys.argv[2])
block = []
for number in range(count):
    block.append("line %08d %s" % (number, "x" * (number % 97)))
    if len(block) == 50:
        os.write(1, ("\\n".join(block) + "\\n").encode()); block = []
        time.sleep(pause)
os.write(1, b"the end\\n")
time.sleep(1000)
"""


def writer(count: int, pause_s: float) -> list[str]:
    return [sys.executable, "-I", "-c", WRITER, str(count), str(pause_s)]


def written(host, name: str) -> str:
    """All of a log: the files that were cut off, in order, and the current one."""
    folder = host.folder(name) / "log"
    while True:
        try:
            numbered = sorted(path for path in folder.iterdir() if path.name.isdigit())
            content = [path.read_text() for path in [*numbered, folder / "current"]]
        except FileNotFoundError:  # it is being rotated
            continue
        if numbered == sorted(path for path in folder.iterdir() if path.name.isdigit()):
            return "".join(content)


def complete(count: int) -> str:
    lines = [f"line {number:08d} {'x' * (number % 97)}" for number in range(count)]
    return "\n".join([*lines, "the end", ""])


def test_no_line_is_lost_or_doubled_while_agents_are_killed(host):
    count = 100_000
    host.start("web.0@1", writer(count, 0.002), log={"size_bytes": 256 * 1024, "keep": 1000})
    kills = 0
    while host.lines("web.0@1", 1) != ["the end"]:
        time.sleep(0.05)
        host.kill_agent()
        kills += 1
    assert kills >= 3
    assert written(host, "web.0@1") == complete(count)
    assert host.row("web.0@1")["restarts"] == 0


def test_rotation_cuts_at_line_ends_and_keeps_so_many(host):
    host.start("web.0@1", writer(50_000, 0.0), log={"size_bytes": 128 * 1024, "keep": 3})
    wait_until(lambda: host.lines("web.0@1", 1) == ["the end"])
    folder = host.folder("web.0@1") / "log"
    numbered = sorted(path for path in folder.iterdir() if path.name.isdigit())
    assert len(numbered) == 3
    assert int(numbered[-1].name) > 10
    for path in numbered:
        content = path.read_text()
        assert content.startswith("line ")
        assert content.endswith("\n")
        assert 128 * 1024 <= len(content) < 192 * 1024
    assert complete(50_000).endswith(written(host, "web.0@1"))


def test_the_last_lines_come_from_as_many_files_as_it_takes(host):
    host.start("web.0@1", writer(10_000, 0.0), log={"size_bytes": 64 * 1024, "keep": 100})
    wait_until(lambda: host.lines("web.0@1", 1) == ["the end"])
    everything = complete(10_000).splitlines()
    for lines in (0, 1, 2, 3000, 10_000):
        assert host.lines("web.0@1", lines) == (everything[-lines:] if lines else [])


def test_a_line_longer_than_64_kib_does_not_stop_rotation(host):
    script = (
        "import os,time\nfor _ in range(8): os.write(1, b'y' * 100000)\nos.write(1, b'\\nend\\n'); time.sleep(1000)"
    )
    host.start("web.0@1", [sys.executable, "-c", script], log={"size_bytes": 64 * 1024, "keep": 100})
    wait_until(lambda: host.lines("web.0@1", 1) == ["end"])
    assert written(host, "web.0@1") == "y" * 800_000 + "\nend\n"
    sizes = [path.stat().st_size for path in (host.folder("web.0@1") / "log").iterdir() if path.name != "pipe"]
    assert max(sizes) <= 128 * 1024


def test_what_was_said_last_is_there_when_the_end_is_shown(host):
    slow = {"backoff_min_s": 100.0, "backoff_max_s": 100.0, "reset_s": 600.0}
    host.run("web.0@1", "seq 1 20000; exit 3", restart=slow)
    host.until("web.0@1", lambda row: row["last_exit"] == "exited 3")
    assert host.lines("web.0@1", 10_000) == [str(number) for number in range(10_001, 20_001)]


def test_a_log_file_removed_by_hand_comes_back(host):
    host.run("web.0@1", "while :; do echo tick; sleep 0.05; done")
    current = host.folder("web.0@1") / "log" / "current"
    wait_until(current.exists)
    current.unlink()
    wait_until(lambda: current.exists() and "tick" in current.read_text())


def test_no_signal_and_no_error_reaches_a_program_that_writes_while_no_agent_lives(host):
    script = (
        "import os, signal, time\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "for number in range(200): os.write(1, b'%04d' % number + b'z' * 995 + b'\\n')\n"
        "open('done', 'w').close()\n"
        "time.sleep(1000)\n"
    )
    host.start("web.0@1", [sys.executable, "-I", "-c", script])
    pid = host.ready("web.0@1")["pid"]
    host.kill_all_of_ours()
    (host.folder("web.0@1") / "run" / "go").touch()
    wait_until((host.folder("web.0@1") / "run" / "done").exists, "200 KB fit into the pipe")
    row = host.row("web.0@1")
    assert (row["pid"], row["restarts"]) == (pid, 0)
    wait_until(lambda: len(host.lines("web.0@1")) == 200)
    assert [line[:4] for line in host.lines("web.0@1")] == [f"{number:04d}" for number in range(200)]


def test_what_can_not_be_written_is_dropped_and_counted_and_the_program_goes_on(host):
    host.run("web.0@1", "seq 1 5; while [ ! -e go ]; do sleep 0.02; done; seq 1 100000; touch done; exec sleep 1000")
    host.until("web.0@1", lambda _: host.lines("web.0@1") == list("12345"))
    folder = host.folder("web.0@1") / "log"
    (folder / "current").unlink()
    (folder / "current").symlink_to("/dev/full")  # every write there fails for want of space
    host.kill_agent()
    (host.folder("web.0@1") / "run" / "go").touch()
    wait_until((host.folder("web.0@1") / "run" / "done").exists)
    expected = sum(len(str(number)) + 1 for number in range(1, 100_001))
    host.until("web.0@1", lambda row: row["dropped_bytes"] == expected, str(expected))
    (folder / "current").unlink()
    host.kill_agent()
    assert host.row("web.0@1")["dropped_bytes"] == expected
    assert host.ask("logs", instance="web.0@1", lines=1)["dropped_bytes"] == expected


@pytest.mark.parametrize("megabytes", [64])
def test_a_flood_does_not_keep_the_agent_from_stopping_it(host, megabytes):
    host.run("web.0@1", "exec yes " + "y" * 200, log={"size_bytes": megabytes * 1024 * 1024, "keep": 1})
    host.ready("web.0@1")
    host.stop("web.0@1")
    assert host.stopped("web.0@1")["last_exit"] == "killed by SIGTERM", "within the grace of 20 s"
    status = Path(f"/proc/{host.agent_pid()}/status").read_text()
    resident_kib = int(status.partition("VmRSS:")[2].split()[0])
    assert resident_kib < 40 * 1024, "the flood never was in the agent's memory"
    assert (host.folder("web.0@1") / "log" / "current").stat().st_size <= (megabytes + 1) * 1024 * 1024


def test_the_last_lines_of_the_worst_output_fit_into_one_answer(tmp_path):
    """What does not would end the link, and with it every other answer on its way."""
    (tmp_path / "current").write_bytes(b"\0" * 10 * 2**20)
    assert len(json.dumps({"lines": log_reading.tail(str(tmp_path), 20)})) < LINE_BYTES_MAX


def test_what_each_run_said_is_told_apart_to_the_byte_though_agents_are_killed_meanwhile(host):
    script = (
        'echo x >> n; run=$(wc -l < n); seq -f "run $run line %g" 1 2000; printf "last words of $run"; '
        "[ $run -lt 6 ] && exit 3; sleep 0.1; echo; exec sleep 1000"
    )
    tight = {"backoff_min_s": 0.02, "backoff_max_s": 0.1, "reset_s": 600.0, "alarm_exits": 100}
    host.run("web.0@1", script, restart=tight)
    while host.row("web.0@1")["restarts"] < 5:
        host.kill_agent()
    wait_until(lambda: host.lines("web.0@1", 1) == ["last words of 6"])
    wait_until(lambda: not host.ask("logs", instance="web.0@1", lines=1)["partial"])
    said, cursor = [], ""
    while True:
        found = host.ask("logs", instance="web.0@1", lines=10_000, after=cursor)
        said += found["runs"]
        cursor = found["next"]
        if not found["cut"]:
            break
    runs = sorted(set(said))  # a start that an agent did not live to see is a number of its own
    assert (len(runs), len(said), runs[-1]) == (6, 6 * 2001, found["run"])
    for number, run in enumerate(runs, 1):
        expected = [f"run {number} line {line}" for line in range(1, 2001)] + [f"last words of {number}"]
        assert host.ask("logs", instance="web.0@1", lines=10_000, run=run)["lines"] == expected
        found = host.ask("logs", instance="web.0@1", lines=10_000, run=run, after="")
        assert (found["lines"], set(found["runs"])) == (expected, {run})
        assert found["times"] == sorted(found["times"])
        assert abs(found["times"][0] - found["wallclock_s"]) < 600
    assert host.ask("logs", instance="web.0@1", lines=1, run=-1)["lines"] == ["last words of 5"]

    asked = [{"lines": 10_000, "run": run, "after": ""} for run in runs] + [{"lines": 7}, {"lines": 5, "run": -1}]
    told = ("lines", "times", "runs", "next", "cut", "partial")
    answers = [[host.ask("logs", instance="web.0@1", **more)[key] for key in told] for more in asked]
    host.kill_all_of_ours()
    look = host.connect("look")
    assert look.linked["by"] == "look"
    assert [[look.ask("logs", instance="web.0@1", **more)[key] for key in told] for more in asked] == answers
