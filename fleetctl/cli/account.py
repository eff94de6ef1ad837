"""What is told of a heal, in the order that matters at 3 a.m.: what was found, what was done, what needs a human.

In a pipe, and from one round of `--watch` to the next, only what changed since an earlier heal told it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.cli.found import FOUND, found_lines
from fleetctl.cli.screen import GOOD, Line
from fleetctl.cli.show_run import (
    NEEDS_A_HUMAN,
    human_lines,
    is_worth_telling,
    job_lines,
    left_lines,
    notice_lines,
    summary_line,
)
from fleetctl.engine.events import PlanMade
from fleetctl.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fleetctl.engine.events import Event
    from fleetctl.engine.run import RunResult
    from fleetctl.state.store import RunRecord

SAY_AGAIN_S = 3600.0  # cron mails whatever is said: a trouble that lasts, once an hour
HEAL = "heal"
BAD_ENDS = (ExitCode.FAILED, ExitCode.DEGRADED, ExitCode.UNREACHED)
AT_FIRST = "found at first: "  # and ended by the same run
NO_LONGER = "no longer: "
# How long or how often by now is no news, nor is which process it is this time.
_LASTING = re.compile(r"\b\d+(\.\d+)?(?= (ms|s|min|h|d|earlier runs?|times)\b)|(?<=\bpid )\d+")
_HOST = r"\S+ is (?:suspect|lost|broken)\b"
_SUBJECT = re.compile(rf"{_HOST}|\S+: [^:]+")
_HOST_TROUBLE = re.compile(rf"{re.escape(FOUND)}{_HOST}(?:: [^:(,;]+)?|{re.escape(NEEDS_A_HUMAN)}{_HOST}")


@dataclass(frozen=True, slots=True)
class Told:
    """All that held when a heal last told something, and when that was."""

    at_wall: float
    exit_code: int | None
    lines: tuple[str, ...]


def told_by(earlier: Iterable[RunRecord], command: str, now_wall: float) -> Told | None:
    """What the last of these runs, newest first, of this command that told anything told, if it still counts: nothing
    but other heals came between, none that found all well, and it is not too long ago."""
    for run in earlier:
        if run.command != command:
            if run.command.partition(" ")[0] != HEAL:
                return None
            continue
        if run.lines:
            recent = now_wall - run.started_wall < SAY_AGAIN_S
            return Told(run.started_wall, run.exit_code, run.lines) if recent else None
        if run.exit_code == ExitCode.AS_WISHED:
            return None
    return None


class Account:
    """The account of one heal. `before` is what an earlier one told: that is not told again."""

    def __init__(
        self, show: Callable[[list[Line]], None], now_wall: float, *, before: Told | None, all_of_it: bool
    ) -> None:
        self._show, self._now_wall = show, now_wall
        self._before = before if before is not None and now_wall - before.at_wall < SAY_AGAIN_S else None
        self._all = all_of_it
        self._known = frozenset(_key(line) for line in self._before.lines) if self._before else frozenset()
        self._found: list[Line] | None = None
        self._said = False
        self.told = self._before

    def hear(self, event: Event) -> None:
        """What the first sweep found is told before anything is done about it, with what the wish undoes."""
        if self._found is None and isinstance(event, PlanMade):
            self._found = found_lines(event)
            self._say([*notice_lines(event.plan), *self._news(self._found)])

    def close(self, result: RunResult) -> list[Line]:
        """Tells how the run ended. Returns what the history keeps: all that holds now where anything was told."""
        found = self._found or []
        explained = frozenset(name for name in result.verdicts if _starts(found, f"{FOUND}{name} is "))
        troubles = human_lines(result, explained)
        rest = troubles + left_lines(result) + job_lines(result)
        gone = self._gone(troubles)
        mended = self._before is not None and self._before.exit_code in BAD_ENDS
        if not (self._all or self._said or gone or mended or is_worth_telling(result)):
            self.told = None  # all is well
            return []
        self._say([*self._news(rest), *gone])
        if not (self._said or result.results or self._ends_otherwise(result)):
            return []
        self._say([summary_line(result)])
        kept = [*_with_what_lasts(found, result), *rest, summary_line(result)]
        self.told = Told(self._now_wall, result.exit_code, tuple(line.text for line in kept))
        return kept

    def _say(self, lines: list[Line]) -> None:
        if lines:
            self._show(lines)
            self._said = True

    def _news(self, lines: list[Line]) -> list[Line]:
        return lines if self._all else [line for line in lines if _key(line.text) not in self._known]

    def _gone(self, troubles: list[Line]) -> list[Line]:
        """What needed a human before and does no more; a trouble that is worded otherwise by now lasts."""
        now = {_subject(line.text) for line in troubles}
        before = [line for line in self._before.lines if line.startswith(NEEDS_A_HUMAN)] if self._before else []
        gone = [line.removeprefix(NEEDS_A_HUMAN) for line in before if _subject(line) not in now]
        return [Line(NO_LONGER + line, GOOD) for line in gone]

    def _ends_otherwise(self, result: RunResult) -> bool:
        return self._before is None or self._before.exit_code != result.exit_code


def _with_what_lasts(found: list[Line], result: RunResult) -> list[Line]:
    """What was found, that which the run ended named apart: found again, it is news."""
    lasts = {line.text for line in found_lines(PlanMade(result.plan, result.desired, result.snapshot))}
    return [line if line.text in lasts else Line(AT_FIRST + line.text.removeprefix(FOUND)) for line in found]


def _starts(lines: list[Line], beginning: str) -> bool:
    return any(line.text.startswith(beginning) for line in lines)


def _key(line: str) -> str:
    """By what a line is known again: a host in trouble by its verdict and the sign of that, since who witnessed it, and
    how it refuses, differ from look to look; whatever else is told, word by word."""
    trouble = _HOST_TROUBLE.match(line)
    return trouble[0] if trouble else gist(line)


def gist(line: str) -> str:
    """The line without how long or how often it is so by now, and in which process."""
    return _LASTING.sub("_", line)


def _subject(line: str) -> str:
    """Who or what is in trouble, and its kind: `h3 is lost`, `web.2: no room`."""
    what = line.removeprefix(NEEDS_A_HUMAN)
    found = _SUBJECT.match(what)
    return found[0] if found else what
