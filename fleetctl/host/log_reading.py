"""A program's kept output, read back by place: never more than 1 MiB of it at once, however large its files are.

Each line comes with its run and the time when it was read from its program, and what was thrown away with its place.
"""

import os
import re
from collections import namedtuple

from .log_files import Entry, kept, open_times, read_dropped
from .protocol import LOG_BYTES_MAX

BLOCK_BYTES = 64 * 1024
ENTRIES_MAX = 32 * 1024  # of a stretch of LOG_BYTES_MAX there are fewer, unless a great many runs said little
TRIES = 5
RUN_NONE = 2**62  # no instance is ever started so often
CURSOR = re.compile(r"(\d{1,10}):(\d{1,18}):(\d{1,18})")

Place = namedtuple("Place", "number offset dropped")  # noqa: PYI024  (typing would cost each host memory)
"""In the file of that number; `dropped` bytes that were thrown away right there are told already."""

BEGINNING = Place(0, 0, 0)


def tail(folder: str, lines: int):
    """The last lines of a log, oldest first."""
    return read(folder, lines)["lines"]


def read(folder: str, lines: int, run: int = 0, since: float = 0.0, after=None, newest: int = 0, is_over: bool = False):
    """What `logs` of protocol.py answers. `newest` is its newest run; `is_over`: its last line is whole.

    `run` is one run alone, 0 any, and -1 the last one before the newest that said something.
    """
    for _ in range(TRIES):
        try:
            found = kept(folder)
            answer = Reading(folder, found, is_over).answer(lines, run, since, after, newest)
            if kept(folder) == found:  # else they were rotated meanwhile, by an agent that a look does not know of
                return answer
        except OSError:
            continue
    return Reading(folder, [], is_over).answer(lines, run, since, after, newest)


class Reading:
    """One look at a log and the answer made of it."""

    def __init__(self, folder: str, files, is_over: bool) -> None:
        self.folder, self.files, self.is_over = folder, files, is_over
        self.paths = dict(files)
        self.dropped_bytes, self.gap = read_dropped(folder)
        self.end = Place(files[-1][0], os.stat(files[-1][1]).st_size, 0) if files else BEGINNING
        self.lines: "list[str]" = []
        self.times: "list[float]" = []  # of each line, as
        self.runs: "list[int]" = []  # these are
        self.gaps: "list[dict[str, object]]" = []
        self.next = self.end
        self.partial = False

    def answer(self, lines: int, run: int, since: float, after, newest: int):
        low, high = BEGINNING, self.end
        if run < 0:
            run = self.run_before(newest)
        if run:
            low, high = self.first(lambda entry: entry.run >= run), self.first(lambda entry: entry.run > run)
        if since:
            low = max(low, self.whole_line(self.first(lambda entry: entry.at >= since)))
        place, missed = self.place_of(after)
        if after is not None:
            self.go_on(max(low, place), high, lines)
            cut = not self.partial and self.next[:2] < high[:2]
        else:
            start = self.back(low, high, lines)
            self.go_on(start, high, LOG_BYTES_MAX)
            cut = len(self.lines) < lines and start[:2] > low[:2] and start[:2] > self.oldest()[:2]
            self.keep_last(lines)
        return {
            "lines": self.lines,
            "times": self.times,
            "runs": self.runs,
            "gaps": self.gaps,
            "dropped_bytes": self.dropped_bytes,
            "next": "%d:%d:%d" % self.next,
            "cut": cut,
            "partial": self.partial,
            "missed": missed,
        }

    # Places

    def oldest(self) -> Place:
        return Place(self.files[0][0], 0, 0) if self.files else BEGINNING

    def place_of(self, cursor):
        """(the Place it stands for, whether something behind it is kept no more)."""
        found = CURSOR.fullmatch(cursor or "")
        place = Place(*map(int, found.groups())) if found else BEGINNING
        return place, bool(place.number) and place.number not in self.paths and place < self.oldest()

    def first(self, holds) -> Place:
        """From where on `holds` is true of the entries; the end, if nowhere."""
        found = self.end
        for number, _ in reversed(self.files):
            entries, times = [Entry(0, 0, self.changed(number), 0)], open_times(self.folder, number)
            if times is not None and times.count:
                place = times.first_place(holds)
                entries = [*times.entries(place, 1)] if place < times.count else []
            else:
                place, entries = 0, [entry for entry in entries if holds(entry)]
            if times is not None:
                times.close()
            if entries:
                found = Place(number, entries[0].offset, 0)
            if place or not entries:
                break
        return found

    def run_before(self, newest: int) -> int:
        """The last run before that one of which something is kept; else one that there never was."""
        for number, _ in reversed(self.files):
            times = open_times(self.folder, number)
            if times is None:
                continue
            place = times.first_place(lambda entry: entry.run >= newest)
            run = times.entry(place - 1).run if place else 0
            times.close()
            if run:
                return int(run)
        return RUN_NONE

    def whole_line(self, place: Place) -> Place:
        """The place itself, or behind the line in which it lies: that began before it."""
        if place.offset == 0 or place.number not in self.paths:
            return place
        around = self.entries(place.number, place.offset - 1, place.offset)
        content = self.content(place.number, place.offset - 1, BLOCK_BYTES)
        if content[:1] == b"\n" or place.offset in splits(around):
            return place
        return place._replace(offset=place.offset + max(0, content.find(b"\n")))

    def back(self, low: Place, high: Place, lines: int) -> Place:
        """Far enough before `high` for so many lines, as far as `low` and LOG_BYTES_MAX allow; at the start of one."""
        newlines, size = 0, 0
        for number, path in reversed(self.files):
            if number > high.number or number < low.number:
                continue
            end = high.offset if number == high.number else os.stat(path).st_size
            start = low.offset if number == low.number else 0
            while end > start:
                begin = max(start, end - BLOCK_BYTES)
                content = self.content(number, begin, end - begin)
                newlines, size = newlines + content.count(b"\n"), size + len(content)
                if newlines > lines:
                    return Place(number, begin + behind(content, newlines - lines), 0)
                if size >= LOG_BYTES_MAX:
                    return self.whole_line(Place(number, begin, 0))
                end = begin
        return low

    # Reading

    def go_on(self, place: Place, high: Place, lines: int) -> None:
        """Lines from there on, at most so many of LOG_BYTES_MAX."""
        budget = LOG_BYTES_MAX
        self.next = max(place, self.oldest())
        for number, path in self.files:
            if number < self.next.number or number > high.number or self.partial:
                continue
            if number > self.next.number:
                self.next = Place(number, 0, 0)
            stop = high.offset if number == high.number else os.stat(path).st_size
            rest = max(0, stop - self.next.offset)
            content = self.content(number, self.next.offset, min(rest, budget))
            budget -= len(content)
            is_all = len(content) == rest
            is_whole = is_all and (number != self.end.number or high < self.end or self.is_over)
            if not self.take(content, lines, is_all, is_whole):
                break

    def take(self, content: bytes, most: int, is_all: bool, is_whole: bool) -> bool:
        """The lines of what comes next; whether the next file may follow. `is_whole`: the last needs no newline."""
        number, start, told = self.next
        entries = self.entries(number, start, start + len(content))
        ends = [offset - start for offset in splits(entries) if offset > start]
        bounds = [*ends, len(content)]
        position = at = 0
        while True:
            while at + 1 < len(entries) and entries[at + 1].offset <= start + position:
                at += 1
            told = self.tell_gap(entries[at], start + position, told if position == 0 else 0)
            self.next = Place(number, start + position, told)
            if position == len(content) or len(self.lines) >= most:
                break
            while bounds[0] <= position:
                bounds.pop(0)
            end = content.find(b"\n", position, bounds[0])
            is_line = end >= 0 or bounds[0] in ends or is_whole or (not is_all and not self.lines)
            if not is_line and not is_all:
                break  # the rest of it is left for the next answer
            text = content[position : end if end >= 0 else bounds[0]].decode("utf-8", "replace")
            self.lines.append(text)
            self.times.append(entries[at].at)
            self.runs.append(entries[at].run)
            if not is_line:
                self.partial = True
                break
            position = end + 1 if end >= 0 else bounds[0]
        return position == len(content) and is_all

    def tell_gap(self, entry: Entry, offset: int, told: int) -> int:
        """What was thrown away right before `offset`, once; how much of that is told by now."""
        if entry.offset != offset or entry.dropped <= told:
            return told
        gap = {"before": len(self.lines), "bytes": entry.dropped - told, "at": entry.at, "run": entry.run}
        self.gaps.append(gap)
        return int(entry.dropped)

    def keep_last(self, lines: int) -> None:
        extra = max(0, len(self.lines) - lines)
        del self.lines[:extra], self.times[:extra], self.runs[:extra]
        for gap in self.gaps:
            gap["before"] -= extra
        self.gaps = [gap for gap in self.gaps if gap["before"] >= (0 if not extra else 1)]

    def content(self, number: int, start: int, size: int) -> bytes:
        with open(self.paths[number], "rb", buffering=0) as file:
            file.seek(start)
            return file.read(size)

    def changed(self, number: int) -> float:
        return round(os.stat(self.paths[number]).st_mtime, 3)

    # Times

    def entries(self, number: int, low: int, high: int):
        """What is said of the bytes from `low` to `high` of that file; the first is of `low`, known or not."""
        found = self.noted(number, low, high)
        gap = self.gap
        if gap.number == number and gap.dropped and low <= gap.offset <= high:
            place = len([entry for entry in found if entry.offset < gap.offset])
            if place < len(found) and found[place].offset == gap.offset:  # more was thrown away since it was noted
                found[place] = found[place]._replace(dropped=max(gap.dropped, found[place].dropped))
            else:  # not noted yet: the disk is full
                run, at = (found[place - 1].run, found[place - 1].at) if place else (0, self.changed(number))
                found.insert(place, Entry(gap.offset, run, at, gap.dropped))
        if not found or found[0].offset > low:  # nobody knows when: not later than what is known
            run, at = (found[0].run, found[0].at) if found else (0, self.changed(number))
            found.insert(0, Entry(low, run, min(at, self.changed(number)), 0))
        return found

    def noted(self, number: int, low: int, high: int):
        times = open_times(self.folder, number)
        if times is None:
            return []
        try:
            first = max(0, times.first_place(lambda entry: entry.offset > low) - 1)
            count = times.first_place(lambda entry: entry.offset > high) - first
            return times.entries(first, min(count, ENTRIES_MAX)) if count > 0 else []
        finally:
            times.close()


def behind(content: bytes, newlines: int) -> int:
    """Where the line behind so many newlines begins."""
    place = 0
    for _ in range(newlines):
        place = content.find(b"\n", place) + 1
    return place


def splits(entries):
    """Where a line ends though no newline says so: another run begins, or something was thrown away."""
    pairs = zip(entries, entries[1:])  # noqa: RUF007  (Python 3.6 has no pairwise)
    return [entry.offset for before, entry in pairs if entry.run != before.run or entry.dropped]
