"""The rows of a terminal for what is under way: a spinner each, and a bar for what has a known length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from fleetctl.cli.text import size

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Task

_WIDTH = 24


class _Length(ProgressColumn):
    """A bar and `1.2 MiB of 3.4 MiB`; nothing for what has no length."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=_WIDTH)

    def render(self, task: Task) -> RenderableType:
        return Text("") if task.total is None else self._bar.render(task)


class _Bytes(ProgressColumn):
    def render(self, task: Task) -> RenderableType:
        return Text("" if task.total is None else f"{size(int(task.completed))} of {size(int(task.total))}")


def under_way(console: Console) -> Progress:
    """Shown while entered, and gone after it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        _Length(),
        _Bytes(),
    )
    return Progress(*columns, console=console, transient=True)
