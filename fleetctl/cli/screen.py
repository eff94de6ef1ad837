"""Where output goes: a terminal gets tables and colours, a pipe gets plain lines, both from the same values."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from fleetctl.cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

BAD, DOUBTFUL, GOOD, DIM, STRONG = "red", "yellow", "green", "dim", "bold"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output and how it looks on a terminal."""

    text: str
    style: str = ""


def complain(lines: Iterable[str]) -> None:
    """To standard error: what is wrong, beside whatever was asked for. That its reader has gone stops no work."""
    with suppress(BrokenPipeError):
        sys.stderr.writelines(f"{clean(line)}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under headings. A column that is empty in every row is left out."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str | Line, ...], ...]

    def lines(self) -> list[Line]:
        """Aligned columns; the last is never padded, nothing is cut."""
        table = [tuple(Line(heading.upper(), STRONG) for heading in self.headings)]
        table += [tuple(_line(cell) for cell in row) for row in self.rows]
        shown = [index for index in range(len(self.headings)) if any(row[index].text for row in table[1:])]
        widths = {index: max(len(row[index].text or "-") for row in table) for index in shown}
        return [
            Line(
                "  ".join((row[index].text or "-").ljust(widths[index]) for index in shown).rstrip(),
                next((row[index].style for index in shown if row[index].style), ""),
            )
            for row in table
        ]


def _line(cell: str | Line) -> Line:
    return Line(clean(cell)) if isinstance(cell, str) else Line(clean(cell.text), cell.style)


class Screen:
    """One command's output. `terminal` decides everything that a pipe must not see."""

    def __init__(self, out: TextIO, *, terminal: bool) -> None:
        self.out, self.terminal = out, terminal
        self.reader_gone = False
        self._console: Console | None = None

    @classmethod
    def standard(cls) -> Screen:
        return cls(sys.stdout, terminal=sys.stdout.isatty())

    def show(self, lines: Iterable[Line | str]) -> None:
        for line in lines:
            self.say(line)

    def say(self, line: Line | str) -> None:
        """One line, whatever is in it. Everything shown passes here, so nothing a host sent can steer a terminal."""
        made = _line(line)
        if self.terminal:
            self.console().print(
                made.text, style=made.style, markup=False, emoji=False, highlight=False, soft_wrap=True
            )
        else:
            self._print(made.text)

    def document(self, content: Mapping[str, Any]) -> None:
        self._print(json.dumps(content, indent=2, ensure_ascii=True))

    def record(self, content: Mapping[str, Any]) -> None:
        """One of many: an object on a line of its own."""
        self._print(json.dumps(content, ensure_ascii=True))

    def _print(self, text: str) -> None:
        """A reader that has gone (`| head`) stops no work that is under way: the rest is said to nobody."""
        try:
            print(text, file=self.out)
        except BrokenPipeError:
            self.reader_gone = True

    def console(self) -> Console:
        """Rich's, which a pipe never needs and so never imports."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self.out)
        return self._console
