"""What programs said, as their hosts keep it."""

from __future__ import annotations

from dataclasses import dataclass

PREVIOUS = -1  # as a run: the last before the newest that said anything


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which part of one instance's output."""

    lines: int  # at most
    run: int = 0  # that run alone, PREVIOUS, or 0: any
    since: float = 0.0  # by the host's wall clock
    after: str | None = None  # the first lines behind this place, "" being the beginning; absent: the last lines


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line, or what is missing between two."""

    at: float  # when it was read from its program, by the host's wall clock; 0: not known
    run: int  # counted from 1; 0: not known
    text: str | None  # absent: something is missing here
    dropped_bytes: int | None = None  # so much was thrown away; absent: it was rotated away before it was read


@dataclass(frozen=True, slots=True)
class LogPage:
    entries: tuple[LogEntry, ...]
    next: str  # where to go on from
    cut: bool = False  # there is more behind `next`
    partial: bool = False  # the last line goes on: it comes again, whole, behind `next`
    wallclock_s: float = 0.0  # by the host's clock, when it answered; 0: not known

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(entry.text for entry in self.entries if entry.text is not None)
