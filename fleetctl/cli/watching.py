"""`heal --watch`: heals round after round, and tells what changed from one to the next."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from fleetctl.cli.account import NO_LONGER, Account, gist
from fleetctl.cli.driving import heal_once, told_before
from fleetctl.cli.errors import error_lines, told
from fleetctl.cli.named import seconds_of, with_terms
from fleetctl.cli.screen import DIM, GOOD, Line, Screen, complain
from fleetctl.cli.text import count, duration
from fleetctl.cli.wiring import reopening_fleet
from fleetctl.clock import SystemClock
from fleetctl.engine.watch import watch as engine_watch
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleetctl.cli.account import Told
    from fleetctl.cli.options import Terms
    from fleetctl.cli.wiring import OpenFleet


def watch(named: Path | None, terms: Terms, interval: str, *, check: bool) -> ExitCode:
    """Ends by Ctrl-C alone, or at once where what was typed is wrong. Raises UsageError."""
    interval_s = seconds_of("--interval", interval)
    if interval_s <= 0:
        raise UsageError("--interval must be longer than nothing, such as 10s")
    if check:
        raise UsageError("--watch heals and --check only looks: give one of them")
    if terms.force:
        raise UsageError(
            "--force is for one heal, whose plan somebody has read, and not for --watch",
            hint="see fleetctl heal --check, then: fleetctl heal --force",
        )
    with reopening_fleet(named) as reopen:
        rounds = _Rounds(reopen, terms, Screen.standard())
        rounds.introduce(interval_s)
        asyncio.run(
            engine_watch(
                rounds.heal,
                interval_s=interval_s,
                clock=SystemClock(),
                random=random.random,
                tell_error=rounds.tell_error,
            )
        )


class _Rounds:
    """What is carried from round to round: what was told, and nothing that grows."""

    def __init__(self, reopen: Callable[[], OpenFleet], terms: Terms, screen: Screen) -> None:
        self._reopen, self._terms, self._screen = reopen, terms, screen
        self._command = f"heal --watch{terms.words()}"
        self._told: Told | None = None
        self._is_first = True
        self._error: list[str] = []

    def introduce(self, interval_s: float) -> None:
        """Who sits at a terminal is told that something goes on, though nothing is to be seen."""
        if self._screen.terminal:
            fleet = self._reopen()
            hosts = count(len(fleet.inventory.hosts), "host")
            every = f"a round every {duration(interval_s)}"
            self._screen.say(Line(f"watching {fleet.name}: {hosts}, {every}; Ctrl-C ends it", DIM))

    async def heal(self) -> ExitCode:
        """One round, with the inventory as it is now. A fleet is taken over once, not each round."""
        try:
            fleet, now_wall = self._reopen(), SystemClock().wall()
            if self._is_first:
                self._told = told_before(fleet, self._command, now_wall)
            change = with_terms(Change(), self._terms, fleet.inventory)
            account = Account(self._screen.show, now_wall, before=self._told, all_of_it=False)
            result = await heal_once(fleet, self._command, change, self._screen, account)
        except Exception as error:
            raise told(error) from error
        self._told, self._is_first = account.told, False
        self._terms = replace(self._terms, take_over=False)
        self._end_error()
        return result.exit_code

    def tell_error(self, error: Exception) -> None:
        """Once, for as long as it stays the same."""
        lines = error_lines(told(error))
        if [gist(line) for line in lines] != [gist(line) for line in self._error]:
            complain(lines)
        self._error = lines

    def _end_error(self) -> None:
        if self._error:
            self._screen.say(Line(NO_LONGER + self._error[0], GOOD))
        self._error = []
