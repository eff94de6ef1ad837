"""`status`: each job, each of its instances, and what is held back; as lines, table and JSON."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fleetctl.cli.marks import mark_lines, marks_json
from fleetctl.cli.rows import MISSING, UNKNOWN, instance_rows, job_rows
from fleetctl.cli.screen import BAD, DIM, DOUBTFUL, GOOD, Grid, Line
from fleetctl.cli.show_plan import held_json, held_lines, host_trouble_lines
from fleetctl.cli.text import count, duration, ports

if TYPE_CHECKING:
    from fleetctl.cli.rows import InstanceRow, JobRow
    from fleetctl.engine.read import View
    from fleetctl.errors import ExitCode

ADVISORY = "advisory"  # how limits begin that bind nothing
_HEADINGS = ("instance", "host", "phase", "address", "release", "ready for", "restarts", "last exit", "note")
STYLES = {"ready": GOOD, "stopping": DIM, "failed": BAD, "stuck": BAD, MISSING: BAD, UNKNOWN: DOUBTFUL}


def status_lines(view: View, now_wall: float, untold: str = "") -> list[Line]:
    """Jobs first, then every instance, then what keeps the fleet from being as wished and what would mend it."""
    jobs, rows = job_rows(view.desired, view.snapshot, view.memory), instance_rows(view)
    lines = [Line(job.sentence(), GOOD if job.whole else DOUBTFUL) for job in jobs]
    if not jobs:
        lines.append(Line(f"no job was deployed to {view.desired.fleet} yet"))
    if rows:
        lines += [Line(""), *_grid(rows).lines()]
    told_badly = [Line(untold, DOUBTFUL)] if untold else []
    troubles = host_trouble_lines(view.verdicts, view.snapshot)
    held, unbound = held_lines(view.plan), _unbound_lines(rows)
    for more in (mark_lines(view, now_wall), troubles, held, unbound, told_badly, _mending(view)):
        if more:
            lines += [Line(""), *more]
    return lines


def _unbound_lines(rows: tuple[InstanceRow, ...]) -> list[Line]:
    """Where no limit binds what runs, and why; what is done instead is told of each instance and host."""
    hosts: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        word, _, why = row.limits.partition(": ")
        if word == ADVISORY and row.host:
            hosts[why.partition(";")[0]].add(row.host)
    return [
        Line(f"limits are advisory on {', '.join(sorted(some))}{f': {why}' if why else ''}", DIM)
        for why, some in sorted(hosts.items())
    ]


def _mending(view: View) -> list[Line]:
    if not view.plan.actions:
        return []
    return [Line(f"`fleetctl heal` would take {count(len(view.plan.actions), 'action')}: see `fleetctl heal --check`")]


def _grid(rows: tuple[InstanceRow, ...]) -> Grid:
    return Grid(_HEADINGS, tuple(_cells(row) for row in rows))


def _cells(row: InstanceRow) -> tuple[str | Line, ...]:
    dropped = f"; {row.dropped_bytes} bytes of its log were dropped" if row.dropped_bytes else ""
    return (
        row.instance or row.replica,
        row.host or "",
        Line(row.phase, STYLES.get(row.phase, DOUBTFUL)),
        ports(row.address, row.ports) if row.ports else "",
        str(row.release or ""),
        duration(row.ready_for_s) if row.ready_for_s is not None else "",
        str(row.restarts) if row.restarts else "",
        row.last_exit or "",
        f"{row.note}{dropped}".removeprefix("; "),
    )


def status_json(view: View, exit_code: ExitCode, untold: str = "") -> dict[str, Any]:
    """`{"version": 1, "fleet", "exit_code", "jobs": [JOB], "instances": [INSTANCE], "missing": [MISSING],
    "held": [HELD], "hosts": [HOST], "heal_would": COUNT, "untold", …}`, and what `marks_json` gives.

    JOB is {"job", "replicas", "ready", "release", "good_release", "running_releases", "stopped", "owner" (a
    playbook), "orphan" (gone from that), "scaled" (by a person)}.
    INSTANCE is {"job", "replica", "instance", "host", "phase", "address", "ports" {NAME: NUMBER}, "release", "pid",
    "ready_for_s", "ever_ready", "restarts", "last_exit", "note", "dropped_bytes", "reason", "problem" ({"kind",
    "detail", "port", "pid"} or null), "said" (its STATUS=), "limits" (what binds it, or "advisory: WHY"; null where not
    known), "usage" ({"cpu_s", "memory_bytes", "peak_bytes", "processes"} or null), "stuck" [{"pid", "state", "why"}]};
    "phase" is the host's word, or "unknown" where the host gives no report. MISSING is {"job", "replica", "note"}. HELD
    is {"subject", "kind", "reason"}; HOST is {"host", "verdict", "because"}. "heal_would" counts the actions a heal
    would begin with; "untold" says how the notify command failed when it was last called, and is empty where it worked.
    """
    rows = instance_rows(view)
    return {
        "version": 1,
        "fleet": view.desired.fleet,
        "exit_code": int(exit_code),
        "jobs": [job_json(job, view) for job in job_rows(view.desired, view.snapshot, view.memory)],
        "instances": [instance_json(row) for row in rows if row.instance],
        "missing": [missing_json(row) for row in rows if not row.instance],
        "held": [held_json(note) for note in sorted(view.plan.held)],
        "hosts": [
            {"host": name, "verdict": verdict.health.value, "because": verdict.evidence}
            for name, verdict in sorted(view.verdicts.items())
        ],
        "heal_would": len(view.plan.actions),
        "untold": untold,
        **marks_json(view),
    }


def job_json(job: JobRow, view: View) -> dict[str, Any]:
    wish = view.memory.jobs[job.job].wish
    whose = {"owner": wish.owner, "orphan": wish.orphan, "scaled": wish.scaled}
    return {**asdict(job), "running_releases": list(job.running_releases), **whose}


def instance_json(row: InstanceRow) -> dict[str, Any]:
    """All but its story."""
    plain = {name: value for name, value in asdict(row).items() if name != "story"}
    problem, usage = row.problem, row.usage
    return {
        **plain,
        "ports": dict(row.ports),
        "problem": problem and {**asdict(problem), "kind": problem.kind.value},
        "limits": row.limits or None,
        "usage": usage
        and {
            "cpu_s": usage.cpu_s,
            "memory_bytes": usage.memory,
            "peak_bytes": usage.peak,
            "processes": usage.processes,
        },
        "stuck": [asdict(process) for process in row.stuck],
    }


def missing_json(row: InstanceRow) -> dict[str, Any]:
    return {"job": row.job, "replica": row.replica, "note": row.note}
