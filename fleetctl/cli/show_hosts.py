"""`hosts`: what is believed of each host, why, and what it has room for; as lines, table and JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fleetctl.cli.rows import UNKNOWN, host_rows
from fleetctl.cli.screen import BAD, DOUBTFUL, GOOD, STRONG, Grid, Line
from fleetctl.cli.text import cores, count, duration, size
from fleetctl.errors import UsageError
from fleetctl.model.verdict import Sign
from fleetctl.plan.explain import cordon_text, explain, remedy

if TYPE_CHECKING:
    from fleetctl.cli.rows import HostRow
    from fleetctl.engine.read import View
    from fleetctl.errors import ExitCode
    from fleetctl.plan.explain import Explanation

_HEADINGS = ("host", "address", "verdict", "since", "labels", "instances", "cpu free", "memory free", "disk free",
             "limits", "after reboot")  # fmt: skip
NONE = "none"  # how it begins where nothing starts a host's agent after a reboot
NOT_WANTED = "none: asked not to"
_STYLES = {"healthy": GOOD, "suspect": DOUBTFUL, "lost": BAD, "broken": BAD}


def hosts_lines(view: View, wall: float) -> list[Line]:
    """The table, then what there is to say of single hosts: why one is not healthy, and notes of its agent.

    `wall` is the time of day at which the view was seen.
    """
    rows = host_rows(view)
    lines = Grid(_HEADINGS, tuple(_cells(row, wall) for row in rows)).lines()
    remarks = [line for row in rows for line in _remarks(row)] + _shared(rows)
    return [*lines, Line(""), *remarks] if remarks else lines


def _cells(row: HostRow, wall: float) -> tuple[str | Line, ...]:
    return (
        row.host,
        row.address,
        Line(", ".join((row.verdict, *_marks(row))), _STYLES[row.verdict]),
        f"{_moment(row.since_s, wall)}, {duration(row.since_s)}",
        " ".join(f"{name}={value}" for name, value in row.labels),
        str(len(row.instances)),
        _of(row.cpu_milli, cores),
        _of(row.memory_bytes, size),
        _of(row.disk_bytes, size),
        _in_a_word(row.limits),
        _after_reboot(row),
    )


def _in_a_word(limits: str) -> str:
    """`cgroup` or `advisory`; what else there is to say of it is a remark."""
    return limits.replace(";", ":").partition(":")[0]


def _after_reboot(row: HostRow) -> str:
    """What starts its agent then: nothing, on a host where that has to be said loudly."""
    if row.generation is None:
        return ""  # it gives no report
    word = row.after_reboot.partition(":")[0]
    return word.upper() if _comes_not_back(row) else word or UNKNOWN


def _comes_not_back(row: HostRow) -> bool:
    return row.after_reboot.partition(":")[0] == NONE and row.after_reboot != NOT_WANTED


def _marks(row: HostRow) -> list[str]:
    """What else there is to know before anything is done there: `healthy, cordoned by ann: disk swap`."""
    marks = [Sign.FLAPPING.value] if row.sign == Sign.FLAPPING.value else []
    marks += [cordon_text(row.cordon)] if row.cordon else []
    marks += ["gone from the inventory"] if row.gone else []
    return marks + (["behind"] if row.behind else [])


def _moment(ago_s: float, wall: float) -> str:
    """`03:12` of today, else the day: as people here read their clocks."""
    now, then = (datetime.fromtimestamp(at).astimezone() for at in (wall, wall - ago_s))
    return f"{then:%H:%M}" if now.date() == then.date() else f"{then:%Y-%m-%d}"


def _of(amount: tuple[int, int] | None, told: Any) -> str:
    return f"{told(amount[0])} of {told(amount[1])}" if amount else ""


def _remarks(row: HostRow) -> list[Line]:
    lines = []
    if row.verdict != "healthy":
        lines.append(Line(f"{row.host} is {row.verdict}: {row.because}", _STYLES[row.verdict]))
        lines += [Line(f"  {line}") for line in row.hint.splitlines()]
        if row.instances:
            there = count(len(row.instances), "instance")
            lines.append(Line(f"  last known there: {there}: {', '.join(row.instances)}"))
    if row.behind:
        lines.append(Line(f"{row.host} is behind: {', '.join(row.behind)} was deployed while it was silent", DOUBTFUL))
    return lines + [Line(f"{row.host}: {note}") for note in row.notes]


def _shared(rows: tuple[HostRow, ...]) -> list[Line]:
    """What is often so on all hosts, once: what binds nothing there, and that nothing comes back by itself."""
    hosts: dict[Line, list[str]] = {}
    for row in rows:
        if _comes_not_back(row):
            why = row.after_reboot.partition(": ")[2]
            lost = "after a reboot nothing starts its programs but the next heal"
            hosts.setdefault(Line(f"{lost}{f': {why}' if why else ''}", BAD), []).append(row.host)
        if row.limits != _in_a_word(row.limits):
            hosts.setdefault(Line(f"limits: {row.limits}"), []).append(row.host)
    return [Line(f"{', '.join(some)}: {line.text}", line.style) for line, some in hosts.items()]


def hosts_json(view: View, exit_code: ExitCode, wall: float) -> dict[str, Any]:
    """`{"version": 1, "fleet", "exit_code", "hosts": [HOST]}`.

    HOST is {"host", "address", "verdict", "sign", "because", "since_s", "since_wall", "labels" {NAME: VALUE},
    "instances" [NAME], "cpu_milli", "memory_bytes", "disk_bytes" (each {"free", "whole"}, or null where the host gives
    no report), "limits", "after_reboot" (what starts its agent then: "unit", "user unit", "crontab" or "none: WHY"; ""
    where not known), "kernel", "boot", "generation", "notes" [TEXT], "hint", "cordon" ({"by", "at_wall", "why",
    "drains"} or null), "gone", "behind" [JOB]}. "sign" is what the verdict rests on, in a word: "silent", "refused",
    "hung", "login failed", "host key", "agent", "jump host", "flapping", "clock", "identity"; "" where it is healthy.
    """
    return {
        "version": 1,
        "fleet": view.desired.fleet,
        "exit_code": int(exit_code),
        "hosts": [_host_json(row, wall) for row in host_rows(view)],
    }


def _host_json(row: HostRow, wall: float) -> dict[str, Any]:
    amounts = {name: _pair(getattr(row, name)) for name in ("cpu_milli", "memory_bytes", "disk_bytes")}
    lists = {"labels": dict(row.labels)} | {name: list(getattr(row, name)) for name in ("instances", "notes", "behind")}
    return {**asdict(row), "since_wall": wall - row.since_s, **lists, **amounts}


def _pair(amount: tuple[int, int] | None) -> dict[str, int] | None:
    return {"free": amount[0], "whole": amount[1]} if amount else None


def explained_lines(view: View, host: str, wall: float) -> list[Line]:
    """One host's story, question by question, and what a person can do. Raises UsageError for one not looked at."""
    told = _explanation(view, host)
    style = _STYLES[told.verdict.health.value]
    since = f"since {_moment(told.since_s, wall)}, {duration(told.since_s)}"
    lines = [Line(f"{host} is {told.verdict.health.value} {since}: {told.verdict.evidence}", style)]
    for part in told.parts:
        lines += [Line(part.title, STRONG), *(Line(f"  {line}") for line in part.lines)]
    return lines


def explained_json(view: View, exit_code: ExitCode, host: str, wall: float) -> dict[str, Any]:
    """`{"version": 1, "fleet", "exit_code", "host", "verdict", "sign", "because", "since_s", "since_wall", "hint",
    "parts": [{"title", "lines" [TEXT]}]}`. The titles stay, their lines are for people. Raises UsageError."""
    told = _explanation(view, host)
    return {
        "version": 1,
        "fleet": view.desired.fleet,
        "exit_code": int(exit_code),
        "host": host,
        "verdict": told.verdict.health.value,
        "sign": told.verdict.sign.value,
        "because": told.verdict.evidence,
        "since_s": told.since_s,
        "since_wall": wall - told.since_s,
        "hint": remedy(host, told.verdict, view.snapshot.hosts[host]),
        "parts": [{"title": part.title, "lines": list(part.lines)} for part in told.parts],
    }


def _explanation(view: View, host: str) -> Explanation:
    if host not in view.snapshot.hosts:
        known = ", ".join(sorted(view.snapshot.hosts))
        raise UsageError(f"{host} is not looked at under this name", hint=f"these are: {known}")
    seen = view.snapshot
    return explain(host, view.desired, seen, view.answers, view.memory, view.verdicts, seen.at)
