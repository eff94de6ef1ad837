"""A log that can't take what its program says: too much of it, a full disk, a slow one. Never at the program's cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.host.driven import wait_until
from tests.host.test_logs import written

MIB = 2**20
NEVER_AGAIN = {"backoff_min_s": 100.0, "backoff_max_s": 100.0, "reset_s": 600.0}

COUNTER = """
import os, signal, sys, time
def end(*_):
    os.write(1, b"farewell\\n")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
told = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
number = 0
while True:
    os.write(1, b"%08d %s\\n" % (number, b"x" * 90))
    number += 1
    os.pwrite(told, b"%08d" % number, 0)
    if number % 50 == 0:
        time.sleep(0.002)
"""
LINE_BYTES = 100


@pytest.fixture
def python(oldest_python):
    """The one with the least: what these tests are about does not differ between versions."""
    return oldest_python


def anonymous_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cut_off(host, name: str) -> list[Path]:
    return sorted(path for path in (host.folder(name) / "log").iterdir() if path.name.isdigit())


def digest_of(command: str) -> str:
    return subprocess.run(["/bin/sh", "-c", f"{command} | sha256sum"], capture_output=True, check=True).stdout.decode()


def test_a_flood_is_kept_to_the_byte_and_costs_the_agent_no_memory(host):
    """As fast as both can: dropping is for a disk that does not follow, not for a pump that is the slower one."""
    flood = "while [ ! -e go ]; do sleep 0.02; done; seq 1 40000000; touch done; exec yes and on it goes"
    host.run("web.0@1", flood, log={"size_bytes": 32 * MIB, "keep": 1000})
    host.ready("web.0@1")
    agent, run = host.agent_pid(), host.folder("web.0@1") / "run"
    before_kib, cpu, began = anonymous_kib(agent), cpu_s(agent), time.monotonic()
    (run / "go").touch()
    wait_until((run / "done").exists, limit_s=240.0)
    took_s, cost_s, grown_kib = time.monotonic() - began, cpu_s(agent) - cpu, anonymous_kib(agent) - before_kib
    host.stop("web.0@1")
    row = host.stopped("web.0@1")
    assert (row["last_exit"], row["dropped_bytes"]) == ("killed by SIGTERM", 0), "within the grace of 20 s"

    files = [*cut_off(host, "web.0@1"), host.folder("web.0@1") / "log" / "current"]
    sizes = [path.stat().st_size for path in files]
    assert max(sizes) < 32 * MIB + 64 * 1024
    for path in files[:-1]:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            assert file.read() == b"\n"
    kept = digest_of(f"cat {' '.join(map(str, files))} | head -n 40000000")
    assert kept == digest_of("seq 1 40000000")

    mib = 339.0
    told = f"{mib / took_s:.0f} MiB/s, {mib / cost_s:.0f} MiB for a second of the agent's CPU, {grown_kib} KiB grown"
    print(f"\n{told}")
    assert grown_kib < 2 * 1024
    assert mib / cost_s > 100, told  # over 300 where the machine is quiet


@pytest.fixture
def small_disk(host):
    """The host's root on a disk of 24 MiB."""
    host.root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(host.root)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and the right to mount")
    yield host
    host.end()
    subprocess.run(["umount", "-l", str(host.root)], check=True)


def fill(host) -> None:
    """Not a byte is left, at least until somebody removes something."""
    with (host.root / "filler").open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while file.write(b"\1" * size) == size:
                    pass
            except OSError:
                continue


def make_room(host) -> None:
    (host.root / "filler").unlink()


def count_in(host, when_full: str, tmp_path):
    """A program that says a line of 100 bytes after the other; a function that tells how many it has said."""
    told = tmp_path / "told"
    host.start("web.0@1", [sys.executable, "-I", "-S", "-c", COUNTER, str(told)], restart=NEVER_AGAIN,
               log={"size_bytes": 2 * MIB, "keep": 2, "when_full": when_full},
               stop={"signal": "TERM", "timeout_s": 10.0})  # fmt: skip
    wait_until(lambda: told.exists() and int(told.read_bytes() or b"0") > 100)
    return lambda: int(told.read_bytes())


def waits_for_the_pipe(pid: int) -> bool:
    return "pipe_write" in Path(f"/proc/{pid}/wchan").read_text()


def everything(host):
    """(lines, gaps) from the oldest kept on, as fleetctl reads them when it follows."""
    lines, gaps, cursor = [], [], ""
    while True:
        found = host.ask("logs", instance="web.0@1", lines=10_000, after=cursor)
        assert not found["missed"]
        gaps += [dict(gap, before=len(lines) + gap["before"]) for gap in found["gaps"]]
        lines += found["lines"]
        cursor = found["next"]
        if not found["cut"]:
            return lines, gaps


def test_on_a_full_disk_a_program_that_may_lose_lines_runs_on_and_the_gap_is_told_at_its_place(small_disk, tmp_path):
    host = small_disk
    said = count_in(host, "drop", tmp_path)
    pid = host.ready("web.0@1")["pid"]
    status = host.folder("web.0@1") / "status.json"
    fill(host)
    at = said()
    wait_until(lambda: said() > at + 20_000, "it runs on")
    assert host.row("web.0@1")["dropped_bytes"] > 1000 * LINE_BYTES
    json.loads(status.read_text())
    host.kill_agent()
    at = said()
    wait_until(lambda: said() > at + 1000, "it runs on, with the next agent too")
    make_room(host)
    at = said()
    wait_until(lambda: said() > at + 1000)
    lines, gaps = everything(host)
    assert len(gaps) == 1, gaps
    before, after = lines[: gaps[0]["before"]], lines[gaps[0]["before"] :]
    assert all(len(line) == LINE_BYTES - 1 for line in [*before[:-1], *after[1:]])
    kept_bytes = sum(len(line) + 1 for line in lines) - (len(before[-1]) < LINE_BYTES - 1)  # a torn line has no newline
    first, last = int(lines[0].split()[0]), int(lines[-1].split()[0])
    lost = (last - first + 1) * LINE_BYTES - kept_bytes
    assert lost <= gaps[0]["bytes"] <= lost + 256 * 1024, "a chunk at a kill may count twice"

    fill(host)
    host.stop("web.0@1")
    row = host.stopped("web.0@1", timeout_s=15)
    assert (row["pid"], row["last_exit"], row["restarts"]) == (None, "exited 0", 0), pid
    json.loads(status.read_text())


def test_on_a_full_disk_a_program_that_must_lose_no_line_waits_until_there_is_room_or_it_is_stopped(
    small_disk, tmp_path
):
    host = small_disk
    said = count_in(host, "block", tmp_path)
    pid = host.ready("web.0@1")["pid"]
    for _ in range(2):
        fill(host)
        wait_until(lambda: waits_for_the_pipe(pid))
        host.kill_agent()
        host.agent_pid()
        wait_until(lambda: waits_for_the_pipe(pid), "it waits, but for what the next agent's records made room for")
        at = said()
        make_room(host)
        wait_until(lambda at=at: said() > at + 1000, "it goes on")
    lines, gaps = everything(host)
    assert gaps == []
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert host.row("web.0@1")["dropped_bytes"] == 0

    fill(host)
    wait_until(lambda: waits_for_the_pipe(pid))
    host.stop("web.0@1")
    row = host.stopped("web.0@1")
    assert row["last_exit"] == "exited 0", "it was let go, and could say its farewell within the grace of 10 s"
    lines, (gap,) = everything(host)
    wrote = (said() - int(lines[0].split()[0])) * LINE_BYTES + len("farewell\n")
    kept = sum(len(line) + 1 for line in lines)
    assert row["dropped_bytes"] == gap["bytes"]
    more = kept + gap["bytes"] - wrote
    assert 0 <= more <= LINE_BYTES + 1, "a line may be said and not be told yet, and a torn one has no newline"


MOVE = "            count = self.splice(size)\n"
SLOW = ("logs.py", MOVE, "            time.sleep(0.2)\n" + MOVE)


@pytest.mark.parametrize("when_full", ["drop", "block"])
def test_a_disk_that_does_not_follow(host, when_full):
    """A quarter of a MiB takes it a fifth of a second."""
    host.edits = (SLOW,)
    total = 5_000_000
    flood = f"while [ ! -e go ]; do sleep 0.02; done; yes | head -c {total}; touch done; exec sleep 1000"
    host.run("web.0@1", flood, log={"size_bytes": 32 * MIB, "keep": 2, "when_full": when_full})
    host.ready("web.0@1")
    (host.folder("web.0@1") / "run" / "go").touch()
    wait_until((host.folder("web.0@1") / "run" / "done").exists)
    host.lines("web.0@1", 1)
    dropped = host.row("web.0@1")["dropped_bytes"]
    assert len(written(host, "web.0@1")) == total - dropped
    assert (dropped == 0) == (when_full == "block")
