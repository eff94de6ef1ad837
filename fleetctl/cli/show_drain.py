"""`drain`: what blocks it, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.cli.screen import BAD, DOUBTFUL, GOOD, Line
from fleetctl.cli.text import duration
from fleetctl.model.snapshot import Reachable

if TYPE_CHECKING:
    from fleetctl.engine.drain import Drained


def blocked_lines(host: str, reasons: tuple[str, ...]) -> list[Line]:
    return [Line(f"draining {host}: blocked by {reason}", DOUBTFUL) for reason in reasons]


def drained_lines(host: str, ended: Drained, deadline_s: float, *, is_wished: bool) -> list[Line]:
    """That it is empty; or what still blocks it, and how it goes on."""
    if not ended.blocked_by:
        if isinstance(ended.result.snapshot.hosts.get(host), Reachable):
            return [Line(f"{host} is drained: nothing of ours runs there; to end it: fleetctl uncordon {host}", GOOD)]
        return [Line(f"{host} is drained: it is lost, and what it had runs elsewhere", GOOD)]
    if not is_wished:
        return [Line(f"{host} is not drained: somebody uncordoned it meanwhile", BAD)]
    lasted = f" after {duration(deadline_s)}" if deadline_s else ""
    return [
        Line(f"{host} is not drained{lasted}: {'; '.join(ended.blocked_by)}", BAD),
        Line(f"  the wish stays: the next heals go on with it; to end it: fleetctl uncordon {host}"),
    ]
