"""`hosts`: what is believed of each host, why, and what it has room for; as lines, table and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fleetctl.cli.rows import host_rows
from fleetctl.cli.screen import BAD, DOUBTFUL, GOOD, Grid, Line
from fleetctl.cli.text import cores, count, duration, size

if TYPE_CHECKING:
    from fleetctl.cli.rows import HostRow
    from fleetctl.engine.read import View
    from fleetctl.errors import ExitCode

_HEADINGS = ("host", "address", "verdict", "since", "labels", "instances", "cpu free", "memory free", "disk free",
             "limits")  # fmt: skip
_STYLES = {"healthy": GOOD, "suspect": DOUBTFUL, "lost": BAD, "broken": BAD}


def hosts_lines(view: View) -> list[Line]:
    """The table, then what there is to say of single hosts: why one is not healthy, and notes of its agent."""
    rows = host_rows(view)
    lines = Grid(_HEADINGS, tuple(_cells(row) for row in rows)).lines()
    remarks = [line for row in rows for line in _remarks(row)]
    return [*lines, Line(""), *remarks] if remarks else lines


def _cells(row: HostRow) -> tuple[str | Line, ...]:
    return (
        row.host,
        row.address,
        Line(row.verdict, _STYLES[row.verdict]),
        duration(row.since_s),
        " ".join(f"{name}={value}" for name, value in row.labels),
        str(len(row.instances)),
        _of(row.cpu_milli, cores),
        _of(row.memory_bytes, size),
        _of(row.disk_bytes, size),
        row.limits,
    )


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
    return lines + [Line(f"{row.host}: {note}") for note in row.notes]


def hosts_json(view: View, exit_code: ExitCode) -> dict[str, Any]:
    """`{"version": 1, "fleet", "exit_code", "hosts": [HOST]}`.

    HOST is {"host", "address", "verdict", "because", "since_s", "labels" {NAME: VALUE}, "instances" [NAME],
    "cpu_milli", "memory_bytes", "disk_bytes" (each {"free", "whole"}, or null where the host gives no report),
    "limits", "kernel", "boot", "generation", "notes" [TEXT], "hint"}.
    """
    return {
        "version": 1,
        "fleet": view.desired.fleet,
        "exit_code": int(exit_code),
        "hosts": [_host_json(row) for row in host_rows(view)],
    }


def _host_json(row: HostRow) -> dict[str, Any]:
    amounts = {name: _pair(getattr(row, name)) for name in ("cpu_milli", "memory_bytes", "disk_bytes")}
    lists = {"labels": dict(row.labels), "instances": list(row.instances), "notes": list(row.notes)}
    return {**asdict(row), **lists, **amounts}


def _pair(amount: tuple[int, int] | None) -> dict[str, int] | None:
    return {"free": amount[0], "whole": amount[1]} if amount else None
