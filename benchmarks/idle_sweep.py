"""What a sweep with nothing to do costs the fleetctl process, and how that grows with the fleet.

    python -m benchmarks.idle_sweep                     # both, ten replicas a host; about ten minutes on two cores
    python -m benchmarks.idle_sweep embedded --hosts 10,25,50,100 --rounds 5
    python -m benchmarks.idle_sweep model --hosts 10,100,1000
    python -m benchmarks.idle_sweep model --hosts 100 --profile       # where the time goes

`embedded`: `heal` as cron runs it, but for the start of Python, against embedded SSH servers in another process, with
real agents and real programs: logins, reports, plan, store. 100 hosts take about 2,400 processes and 3 GB; they share
this machine's cores, so wall is mostly theirs; CPU is fleetctl's alone. `model`: the real engine and store on modelled
hosts in virtual time, without SSH: what deciding and remembering cost.

The growth is linear if the CPU of a host at no size is 1.5 times that of the cheapest smaller size; else the exit
status is 1. Each size is measured in a process of its own; the fastest of its rounds counts, for others disturb.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.unit.engine.modelled import ModelFleet

REPLICAS = 10  # of each host: as many jobs, each with one replica a host
SIZES = {"embedded": (10, 25, 50, 100), "model": (10, 25, 50, 100, 300, 1000)}
GROWTH_MAX = 1.5
WARM_UP = 2  # the first run tells agents their neighbours, caches fill, and instances get old enough


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one sweep, in the fleetctl process."""

    wall_s: float
    cpu_s: float


async def measured(sweep: Callable[[], Awaitable[None]], rounds: int, *, profile: bool) -> list[Cost]:
    for _ in range(WARM_UP):
        await sweep()
    costs = []
    for _ in range(rounds):
        began, used = time.perf_counter(), _cpu_s()
        await sweep()
        costs.append(Cost(time.perf_counter() - began, _cpu_s() - used))
    if profile:
        profiler = cProfile.Profile()
        profiler.enable()
        await sweep()
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(60)
    return costs


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# -- on embedded hosts


def measure_embedded(count: int, rounds: int, *, profile: bool) -> list[Cost]:
    from fleetctl.cli import wiring
    from fleetctl.engine.wishing import Change

    with tempfile.TemporaryDirectory(prefix="idle-sweep-") as folder, _hosts(Path(folder, "fleet"), count) as inventory:
        os.environ["FLEETCTL_STATE"] = f"{folder}/state"
        _deploy(Path(folder, "jobs.yml"), inventory, count)

        async def sweep() -> None:
            with wiring.open_fleet(inventory) as fleet:
                _assert_idle(await wiring.drive(fleet, "heal", Change(), lambda _event: None, lambda _result: []))

        return asyncio.run(measured(sweep, rounds, profile=profile))


@contextmanager
def _hosts(folder: Path, count: int):
    """Embedded hosts in a process of their own, gone in the end with all they run."""
    argv = [sys.executable, "-m", "benchmarks.idle_sweep", "serve", "--hosts", str(count), "--folder", str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        inventory = server.stdout.readline().strip()
        assert inventory, "the embedded hosts did not start"
        yield Path(inventory)


def serve(folder: Path, count: int) -> None:
    """Until standard input ends."""
    from fleetctl.embedded.fleet import EmbeddedFleet

    async def hosts() -> None:
        async with EmbeddedFleet(folder, count=count) as fleet:
            print(fleet.inventory_path, flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(hosts())


def _deploy(playbook: Path, inventory: Path, count: int) -> None:
    """Programs that do nothing: the hosts' own work is not what is measured."""
    job = f"replicas: {count}, command: [/bin/sleep, '1000000'], update: {{min_healthy: 1s}}"
    jobs = "".join(f"    j{number}: {{{job}}}\n" for number in range(REPLICAS))
    playbook.write_text(f"- hosts: all\n  jobs:\n{jobs}")
    fleetctl = [str(Path(sys.executable).with_name("fleetctl")), "deploy", str(playbook), "-i", str(inventory)]
    done = subprocess.run(fleetctl, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


# -- on modelled hosts


def measure_model(count: int, rounds: int, *, profile: bool) -> list[Cost]:
    from tests.unit.engine.modelled import ModelFleet
    from tests.unit.engine.virtual import run_virtually

    async def settle_and_measure(folder: Path) -> list[Cost]:
        fleet = ModelFleet(folder, count)
        _deployed(fleet)

        async def sweep() -> None:
            _assert_idle(await fleet.heal())

        return await measured(sweep, rounds, profile=profile)

    with tempfile.TemporaryDirectory(prefix="idle-sweep-") as folder:
        return run_virtually(settle_and_measure(Path(folder)))


def _deployed(fleet: ModelFleet) -> None:
    """As after a deploy long ago, without its 20,000 orders to a thousand hosts."""
    from fleetctl.model.job import Release
    from fleetctl.model.memory import Wish
    from fleetctl.model.plan import Plan
    from fleetctl.model.replica import Generation, InstanceName, ReplicaName
    from fleetctl.model.snapshot import InstanceReport, Phase
    from tests.unit.engine.modelled import A, web

    jobs = [web(name=f"j{number}", replicas=len(fleet.machines)) for number in range(REPLICAS)]
    releases = tuple(Release(1, job, A) for job in jobs)
    wishes = tuple(Wish(job.name, 1, job.replicas) for job in jobs)
    lock = fleet.store.lock("test", "benchmark")
    fleet.store.write_plan(lock, "test", Plan(Generation(1), (), (), {}), wishes=wishes, releases=releases)
    for job in jobs:
        fleet.store.mark_good(lock, "test", job.name, 1)
    lock.release()
    for index, machine in enumerate(fleet.machines.values()):
        machine.belongs_to, machine.guard = "test", (1, fleet.store.author)
        machine.artifacts.add(A)
        for number, job in enumerate(jobs):
            name = InstanceName(ReplicaName(job.name, index), Generation(1))
            ports = (("http", 20000 + number),)
            machine.began[name] = -3600.0
            machine.rows[name] = InstanceReport(
                name, 1, Phase.STARTING, ports=ports, address=machine.spec.address, artifact=A, pid=1000 + number
            )


def _assert_idle(result) -> None:
    assert (result.exit_code, result.results, result.sweeps) == (0, (), 1), result.plan.held


# -- sizes, the table, the verdict


def measured_apart(where: str, count: int, rounds: int, *, profile: bool) -> Cost:
    """The cheapest round, in a fresh process."""
    argv = [
        sys.executable,
        "-m",
        "benchmarks.idle_sweep",
        where,
        "--hosts",
        str(count),
        "--rounds",
        str(rounds),
        "--raw",
    ]
    done = subprocess.run([*argv, *(["--profile"] if profile else [])], check=True, stdout=subprocess.PIPE, text=True)
    costs = [Cost(**cost) for cost in json.loads(done.stdout)]
    return Cost(min(cost.wall_s for cost in costs), min(cost.cpu_s for cost in costs))


def growth(costs: dict[int, Cost]) -> float:
    """How much more CPU a host takes, at worst, than in the cheapest smaller fleet."""
    each = {count: cost.cpu_s / count for count, cost in sorted(costs.items())}
    worst = 0.0
    for count, cpu_s in each.items():
        smaller = [before for other, before in each.items() if other < count]
        worst = max(worst, cpu_s / min(smaller)) if smaller else worst
    return worst


def is_linear(where: str, sizes: tuple[int, ...], rounds: int, *, profile: bool) -> bool:
    print(f"{where}: {REPLICAS} replicas a host, nothing to do; the fastest of {rounds} rounds")
    print(f"{'hosts':>6}{'replicas':>10}{'wall':>11}{'CPU':>11}{'CPU a host':>13}")
    costs: dict[int, Cost] = {}
    for count in sizes:
        cost = costs[count] = measured_apart(where, count, rounds, profile=profile)
        each_ms = cost.cpu_s / count * 1000
        print(f"{count:6}{count * REPLICAS:10}{cost.wall_s:9.3f} s{cost.cpu_s:9.3f} s{each_ms:10.2f} ms", flush=True)
    found = growth(costs)
    linear = found < GROWTH_MAX
    if len(costs) > 1:
        print(
            f"a host takes {found:.2f} times the CPU of the cheapest smaller fleet: {'' if linear else 'NOT '}linear\n"
        )
    return linear


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle_sweep")
    parser.add_argument("where", nargs="?", choices=(*SIZES, "serve"), help="both, unless given")
    parser.add_argument("--hosts", help="sizes, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="one more round of each size under cProfile")
    parser.add_argument("--raw", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = tuple(int(text) for text in given.hosts.split(",")) if given.hosts else None
    if given.where == "serve":
        serve(given.folder, sizes[0])
        return 0
    if given.raw:
        measure = measure_embedded if given.where == "embedded" else measure_model
        costs = measure(sizes[0], given.rounds, profile=given.profile)
        print(json.dumps([{"wall_s": cost.wall_s, "cpu_s": cost.cpu_s} for cost in costs]))
        return 0
    verdicts = [
        is_linear(where, sizes or usual, given.rounds, profile=given.profile)
        for where, usual in SIZES.items()
        if given.where in (None, where)
    ]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
