"""`status JOB` and `status REPLICA`: all that hosts tell of single instances, as lines and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.cli.rows import MISSING, UNKNOWN, all_rows, instance_rows, job_rows
from fleetctl.cli.screen import BAD, DIM, DOUBTFUL, STRONG, Line
from fleetctl.cli.show_history import when
from fleetctl.cli.show_status import STYLES, instance_json, job_json, missing_json
from fleetctl.cli.text import count, duration, ports, size
from fleetctl.config.suggest import did_you_mean
from fleetctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetctl.cli.rows import InstanceRow
    from fleetctl.engine.read import View
    from fleetctl.errors import ExitCode

_WIDTH = 10  # of the longest word before what is told


def named_rows(view: View, name: str) -> tuple[InstanceRow, ...]:
    """Of a job what `status` shows of it; of a replica or an instance what has stopped too. Raises UsageError."""
    rows = all_rows(view)
    jobs = {*view.memory.jobs, *(wanted.name for wanted in view.desired.jobs), *(row.job for row in rows)}
    if name in jobs:
        return tuple(row for row in instance_rows(view) if row.job == name)
    found = tuple(row for row in rows if name in (row.replica, row.instance))
    if found:
        return found
    known = {*jobs, *(row.replica for row in rows), *(row.instance for row in rows if row.instance)}
    raise UsageError(
        f"{name}: no such job, replica or instance in {view.desired.fleet}{did_you_mean(name, known)}",
        hint=f"known jobs: {', '.join(sorted(jobs)) or 'none'}; those of one: fleetctl status JOB",
    )


def named_lines(view: View, name: str, now_wall: float) -> list[Line]:
    """One paragraph an instance. Raises UsageError where nothing is called so."""
    rows = named_rows(view, name)
    lines = [Line(f"{name}: no instance of it is known")] if not rows else []
    for row in rows:
        lines += [Line(""), *_paragraph(row, now_wall)] if lines else _paragraph(row, now_wall)
    return lines


def _paragraph(row: InstanceRow, now_wall: float) -> list[Line]:
    lines = [Line(_headline(row), STYLES.get(row.phase, DOUBTFUL))]
    for word, told, style in _facts(row):
        lines.append(Line(f"  {word.ljust(_WIDTH)} {told}", style))
    if not row.instance:
        return lines
    return [*lines, Line("  story", STRONG), *(Line(f"    {told}") for told in _story(row, now_wall))]


def _story(row: InstanceRow, now_wall: float) -> list[str]:
    if row.story is None:
        return [UNKNOWN]
    told = [f"{when(event.at_wall, now_wall)}  run {event.run}  {event.what}" for event in row.story]
    return told or ["nothing befell it yet"]


def _headline(row: InstanceRow) -> str:
    if row.phase == MISSING:
        return f"{row.replica} is missing"
    since = f" for {duration(row.ready_for_s)}" if row.ready_for_s is not None else ""
    return f"{row.instance} on {row.host}: {row.phase}{since}, release {row.release}"


def _facts(row: InstanceRow) -> Iterator[tuple[str, str, str]]:
    """A word, what there is to tell, and how it looks."""
    if row.problem is not None:
        yield "problem", f"{row.problem.kind.value}: {row.problem.detail}", BAD
    elif row.note:
        yield "note", row.note, ""
    if not row.instance:
        return
    if row.reason not in ("", row.note):
        yield "reason", row.reason, ""
    yield "process", _process(row), ""
    if row.ports:
        named = ", ".join(f"{name} {ports(row.address, [(name, number)])}" for name, number in row.ports)
        yield "ports", named, ""
    if row.said:
        yield "says", row.said, ""
    if row.usage is not None or row.pid is not None:
        yield "uses", _usage(row), ""
    yield "limits", row.limits or UNKNOWN, "" if row.limits else DIM
    for process in row.stuck:
        yield "stuck", f"pid {process.pid}, state {process.state or UNKNOWN}: {process.why or UNKNOWN}", BAD
    if row.dropped_bytes:
        yield "log", f"{row.dropped_bytes} bytes were dropped", DOUBTFUL


def _process(row: InstanceRow) -> str:
    running = "not known" if row.phase == UNKNOWN else "none" if row.pid is None else f"pid {row.pid}"
    ended = f", last exit: {row.last_exit}" if row.last_exit else ""
    return f"{running}, {count(row.restarts, 'restart')}{ended}"


def _usage(row: InstanceRow) -> str:
    usage = row.usage
    if usage is None:
        return UNKNOWN
    memory = f"{size(usage.memory)} of memory, {size(usage.peak)} at its peak"
    return f"{usage.cpu_s:.1f} s of CPU, {memory}, {_processes(usage.processes)}"


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def named_json(view: View, name: str, exit_code: ExitCode) -> dict[str, Any]:
    """`{"version": 1, "fleet", "exit_code", "named", "jobs": [JOB], "instances": [INSTANCE], "missing": [MISSING]}`.

    These are as in `status_json`, of what is named alone; each INSTANCE has its "story" too: [{"at" (seconds since the
    epoch, by its host's clock), "run", "what"}], oldest first, or null where not known. Raises UsageError where nothing
    is called so.
    """
    rows = named_rows(view, name)
    jobs = {row.job for row in rows} | {name}
    return {
        "version": 1,
        "fleet": view.desired.fleet,
        "exit_code": int(exit_code),
        "named": name,
        "jobs": [job_json(job, view) for job in job_rows(view.desired, view.snapshot, view.memory) if job.job in jobs],
        "instances": [{**instance_json(row), "story": _story_json(row)} for row in rows if row.instance],
        "missing": [missing_json(row) for row in rows if not row.instance],
    }


def _story_json(row: InstanceRow) -> list[dict[str, Any]] | None:
    if row.story is None:
        return None
    return [{"at": event.at_wall, "run": event.run, "what": event.what} for event in row.story]
