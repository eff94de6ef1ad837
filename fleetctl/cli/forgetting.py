"""`hosts --forget`: a run of its own under the lock, that looks and touches no host."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleetctl.cli.screen import Line, Screen
from fleetctl.cli.tell import looking
from fleetctl.cli.wiring import forget_host, open_fleet
from fleetctl.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


def forget(host: str, named: Path | None, *, force: bool) -> ExitCode:
    screen = Screen.standard()
    with open_fleet(named) as fleet, looking(screen, len(fleet.inventory.hosts)) as tell:
        told = asyncio.run(forget_host(fleet, host, tell, force=force))
    screen.show([Line(told)])
    return ExitCode.AS_WISHED
