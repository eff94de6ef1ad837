"""`logs`: reads what was typed, lets the engine tell what programs said, and says it."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING

from fleetctl.cli.screen import Screen, complain
from fleetctl.cli.show_logs import LogTeller, nothing_line
from fleetctl.cli.tell import looking
from fleetctl.cli.wiring import open_fleet, tell_logs
from fleetctl.clock import SystemClock
from fleetctl.config.quantities import parse_duration
from fleetctl.config.suggest import did_you_mean
from fleetctl.engine.logs import LogsFound, Wanted
from fleetctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from fleetctl.engine.logs import LogEvent

LINES = 100


def logs(
    name: str, named: Path | None, lines: int | None, since: str | None, *, previous: bool, goes_on: bool, as_json: bool
) -> ExitCode:
    """Raises UsageError for a name that nothing has, and for what does not go together."""
    if previous and goes_on:
        raise UsageError("--previous is of a run that is over: it goes without --follow")
    since_wall = None if since is None else instant_of(since, SystemClock().wall())
    enough = LINES if lines is None and since is None and not previous else lines
    wanted, screen = Wanted(name, enough, previous, since_wall), Screen.standard()
    teller = LogTeller(screen, complain, as_json=as_json)
    with open_fleet(named) as fleet, ExitStack() as while_looking:
        tell_look = while_looking.enter_context(looking(screen, len(fleet.inventory.hosts)))

        def tell(event: LogEvent) -> None:
            if isinstance(event, LogsFound):
                while_looking.close()
                check_found(name, fleet.name, event)
            teller.tell(event)

        asyncio.run(tell_logs(fleet, wanted, tell_look, tell, goes_on=goes_on))
    if teller.found is not None and not teller.said:
        which = " by an earlier run" if previous else "" if since is None else f" since {since}"
        complain([nothing_line(teller.found.instances, which)])
    return ExitCode.AS_WISHED if teller.all_read else ExitCode.UNREACHED


def check_found(name: str, fleet: str, found: LogsFound) -> None:
    """Raises UsageError for a name that nothing can have. What a host that is silent may have is not refused."""
    job, dot, _ = name.partition(".")
    if job not in found.jobs:
        known = ", ".join(sorted(found.jobs)) or "none"
        raise UsageError(f"{job}: no such job in {fleet}{did_you_mean(job, found.jobs)}; known are: {known}")
    if dot and not found.instances and not found.unreachable:
        raise UsageError(f"{name}: no host has anything of that name", hint="see: fleetctl status")


def instant_of(text: str, now_wall: float) -> float:
    """Of `10m` before now, or of a time as ISO 8601 writes it, local unless it bears a zone. Raises UsageError."""
    try:
        at = now_wall - parse_duration(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise UsageError(
                f'--since takes how long ago, such as 10m, or a time such as 2026-03-01T02:00, not "{text}"'
            ) from None
    if at > now_wall:
        raise UsageError(f"--since {text} is yet to come")
    return at
