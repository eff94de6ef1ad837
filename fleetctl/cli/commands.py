"""The commands that only read: one call of the engine, one value shown, one exit code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleetctl.cli.extra_vars import parse_extra_vars
from fleetctl.cli.named import named_hosts, with_terms
from fleetctl.cli.screen import Line, Screen, complain
from fleetctl.cli.show_history import (
    PlanOfRun,
    folded,
    history_json,
    history_lines,
    run_story_json,
    run_story_lines,
)
from fleetctl.cli.show_hosts import explained_json, explained_lines, hosts_json, hosts_lines
from fleetctl.cli.show_instance import named_json, named_lines
from fleetctl.cli.show_plan import host_trouble_lines, plan_json, plan_lines
from fleetctl.cli.show_status import status_json, status_lines
from fleetctl.cli.tell import looking
from fleetctl.cli.text import count
from fleetctl.cli.wiring import (
    OpenFleet,
    chosen_inventory,
    digest_of,
    look,
    open_fleet,
    read_playbook,
    wished_by,
)
from fleetctl.clock import SystemClock
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, UsageError
from fleetctl.plan.outcome import exit_code

if TYPE_CHECKING:
    from pathlib import Path

    from fleetctl.cli.options import Terms
    from fleetctl.engine.read import View
    from fleetctl.state.store import RunRecord


def check(playbook: Path, named: Path | None, extra_vars: list[str]) -> ExitCode:
    inventory = chosen_inventory(named)
    wished = read_playbook(playbook, inventory, parse_extra_vars(extra_vars))
    screen = Screen.standard()
    if screen.terminal:
        for job in wished.jobs:
            where = count(len(job.eligible), "host")
            screen.say(f"{job.spec.name}: {count(job.spec.replicas, 'replica')} on any of {where}")
        screen.say(Line(f"nothing is wrong: fleet {inventory.fleet}, {count(len(inventory.hosts), 'host')}", "green"))
    return ExitCode.AS_WISHED


def plan(playbook: Path, named: Path | None, extra_vars: list[str], terms: Terms, *, as_json: bool) -> ExitCode:
    with open_fleet(named) as fleet:
        wished = read_playbook(playbook, fleet.inventory, parse_extra_vars(extra_vars))
        change = with_terms(wished_by(wished, digest_of), terms, fleet.inventory)
        return _show_plan(fleet, change, as_json=as_json)


def heal_check(named: Path | None, terms: Terms) -> ExitCode:
    with open_fleet(named) as fleet:
        return _show_plan(fleet, with_terms(Change(), terms, fleet.inventory), as_json=False)


def _show_plan(fleet: OpenFleet, change: Change, *, as_json: bool) -> ExitCode:
    screen = Screen.standard()
    view = _look(fleet, change, screen, quiet=as_json)
    if view.driven_elsewhere is not None:
        raise view.driven_elsewhere
    code = _code(view)
    if as_json:
        screen.document(plan_json(fleet.name, view.plan, code))
        return code
    lines = host_trouble_lines(view.verdicts, view.snapshot) + plan_lines(view.plan)
    screen.show(lines)
    if screen.terminal and not view.plan.actions:
        screen.say(f"{fleet.name}: nothing to do")
    return code


def status(named: Path | None, *, as_json: bool, of: str | None = None) -> ExitCode:
    screen = Screen.standard()
    with open_fleet(named) as fleet:
        view, untold = _look(fleet, Change(), screen, quiet=as_json), fleet.untold()
    _complain_of_another_driver(view)
    code, wall = _seen_code(view), SystemClock().wall()
    if as_json:
        screen.document(named_json(view, of, code) if of else status_json(view, code, untold))
    else:
        screen.show(named_lines(view, of, wall) if of else status_lines(view, wall, untold))
    return code


def hosts(named: Path | None, *, as_json: bool, explained: str | None = None) -> ExitCode:
    screen = Screen.standard()
    with open_fleet(named) as fleet:
        if explained is not None:
            named_hosts([explained], fleet.inventory, fleet.store.memory(fleet.name))
        view = _look(fleet, Change(), screen, quiet=as_json)
    _complain_of_another_driver(view)
    code, wall = _seen_code(view), SystemClock().wall()
    if as_json:
        screen.document(explained_json(view, code, explained, wall) if explained else hosts_json(view, code, wall))
    else:
        screen.show(explained_lines(view, explained, wall) if explained else hosts_lines(view, wall))
    return code


def history(named: Path | None, newest: int, *, as_json: bool) -> ExitCode:
    screen = Screen.standard()
    with open_fleet(named) as fleet:
        rows = _single_runs(fleet, newest) if as_json else _folded_runs(fleet, newest)
        plans = {row[0].run: _plans(fleet, row[0].run) for row in rows if len(row) == 1}
    if as_json:
        screen.document(history_json(fleet.name, (row[0] for row in rows), plans))
    else:
        screen.show(history_lines(rows, plans, SystemClock().wall()))
    return ExitCode.AS_WISHED


def _single_runs(fleet: OpenFleet, newest: int) -> list[tuple[RunRecord, ...]]:
    return [(run,) for run in fleet.store.runs(fleet.name, newest)]


def _folded_runs(fleet: OpenFleet, newest: int) -> list[tuple[RunRecord, ...]]:
    """So many rows, of however many runs those take."""
    asked = 4 * newest
    while True:
        runs = fleet.store.runs(fleet.name, asked)
        rows = folded(runs)
        if len(rows) > newest or len(runs) < asked:  # the last row of many may go on in what was not asked for
            return rows[:newest]
        asked *= 4


def history_of(named: Path | None, number: int, *, as_json: bool) -> ExitCode:
    screen = Screen.standard()
    with open_fleet(named) as fleet:
        run = fleet.store.run_of(fleet.name, number)
        if run is None:
            raise UsageError(f"{fleet.name} had no run {number}", hint="see: fleetctl history")
        plans = _plans(fleet, number)
    if as_json:
        screen.document(run_story_json(run, plans))
    else:
        screen.show(run_story_lines(run, plans, SystemClock().wall()))
    return ExitCode.AS_WISHED


def _plans(fleet: OpenFleet, run: int) -> tuple[PlanOfRun, ...]:
    return tuple(PlanOfRun(plan, outcomes) for plan, outcomes in fleet.store.plans_of_run(fleet.name, run))


def _look(fleet: OpenFleet, change: Change, screen: Screen, *, quiet: bool) -> View:
    if quiet:
        return asyncio.run(look(fleet, change, lambda _event: None))
    with looking(screen, len(fleet.inventory.hosts)) as tell:
        return asyncio.run(look(fleet, change, tell))


def _complain_of_another_driver(view: View) -> None:
    """What runs is shown all the same; what it should be is theirs to know."""
    if view.driven_elsewhere is not None:
        complain(view.driven_elsewhere.lines())


def _seen_code(view: View) -> ExitCode:
    """Of what is seen, not of what could be done: while a heal would find work, it is not as wished."""
    if view.driven_elsewhere is not None:
        return view.driven_elsewhere.exit_code
    code = _code(view)
    return ExitCode.DEGRADED if view.plan.actions and code is not ExitCode.FAILED else code


def _code(view: View) -> ExitCode:
    """How a run that carried out the plan would end, if all of it succeeded."""
    return exit_code(view.plan, view.verdicts, view.snapshot, view.desired, failed=False)
