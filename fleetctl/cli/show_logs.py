"""`logs`: the last lines of each instance, each with who said it, and whom we could not ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.cli.screen import BAD, DIM, DOUBTFUL, Line

if TYPE_CHECKING:
    from fleetctl.engine.read import InstanceLog, View


def log_lines(logs: tuple[InstanceLog, ...]) -> list[Line]:
    """`web.1@47 h3 | its line`, instance by instance."""
    names = [f"{log.instance} {log.host}" for log in logs]
    width = max(map(len, names), default=0)
    lines: list[Line] = []
    for log, name in zip(logs, names, strict=True):
        if log.error:
            lines.append(Line(f"{name.ljust(width)} | (not read: {log.error})", BAD))
        elif not log.lines:
            lines.append(Line(f"{name.ljust(width)} | (nothing yet)", DIM))
        lines += [Line(f"{name.ljust(width)} | {line}") for line in log.lines]
    return lines


def unasked_lines(view: View) -> list[Line]:
    """The hosts that could not be asked, and why: an error of its own kind, beside the logs."""
    return [
        Line(f"{host} can't be asked: {seen.error}", DOUBTFUL) for host, seen in view.snapshot.unreachable().items()
    ]


def all_asked(view: View, logs: tuple[InstanceLog, ...]) -> bool:
    return not view.snapshot.unreachable() and not any(log.error for log in logs)
