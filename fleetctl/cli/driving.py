"""The commands that change a fleet: names are checked, then a run under the lock is made and told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetctl.cli.account import SAY_AGAIN_S, Account, told_by
from fleetctl.cli.extra_vars import parse_extra_vars
from fleetctl.cli.named import named_hosts, named_jobs, named_scales, seconds_of, with_terms
from fleetctl.cli.screen import Line, Screen
from fleetctl.cli.show_drain import blocked_lines, drained_lines
from fleetctl.cli.show_run import is_worth_telling, notice_lines, run_lines
from fleetctl.cli.tell import telling
from fleetctl.cli.wiring import OpenFleet, drive, open_fleet, read_playbook, wished_by
from fleetctl.clock import SystemClock
from fleetctl.engine.drain import drain as engine_drain
from fleetctl.engine.events import PlanMade
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, LiveRunError
from fleetctl.model.memory import Cordon

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fleetctl.cli.account import Told
    from fleetctl.cli.options import Terms
    from fleetctl.engine.events import Event, Tell
    from fleetctl.engine.run import RunResult

RUNS_COMPARED = (100, 5000)  # more than an hour of them, of cron's every minute, and of a watch's every second


def deploy(playbook: Path, named: Path | None, extra_vars: list[str], terms: Terms) -> ExitCode:
    with open_fleet(named) as fleet:
        wished = read_playbook(playbook, fleet.inventory, parse_extra_vars(extra_vars))
        within = with_terms(Change(), terms, fleet.inventory)  # refused before anything is kept
        built = wished_by(wished, fleet.kept.keep)
        change = replace(within, deploys=built.deploys, owner=built.owner)
        code = _drive(fleet, f"deploy {playbook.name}{terms.words()}", change)
        fleet.kept.forget_unused(fleet.store.needed_artifacts())
        return code


def heal(named: Path | None, terms: Terms) -> ExitCode:
    screen, command = Screen.standard(), f"heal{terms.words()}"
    with open_fleet(named) as fleet:
        change = with_terms(Change(), terms, fleet.inventory)
        now_wall = SystemClock().wall()
        before = told_before(fleet, command, now_wall)
        account = Account(screen.show, now_wall, before=before, all_of_it=screen.terminal)
        try:
            return asyncio.run(heal_once(fleet, command, change, screen, account)).exit_code
        except LiveRunError:
            if screen.terminal:
                raise
            return ExitCode.YIELDED  # a live run does the work: nothing to tell who reads cron's mail


def told_before(fleet: OpenFleet, command: str, now_wall: float) -> Told | None:
    """What an earlier heal of these words told that still counts."""
    for newest in RUNS_COMPARED:
        earlier = fleet.store.runs(fleet.name, newest)
        told = told_by(earlier, command, now_wall)
        if told or len(earlier) < newest or now_wall - earlier[-1].started_wall > SAY_AGAIN_S:
            return told
    return None


async def heal_once(fleet: OpenFleet, command: str, change: Change, screen: Screen, account: Account) -> RunResult:
    """One run, told as it goes on."""
    with telling(screen, len(fleet.inventory.hosts)) as tell:

        def hear(event: Event) -> None:
            account.hear(event)
            tell(event)

        return await drive(fleet, command, change, hear, account.close)


def stop(job: str, named: Path | None) -> ExitCode:
    return _of_jobs("stop", [job], named, lambda jobs: Change(stops=jobs))


def start(job: str, named: Path | None) -> ExitCode:
    return _of_jobs("start", [job], named, lambda jobs: Change(starts=jobs))


def restart(job: str, named: Path | None) -> ExitCode:
    return _of_jobs("restart", [job], named, lambda jobs: Change(restarts=jobs))


def scale(words: list[str], named: Path | None) -> ExitCode:
    with open_fleet(named) as fleet:
        scales = named_scales(words, fleet.inventory, fleet.store.memory(fleet.name))
        told = " ".join(f"{job}={replicas}" for job, replicas in scales)
        return _drive(fleet, f"scale {told}", Change(scales=scales))


def cordon(hosts: list[str], named: Path | None, why: str) -> ExitCode:
    with open_fleet(named) as fleet:
        names = named_hosts(hosts, fleet.inventory, fleet.store.memory(fleet.name))
        return _drive(fleet, f"cordon {' '.join(names)}", _cordoning(fleet, names, why, drains=False))


def uncordon(hosts: list[str], named: Path | None) -> ExitCode:
    with open_fleet(named) as fleet:
        names = named_hosts(hosts, fleet.inventory, fleet.store.memory(fleet.name))
        return _drive(fleet, f"uncordon {' '.join(names)}", Change(uncordons=names))


def drain(host: str, named: Path | None, why: str, deadline: str) -> ExitCode:
    deadline_s = seconds_of("--deadline", deadline)
    with open_fleet(named) as fleet:
        names = named_hosts([host], fleet.inventory, fleet.store.memory(fleet.name))
        return asyncio.run(_drain(fleet, host, _cordoning(fleet, names, why, drains=True), deadline_s))


async def _drain(fleet: OpenFleet, host: str, first: Change, deadline_s: float) -> ExitCode:
    screen = Screen.standard()
    change: Change | None = first

    async def one_run() -> RunResult:
        nonlocal change
        wish, change = change, None  # once it is written down, each further try is what a heal would do
        return await _try_to_drain(fleet, host, wish, screen)

    def is_wished() -> bool:
        word = cordons_of(fleet).get(host)
        return word is not None and word.drains

    ended = await engine_drain(
        host,
        one_run,
        clock=SystemClock(),
        deadline_s=deadline_s,
        tell_blocked=lambda reasons: screen.show(blocked_lines(host, reasons)),
        goes_on=is_wished,
    )
    screen.show(drained_lines(host, ended, deadline_s, is_wished=is_wished()))
    if ended.result.exit_code is ExitCode.YIELDED:
        return ExitCode.YIELDED  # a newer fleetctl drives some host
    return ExitCode.DEGRADED if ended.blocked_by else ExitCode.AS_WISHED


def cordons_of(fleet: OpenFleet) -> Mapping[str, Cordon]:
    return fleet.store.memory(fleet.name).cordons


async def _try_to_drain(fleet: OpenFleet, host: str, wish: Change | None, screen: Screen) -> RunResult:
    """One run of several: its actions are told, nothing is summed up; the history keeps what the first and acting ones
    say."""

    def report(result: RunResult) -> list[Line]:
        return run_lines(result) if wish or result.results else []

    with telling(screen, len(fleet.inventory.hosts)) as tell:
        return await drive(fleet, f"drain {host}", wish or Change(), tell, report)


def _cordoning(fleet: OpenFleet, names: tuple[str, ...], why: str, *, drains: bool) -> Change:
    by = fleet.store.author.rpartition(":")[0]
    word = Cordon(by, SystemClock().wall(), why, drains)
    return Change(cordons=tuple((name, word) for name in names))


def _of_jobs(verb: str, words: list[str], named: Path | None, change: Callable[[tuple[str, ...]], Change]) -> ExitCode:
    with open_fleet(named) as fleet:
        jobs = named_jobs(words, fleet.inventory, fleet.store.memory(fleet.name))
        return _drive(fleet, f"{verb} {' '.join(jobs)}", change(jobs))


def _drive(fleet: OpenFleet, command: str, change: Change) -> ExitCode:
    screen = Screen.standard()

    def report(result: RunResult) -> list[Line]:
        return run_lines(result) if screen.terminal or is_worth_telling(result) else []

    with telling(screen, len(fleet.inventory.hosts)) as tell:
        result = asyncio.run(drive(fleet, command, change, _with_notices(screen, tell), report))
    screen.show(report(result))
    return result.exit_code


def _with_notices(screen: Screen, tell: Tell) -> Tell:
    """What the first plan says that the wish undoes, before anything is done."""
    plans = 0

    def hear(event: Event) -> None:
        nonlocal plans
        if isinstance(event, PlanMade):
            plans += 1
            screen.show(notice_lines(event.plan) if plans == 1 else [])
        tell(event)

    return hear
