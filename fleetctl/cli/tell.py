"""What is told while a run works: plain lines in a pipe; on a terminal also what is under way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, assert_never

from fleetctl.cli.actions import doing, fetch_line, fetching, result_lines
from fleetctl.cli.screen import Line
from fleetctl.cli.text import clean, count
from fleetctl.engine.events import (
    ActionBegan,
    ActionEnded,
    FetchBegan,
    FetchEnded,
    HostSeen,
    PlanMade,
    TookOver,
    Uploading,
)
from fleetctl.model.plan import Upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from fleetctl.cli.screen import Screen
    from fleetctl.engine.events import Event, Tell
    from fleetctl.model.plan import Action


@contextmanager
def telling(screen: Screen, hosts: int) -> Iterator[Tell]:
    """Tells of a run over so many hosts, for as long as the block lasts."""
    if not screen.terminal:
        yield lambda event: _tell_plainly(screen, event)
        return
    from fleetctl.cli.bars import under_way

    with under_way(screen.console()) as progress:
        yield _Live(screen, progress, hosts).tell


@contextmanager
def looking(screen: Screen, hosts: int) -> Iterator[Tell]:
    """As `telling`, for a command that only reads: a pipe sees nothing of the look itself."""
    if not screen.terminal:
        yield lambda _event: None
        return
    with telling(screen, hosts) as tell:
        yield tell


def _tell_plainly(screen: Screen, event: Event) -> None:
    if isinstance(event, ActionEnded):
        screen.show(result_lines(event.result))
    elif isinstance(event, FetchEnded):
        screen.show([fetch_line(event)])
    elif isinstance(event, TookOver):
        screen.show([_took_over_line(event)])


def _took_over_line(event: TookOver) -> Line:
    before = f"{event.driver} (generation {event.generation})"
    return Line(f"took over from {before}: {count(event.jobs, 'job')}, as {event.host} keeps them")


class _Live:
    """What is under way, one row each, below the lines of what has ended."""

    def __init__(self, screen: Screen, progress: Progress, hosts: int) -> None:
        self._screen, self._progress, self._hosts = screen, progress, hosts
        self._seen: set[str] = set()
        self._look: TaskID | None = None
        self._rows: dict[Action, TaskID] = {}
        self._fetches: dict[tuple[str, str], TaskID] = {}

    def tell(self, event: Event) -> None:
        match event:
            case HostSeen():
                self._seen.add(event.host)
                self._show_look()
            case PlanMade():
                self._end_look()
            case ActionBegan():
                self._rows[event.action] = self._add(doing(event.action))
            case Uploading():
                self._move(event)
            case FetchBegan():
                self._fetches[event.host, event.artifact] = self._add(fetching(event))
            case FetchEnded():
                self._progress.remove_task(self._fetches.pop((event.host, event.artifact)))
                self._screen.show([fetch_line(event)])
            case TookOver():
                self._screen.show([_took_over_line(event)])
            case ActionEnded():
                row = self._rows.pop(event.result.action, None)
                if row is not None:
                    self._progress.remove_task(row)
                self._screen.show(result_lines(event.result))
            case _:
                assert_never(event)

    def _add(self, description: str) -> TaskID:
        return self._progress.add_task(clean(description), total=None)

    def _show_look(self) -> None:
        if self._look is None:
            self._look = self._add("")
        told = f"looking: {len(self._seen)} of {count(self._hosts, 'host')}"
        self._progress.update(self._look, description=told)

    def _end_look(self) -> None:
        if self._look is not None:
            self._progress.remove_task(self._look)
        self._look = None
        self._seen.clear()

    def _move(self, event: Uploading) -> None:
        for action, row in self._rows.items():
            if isinstance(action, Upload) and (action.host, action.artifact) == (event.host, event.artifact):
                self._progress.update(row, completed=event.sent_bytes, total=event.total_bytes)
