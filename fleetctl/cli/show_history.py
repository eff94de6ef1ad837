"""`history`: every run with what it did and why; and the whole of one run. As lines and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from fleetctl.cli.actions import action_json, will
from fleetctl.cli.screen import BAD, DIM, DOUBTFUL, STRONG, Grid, Line
from fleetctl.cli.show_plan import held_json, held_lines
from fleetctl.cli.show_run import end_of
from fleetctl.cli.text import count, duration
from fleetctl.model.plan import Plan
from fleetctl.model.verdict import Health
from fleetctl.state.rows import OutcomeText

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fleetctl.model.plan import Action
    from fleetctl.state.store import RunRecord

LINES_SHOWN = 3  # of what a run said, in the list; `--run` shows all
KILLED = "still runs, or was killed"
_HEADINGS = ("run", "when", "took", "who", "command", "exit", "what came of it")


@dataclass(frozen=True, slots=True)
class PlanOfRun:
    """A plan that a run wrote down, and what became of each of its actions; absent: not tried, or not known."""

    plan: Plan
    outcomes: tuple[OutcomeText | None, ...]

    def count(self, outcome: OutcomeText | None) -> int:
        return sum(one == outcome for one in self.outcomes)


def is_quiet(run: RunRecord) -> bool:
    """It ended well or as badly as before, and had nothing to say of it."""
    return not run.lines and run.exit_code is not None


def folded(runs: Iterable[RunRecord]) -> list[tuple[RunRecord, ...]]:
    """Quiet runs of one command and one end, one after the other, are one row; each other run is one of its own."""
    grouped = groupby(runs, key=lambda run: (run.command, run.exit_code) if is_quiet(run) else run.run)
    return [tuple(group) for _, group in grouped]


def history_lines(
    rows: list[tuple[RunRecord, ...]], plans: Mapping[int, tuple[PlanOfRun, ...]], now_wall: float
) -> list[Line]:
    """Newest first, one row each; below it the first lines of what it said."""
    if not rows:
        return [Line("nothing was run here yet")]
    grid = Grid(_HEADINGS, tuple(_cells(row, plans.get(row[0].run, ()), now_wall) for row in rows)).lines()
    lines = grid[:1]
    for row, line in zip(rows, grid[1:], strict=True):
        lines += [line, *_first_lines(row[0])]
    return lines


def _cells(row: tuple[RunRecord, ...], plans: tuple[PlanOfRun, ...], now_wall: float) -> tuple[str | Line, ...]:
    newest, oldest = row[0], row[-1]
    code = newest.exit_code
    return (
        str(newest.run) if newest is oldest else f"{oldest.run}-{newest.run}",
        when(newest.started_wall, now_wall) if newest is oldest else _span(oldest, newest, now_wall),
        _took(newest, now_wall) if newest is oldest else "",
        newest.driver.partition(" ")[0],
        newest.command,
        "" if code is None else Line(str(code), end_of(code)[1] if code else ""),
        _outcome(row, plans),
    )


def _outcome(row: tuple[RunRecord, ...], plans: tuple[PlanOfRun, ...]) -> str:
    run = row[0]
    meaning = _meaning(run)
    if len(row) > 1:
        return f"{count(len(row), 'run')} with nothing to do; {meaning}"
    actions = sum(len(one.outcomes) for one in plans)
    if not actions:
        return f"nothing to do; {meaning}" if is_quiet(run) else meaning
    told = [f"{sum(one.count('done') for one in plans)} of {count(actions, 'action')} done"]
    for outcome in ("failed", "unknown"):
        number = sum(one.count(outcome) for one in plans)
        told += [f"{number} {outcome}"] if number else []
    return f"{', '.join(told)}; {meaning}"


def _meaning(run: RunRecord) -> str:
    return KILLED if run.exit_code is None else end_of(run.exit_code)[0]


def _first_lines(run: RunRecord) -> list[Line]:
    """What it said, but for its summary, which the row says."""
    said = [line for line in run.lines if not line.startswith(f"{run.fleet}: ") and line != _meaning(run)]
    lines = [Line(f"    {line}", DIM) for line in said[:LINES_SHOWN]]
    if (more := len(said) - LINES_SHOWN) > 0:
        lines.append(Line(f"    and {count(more, 'line')} more: fleetctl history --run {run.run}", DIM))
    return lines


def when(wall: float, now_wall: float) -> str:
    """`09:12:05` of today, else with the day: as clocks here show it."""
    then, now = datetime.fromtimestamp(wall).astimezone(), datetime.fromtimestamp(now_wall).astimezone()
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def _span(oldest: RunRecord, newest: RunRecord, now_wall: float) -> str:
    first, last = when(oldest.started_wall, now_wall), when(newest.started_wall, now_wall)
    day, _, moment = last.rpartition(" ")
    return f"{first}-{moment}" if day and first.startswith(day) else f"{first}-{last}"


def _took(run: RunRecord, now_wall: float) -> str:
    if run.ended_wall is not None:
        return duration(max(0.0, run.ended_wall - run.started_wall))
    return f"{duration(max(0.0, now_wall - run.started_wall))} so far" if run.exit_code is None else ""


def run_story_lines(run: RunRecord, plans: tuple[PlanOfRun, ...], now_wall: float) -> list[Line]:
    """All of one run: who and when, each plan with its actions, reasons and outcomes, what it held back, what was
    believed of the hosts, and what the run said."""
    ended = "" if run.exit_code is None else f"exit {run.exit_code}: "
    head = f"run {run.run} of {run.fleet}: {run.command}"
    began = f"  {when(run.started_wall, now_wall)}, {_took(run, now_wall)}, by {run.driver}; {ended}{_meaning(run)}"
    lines = [Line(head, STRONG), Line(began)]
    for one in plans:
        lines += [Line(""), *_plan_story(one)]
    if not plans:
        lines.append(Line("  it wrote down no plan: there was nothing to do, or it ended before"))
    if run.lines:
        lines += [Line(""), Line("what it said", STRONG), *(Line(f"  {line}") for line in run.lines)]
    return lines


def _plan_story(one: PlanOfRun) -> list[Line]:
    plan, outcomes = one.plan, iter(one.outcomes)
    what = count(len(plan.actions), "action") if plan.actions else "no actions, a changed wish alone"
    lines = [Line(f"plan {plan.generation}: {what}", STRONG)]
    for name, verdict in sorted(plan.verdicts.items()):
        if verdict.health is not Health.HEALTHY:
            lines.append(Line(f"  {name} is {verdict.health.value}: {verdict.evidence}", DOUBTFUL))
    for number, stage in enumerate(plan.stages, start=1):
        lines.append(Line(f"stage {number}", DIM))
        lines += [_action_story(action, next(outcomes)) for action in stage.actions]
    return lines + held_lines(plan)


def _action_story(action: Action, outcome: OutcomeText | None) -> Line:
    style = {"failed": BAD, "unknown": DOUBTFUL}.get(outcome or "", "" if outcome else DIM)
    return Line(f"  {outcome or 'not tried'}: {will(action)}: {action.reason}", style)


def history_json(fleet: str, runs: Iterable[RunRecord], plans: Mapping[int, tuple[PlanOfRun, ...]]) -> dict[str, Any]:
    """`{"version": 1, "fleet", "runs": [RUN]}`, newest first, none folded.

    RUN is {"run", "command", "driver", "started", "ended", "exit_code", "meaning", "lines" [TEXT], "actions" {"done",
    "failed", "unknown", "not_tried"}}. Times are seconds since the epoch; "ended" and "exit_code" are null while it
    runs, and for ever if it was killed.
    """
    return {"version": 1, "fleet": fleet, "runs": [_run_json(run, plans.get(run.run, ())) for run in runs]}


def _run_json(run: RunRecord, plans: tuple[PlanOfRun, ...]) -> dict[str, Any]:
    names: dict[str, OutcomeText | None] = {"done": "done", "failed": "failed", "unknown": "unknown", "not_tried": None}
    return {
        "run": run.run,
        "command": run.command,
        "driver": run.driver,
        "started": run.started_wall,
        "ended": run.ended_wall,
        "exit_code": run.exit_code,
        "meaning": None if run.exit_code is None else end_of(run.exit_code)[0],
        "lines": list(run.lines),
        "actions": {name: sum(one.count(outcome) for one in plans) for name, outcome in names.items()},
    }


def run_story_json(run: RunRecord, plans: tuple[PlanOfRun, ...]) -> dict[str, Any]:
    """`{"version": 1, "fleet", …RUN, "plans": [PLAN]}`, RUN as in `history_json`.

    PLAN is {"generation", "stages": [[ACTION]], "held": [HELD], "hosts": [HOST]} as in `plan --json`; each ACTION also
    has "outcome": "done", "failed", "unknown", or null where it was not tried or nothing is known of it.
    """
    return {"version": 1, "fleet": run.fleet, **_run_json(run, plans), "plans": [_plan_json(one) for one in plans]}


def _plan_json(one: PlanOfRun) -> dict[str, Any]:
    outcomes = iter(one.outcomes)
    stages = [[action_json(action) for action in stage.actions] for stage in one.plan.stages]
    return {
        "generation": one.plan.generation,
        "stages": [[{**action, "outcome": next(outcomes)} for action in stage] for stage in stages],
        "held": [held_json(note) for note in sorted(one.plan.held)],
        "hosts": [
            {"host": name, "verdict": verdict.health.value, "because": verdict.evidence}
            for name, verdict in sorted(one.plan.verdicts.items())
        ],
    }
