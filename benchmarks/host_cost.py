"""What the host program costs a host that has nothing to do, and what a start and a line of output cost it.

    python -m benchmarks.host_cost                  # all of it: about three minutes on two cores
    python -m benchmarks.host_cost memory|start|idle|pump
    python -m benchmarks.host_cost --python ~/.pyenv/versions/3.6.15/bin/python3.6

`memory`: proportional memory of a shim at 50 and 100 replicas, and of all else that runs per host. `start`: CPU of a
start, from the order to the executed program, of all our processes. `idle`: how often idle processes ran in 10 s.
`pump`: how much of a program's output reaches the files per second of CPU; in the same run, what that flood adds to the
agent's memory, and how long the program takes to be stopped while it goes on. Beside it s6-supervise, s6-log, runsv,
svlogd, tini and supervisord, where they are installed (supervisord is fetched from PyPI); who is absent is named.

The exit status is 1 when a goal is missed. Goals are of the host program under the Python given; peers are context.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.host.driven import Host, children, lives, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPLICAS = 50
SLEEP = ["/bin/sleep", "1000000"]
SHIM_MIB_MAX, HOST_MIB_MAX = 0.3, 14.0
START_MS_MAX = 15.0
PUMP_MIB_S_MIN = 300.0
IDLE_S = 10.0
STARTS = 30
PUMP_MIB = 1024
FLOOD_MIB = 4096
PUMP_GROWTH_MIB_MAX, PUMP_GRACE_S = 2.0, 5.0
BLOCK = """
import os
block = (b"x" * 99 + b"\\n") * 655
"""
WRITER = f"""{BLOCK}
for _ in range({PUMP_MIB} * 1048576 // len(block)):
    os.write(1, block)
"""
FLOOD = f"""{BLOCK}
while True:
    os.write(1, block)
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a goal is met, and by which figure."""

    goal: str
    found: str
    met: bool


# -- what the kernel counts


def pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no proportional memory of {pid}")


def cpu_ms(pid: int) -> float:
    """User and system, by the scheduler: a tick of /proc/PID/stat is too coarse for a start."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def switches(pid: int) -> int:
    """How often it stopped running: voluntarily or not."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def below(pid: int) -> list[int]:
    found = children(pid)
    return found + [pid for child in found for pid in below(child)]


# -- ours


@contextmanager
def host(python: str) -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="host-cost-") as folder:
        driven = Host(Path(folder, "root"), python)
        try:
            yield driven
        finally:
            driven.end()


def filled(driven: Host, count: int) -> None:
    """That many replicas run, and have been running for a moment."""
    names = [f"web.{index}@1" for index in range(count)]
    for name in names:
        if not driven.folder(name).exists():
            driven.start(name, SLEEP)
    for name in names:
        driven.ready(name)
    time.sleep(1)


def per_host(driven: Host) -> dict[str, int]:
    """What runs once, whatever the number of replicas."""
    return {"agent": driven.agent_pid(), "supervisor": driven.supervisor_pid(), "nursery": driven.nursery_pid()}


# -- peers: each a context that runs `count` idle programs and gives the pids that cost, one a program unless shared


def services(supervisor: str, count: int) -> Iterator[list[int]]:
    """One supervisor a folder, each with a `run`: s6 and runit agree on that."""
    with tempfile.TemporaryDirectory(prefix="host-cost-") as folder:
        for index in range(count):
            service = Path(folder, f"s{index}")
            service.mkdir()
            (service / "run").write_text("#!/bin/sh\nexec /bin/sleep 1000000\n")
            (service / "run").chmod(0o755)
        yield from supervised([[supervisor, f"{folder}/s{index}"] for index in range(count)])


@contextmanager
def s6(count: int) -> Iterator[list[int]]:
    yield from services("s6-supervise", count)


@contextmanager
def runit(count: int) -> Iterator[list[int]]:
    yield from services("runsv", count)


@contextmanager
def tini(count: int) -> Iterator[list[int]]:
    yield from supervised([["tini", "-s", "--", *SLEEP]] * count)


@contextmanager
def supervisord(count: int) -> Iterator[list[int]]:
    with tempfile.TemporaryDirectory(prefix="host-cost-") as folder:
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True, capture_output=True)
        subprocess.run([f"{folder}/venv/bin/pip", "install", "-q", "supervisor"], check=True, capture_output=True)
        programs = f"[program:s]\ncommand={' '.join(SLEEP)}\nnumprocs={count}\nprocess_name=s%(process_num)d\n"
        head = f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\npidfile={folder}/pid\nchildlogdir={folder}\n"
        Path(folder, "conf").write_text(head + programs)
        yield from supervised([[f"{folder}/venv/bin/supervisord", "-c", f"{folder}/conf"]], of_each=count)


def supervised(commands: list[list[str]], of_each: int = 1) -> Iterator[list[int]]:
    """Run them, wait until each has its programs, and end all of it."""
    quiet = subprocess.DEVNULL
    running = [subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) for command in commands]
    try:
        for process in running:
            wait_until(lambda process=process: len(programs_of(process.pid)) == of_each, str(process.args))
        yield [process.pid for process in running]
    finally:
        ends = [pid for process in running for pid in (process.pid, *below(process.pid))]
        for pid in ends:
            os.kill(pid, signal.SIGKILL)
        for process in running:
            process.wait()
        wait_until(lambda: not any(lives(pid) for pid in ends))


def programs_of(pid: int) -> list[int]:
    return [child for child in below(pid) if Path(f"/proc/{child}/comm").read_text().strip() == "sleep"]


PEERS: dict[str, Callable[[int], object]] = {
    "s6-supervise": s6,
    "runsv": runit,
    "tini": tini,
    "supervisord": supervisord,
}


@contextmanager
def peer(name: str, count: int) -> Iterator[list[int] | None]:
    """The peer's processes, or None where it is absent, which is said."""
    if name != "supervisord" and shutil.which(name) is None:
        print(f"{name:<14} absent")
        yield None
        return
    try:
        with PEERS[name](count) as pids:
            yield pids
    except subprocess.CalledProcessError:
        print(f"{name:<14} absent: PyPI does not give it")


# -- what is measured


def memory(python: str) -> list[Verdict]:
    print(f"{'proportional memory':<26}{'replicas':>10}{'a replica':>14}{'the rest':>13}")
    verdicts = []
    with host(python) as driven:
        for count in (REPLICAS, 2 * REPLICAS):
            filled(driven, count)
            shims = [pss_mib(pid) for pid in driven.shims()]
            shared = {name: pss_mib(pid) for name, pid in per_host(driven).items()}
            mean, whole = sum(shims) / len(shims), sum(shared.values())
            parts = ", ".join(f"{name} {mib:.1f}" for name, mib in shared.items())
            print(f"{'fleetctl':<26}{count:>10}{mean:>10.3f} MiB{whole:>9.1f} MiB   {parts}", flush=True)
            if count == REPLICAS:
                verdicts.append(Verdict(f"shim ≤ {SHIM_MIB_MAX} MiB at {count}", f"{mean:.3f}", mean <= SHIM_MIB_MAX))
            else:
                goal = f"agent, supervisor and nursery ≤ {HOST_MIB_MAX:g} MiB at {count}"
                verdicts.append(Verdict(goal, f"{whole:.1f}", whole <= HOST_MIB_MAX))
    for name in PEERS:
        with peer(name, REPLICAS) as pids:
            if pids is not None:
                mean = sum(pss_mib(pid) for pid in pids) / REPLICAS
                print(f"{name:<26}{REPLICAS:>10}{mean:>10.3f} MiB", flush=True)
    return verdicts


def start(python: str) -> list[Verdict]:
    """From the order to the executed program; what the program's own start costs is in it, for it is a part of both."""
    print(f"CPU of a start, of {STARTS}")
    with host(python) as driven:
        driven.start("warm.0@1", SLEEP)
        driven.ready("warm.0@1")
        time.sleep(1)
        before = sum(cpu_ms(pid) for pid in per_host(driven).values())
        old = set(driven.shims())
        filled(driven, STARTS)
        parts = {
            "agent, supervisor, nursery": sum(cpu_ms(pid) for pid in per_host(driven).values()) - before,
            "shim": sum(cpu_ms(pid) for pid in driven.shims() if pid not in old),
            "program": sum(cpu_ms(driven.record(f"web.{index}@1").pid) for index in range(STARTS)),
        }
    mean = sum(parts.values()) / STARTS
    told = ", ".join(f"{name} {found / STARTS:.2f}" for name, found in parts.items())
    print(f"{'fleetctl':<26}{mean:>10.2f} ms   {told}", flush=True)
    for name in PEERS:
        with peer(name, STARTS) as pids:
            if pids is not None:
                of = {pid for found in pids for pid in (found, *below(found))}
                print(f"{name:<26}{sum(cpu_ms(pid) for pid in of) / STARTS:>10.2f} ms", flush=True)
    return [Verdict(f"a start ≤ {START_MS_MAX:g} ms of CPU", f"{mean:.2f}", mean <= START_MS_MAX)]


def idle(python: str) -> list[Verdict]:
    """Replicas without probes: whatever runs does so without cause, but for the agent's own clockwork."""
    print(f"times that processes ran in {IDLE_S:g} s, {REPLICAS} idle replicas")
    with host(python) as driven:
        filled(driven, REPLICAS)
        driven.link.close()
        time.sleep(1)
        shims = switched(driven.shims())
        rest = {name: switched([pid]) for name, pid in per_host(driven).items()}
        time.sleep(IDLE_S)
        woken = shims()
        told = ", ".join(f"{name} {count()}" for name, count in rest.items())
    print(f"{'fleetctl':<26}{woken:>10}   {told}", flush=True)
    for name in PEERS:
        with peer(name, REPLICAS) as pids:
            if pids is not None:
                count = switched(pids)
                time.sleep(IDLE_S)
                print(f"{name:<26}{count():>10}", flush=True)
    return [Verdict("no wake-ups of idle shims", str(woken), woken == 0)]


def switched(pids: list[int]) -> Callable[[], int]:
    """Tells how often they ran since now."""
    before = {pid: switches(pid) for pid in pids}
    return lambda: sum(switches(pid) - count for pid, count in before.items())


def pump(python: str) -> list[Verdict]:
    print("output to files, in lines of 100 bytes: per second of CPU, and of time")
    flood = poured(python)
    rate, pace = flood.mib / flood.used_s, f"{flood.mib / flood.took_s:.0f} MiB/s"
    told = f"{flood.mib:.0f} MiB; the agent grew by {flood.grew_mib:.2f} MiB; stopped after {flood.stopped_s:.2f} s"
    print(f"{'fleetctl':<26}{rate:>8.0f} MiB/s{pace:>14}   {told}", flush=True)
    for name, script in (("s6-log", ["n2", "s67108864"]), ("svlogd", [])):
        if shutil.which(name) is None:
            print(f"{name:<26} absent")
            continue
        with tempfile.TemporaryDirectory(prefix="host-cost-") as folder:
            Path(folder, "config").write_text("s67108864\nn2\n")
            used_s, took_s = piped([sys.executable, "-I", "-S", "-c", WRITER], [name, *script, folder])
        print(f"{name:<26}{PUMP_MIB / used_s:>8.0f} MiB/s{PUMP_MIB / took_s:>8.0f} MiB/s", flush=True)
    grew, stopped = flood.grew_mib, flood.stopped_s
    return [
        Verdict(f"log pump ≥ {PUMP_MIB_S_MIN:g} MiB a second of CPU", f"{rate:.0f}", rate >= PUMP_MIB_S_MIN),
        Verdict(f"agent grows < {PUMP_GROWTH_MIB_MAX:g} MiB at {pace}", f"{grew:.2f}", grew < PUMP_GROWTH_MIB_MAX),
        Verdict(f"stop at {pace} ≤ {PUMP_GRACE_S:g} s of grace", f"{stopped:.2f}", stopped <= PUMP_GRACE_S),
    ]


@dataclass(frozen=True, slots=True)
class Flood:
    """What so much output cost the agent of CPU and of time, and what it added to its memory at most; then its program
    was stopped, which went on saying as much as the agent took."""

    mib: float
    used_s: float
    took_s: float
    grew_mib: float
    stopped_s: float


def poured(python: str) -> Flood:
    log = {"size_bytes": 64 * 1024 * 1024, "keep": 2, "when_full": "block"}
    with host(python) as driven:
        driven.run("web.0@1", "echo what is used first is there; exec sleep 1000000", log=log)
        driven.ready("web.0@1")
        agent = driven.agent_pid()
        before_mib = peak_mib = own_mib(agent)
        command = [sys.executable, "-I", "-S", "-c", FLOOD]
        driven.start("pump.0@1", command, log=log, stop={"signal": "TERM", "timeout_s": PUMP_GRACE_S})
        driven.ready("pump.0@1")
        mib, used_ms, began = written(driven), cpu_ms(agent), time.monotonic()

        def is_poured() -> bool:
            nonlocal peak_mib
            peak_mib = max(peak_mib, own_mib(agent))
            return written(driven) >= mib + FLOOD_MIB

        wait_until(is_poured, "all of it is written", limit_s=300)
        mib, used_s, took_s = written(driven) - mib, (cpu_ms(agent) - used_ms) / 1000, time.monotonic() - began
        ordered = time.monotonic()
        driven.stop("pump.0@1")
        driven.stopped("pump.0@1")
        stopped_s = time.monotonic() - ordered
        return Flood(mib, used_s, took_s, max(peak_mib, own_mib(agent)) - before_mib, stopped_s)


def own_mib(pid: int) -> float:
    """Memory that nobody has in common with it: what a buffer would show in."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def written(driven: Host) -> float:
    """MiB that the program has written, by its own count."""
    for line in Path(f"/proc/{driven.record('pump.0@1').pid}/io").read_text().splitlines():
        if line.startswith("wchar:"):
            return int(line.split()[1]) / 1024 / 1024
    return 0.0


def piped(writer: list[str], logger: list[str]) -> tuple[float, float]:
    """(CPU seconds of the logger, seconds in all)"""
    began = time.monotonic()
    with subprocess.Popen(logger, stdin=subprocess.PIPE) as sink:
        subprocess.run(writer, check=True, stdout=sink.stdin)
        assert sink.stdin is not None
        sink.stdin.close()
        _, _, used = os.wait4(sink.pid, 0)
        sink.returncode = 0
    return used.ru_utime + used.ru_stime, time.monotonic() - began


PARTS = {"memory": memory, "start": start, "idle": idle, "pump": pump}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_cost")
    parser.add_argument("what", nargs="?", choices=tuple(PARTS), help="all, unless given")
    parser.add_argument("--python", default=str(Path(sys.executable).resolve()), help="of the host")
    given = parser.parse_args()
    verdicts: list[Verdict] = []
    for name, measure in PARTS.items():
        if given.what in (None, name):
            verdicts += measure(given.python)
            print()
    for verdict in verdicts:
        print(f"{'met' if verdict.met else 'MISSED':<8}{verdict.goal}: {verdict.found}")
    return 0 if all(verdict.met for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
