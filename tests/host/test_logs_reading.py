"""What is read back of a log: whose line it is, when it came, what is missing where. On real pipes, no processes."""

from __future__ import annotations

import json
import os
import resource
from contextlib import closing

import pytest

from fleetctl.host import log_files, log_reading, logs
from fleetctl.host.loop import Loop
from fleetctl.host.protocol import LINE_BYTES_MAX, LOG_BYTES_MAX

KIB = 1024


class Clock:
    """The wall clock of the pump, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


class Written:
    """A log and its program's end of the pipe."""

    def __init__(self, folder, clock: Clock, *, size: int = 64 * KIB, keep: int = 1000) -> None:
        self.folder, self.clock, self.size, self.keep = str(folder), clock, size, keep
        self.current = folder / "current"
        self.log = logs.Log(Loop(), self.folder, size, keep)
        self.log.open(1)

    def say(self, text: str, *, after_s: float = 1.0) -> None:
        self.clock.now += after_s
        content = text.encode()
        for start in range(0, len(content), 32 * KIB):
            os.write(self.log.pipe, content[start : start + 32 * KIB])
            self.log.drain()

    def lose(self, text: str) -> None:
        """What comes while the disk is full."""
        os.write(self.log.pipe, text.encode())
        self.log.throw_away()

    def killed(self) -> None:
        """Its agent is, and the next one goes on."""
        run = self.log.run
        self.log.close()
        self.log = logs.Log(Loop(), self.folder, self.size, self.keep)
        self.log.open(run)

    def read(self, lines: int = 1000, **more):
        return log_reading.read(self.folder, lines, **more)

    def lines(self, lines: int = 1000, **more):
        return self.read(lines, **more)["lines"]

    def close(self) -> None:
        self.log.close()


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(logs, "time", type("T", (), {"time": found.time, "monotonic": logs.time.monotonic}))
    return found


@pytest.fixture
def log(tmp_path, clock):
    with closing(Written(tmp_path, clock)) as written:
        yield written


def test_each_line_has_the_time_when_it_came(log):
    for number in range(5):
        log.say(f"line {number}\n", after_s=2.0)
    found = log.read()
    assert found["lines"] == [f"line {number}" for number in range(5)]
    assert found["times"] == [1_000_002.0 + 2 * number for number in range(5)]
    assert found["runs"] == [1] * 5


def test_runs_are_told_apart_to_the_byte_though_one_ended_within_a_line(log):
    log.say("first\nits last wor")
    log.log.open(2)
    log.say("second\n", after_s=0.0)
    log.log.open(3)
    log.killed()
    log.say("third\n", after_s=0.0)
    assert log.read()["lines"] == ["first", "its last wor", "second", "third"]
    assert log.read()["runs"] == [1, 1, 2, 3]
    assert [log.lines(run=run) for run in (1, 2, 3, 4)] == [["first", "its last wor"], ["second"], ["third"], []]
    assert log.lines(1, run=1) == ["its last wor"]
    for newest, before in ((1, []), (2, ["first", "its last wor"]), (3, ["second"]), (9, ["third"])):
        assert log.lines(run=-1, newest=newest) == before


def test_what_was_lost_is_told_at_its_place_once(log):
    log.say("one\ntw")
    log.lose("o\nthree\n")
    log.lose("four\n")
    during = log.read(after="")
    assert during["lines"] == ["one", "tw"]
    assert [(gap["before"], gap["bytes"]) for gap in during["gaps"]] == [(2, 13)]
    log.lose("five\n")
    more = log.read(after=during["next"])
    assert (more["lines"], [gap["bytes"] for gap in more["gaps"]]) == ([], [5])
    log.killed()
    log.say("six\n")
    rest = log.read(after=more["next"])
    assert (rest["lines"], rest["gaps"]) == (["six"], [])
    found = log.read()
    assert found["lines"] == ["one", "tw", "six"]
    assert [(gap["before"], gap["bytes"]) for gap in found["gaps"]] == [(2, 18)]
    assert found["dropped_bytes"] == 18
    assert log.read(1)["gaps"] == [], "it lies before what is shown"


def test_several_gaps_in_the_same_moment_each_keep_their_place(log):
    for number in range(3):
        log.say(f"line {number}\n", after_s=0.0)
        log.lose("x" * (number + 1))
    log.say("the end", after_s=0.0)
    found = log.read()
    assert found["lines"] == ["line 0", "line 1", "line 2", "the end"]
    assert [(gap["before"], gap["bytes"]) for gap in found["gaps"]] == [(1, 1), (2, 2), (3, 3)]


def test_what_is_lost_before_a_file_that_was_removed_is_told_before_the_next(log):
    log.say("one\n")
    log.lose("lost\n")
    log.current.unlink()
    log.say("two\n")
    found = log.read()
    assert (found["lines"], [(gap["before"], gap["bytes"]) for gap in found["gaps"]]) == (["two"], [(0, 5)])


def test_who_is_killed_while_he_counts_what_he_throws_away_counts_it_twice_and_never_not_at_all(log):
    log.say("one\n")
    os.write(log.log.pipe, b"lost\n")
    counted, log_count = [], log.log.count

    def count_and_die(total, gap):
        log_count(total, gap)
        counted.append(logs.waiting_bytes(log.log.pipe))
        raise KeyboardInterrupt

    log.log.count = count_and_die
    with pytest.raises(KeyboardInterrupt):
        log.log.throw_away()
    assert counted == [5], "it was still in the pipe when it was counted"
    assert log_files.dropped_bytes(log.folder) == 5


@pytest.mark.parametrize("keep", [0, 2, 1000])
def test_who_follows_gets_every_line_once_across_rotations_and_agents(tmp_path, clock, keep):
    with closing(Written(tmp_path, clock, keep=keep)) as log:
        got, cursor, expected = [], "", []
        for turn in range(25):
            said = [f"turn {turn} line {number} {'x' * (number % 977)}" for number in range(300)]
            expected += said
            text = "\n".join([*said, ""])
            log.say(text[:-40])
            if turn % 7 == 3:
                log.killed()
            for _ in range(8):
                answer = log.read(47, after=cursor)
                got += answer["lines"][:-1] if answer["partial"] else answer["lines"]
                cursor = answer["next"]
            log.say(text[-40:], after_s=0.05)
        while True:
            found = log.read(after=cursor)
            cursor = found["next"]
            got += found["lines"]
            assert not found["partial"]
            if not found["cut"]:
                break
        if keep == 1000:
            assert got == expected
            assert len(list(tmp_path.iterdir())) > 12
        else:
            assert len(list(tmp_path.iterdir())) <= 2 * keep + 4
            found = set(got)
            assert got == [line for line in expected if line in found], "nothing twice, nothing torn"


def test_who_follows_is_told_what_was_rotated_away_before_it_was_read(tmp_path, clock):
    with closing(Written(tmp_path, clock, keep=1)) as log:
        log.say("one\n")
        first = log.read(after="")
        log.say("y" * 99 + "\n" + ("x" * 999 + "\n") * 300)
        then = log.read(after=first["next"])
        assert then["missed"]
        assert then["lines"][0] == "x" * 999
        assert not log.read(after=then["next"])["missed"]


def test_a_file_that_is_removed_or_emptied_by_hand_is_no_riddle_to_who_follows(log):
    log.say("one\ntwo\n")
    cursor = log.read(after="")["next"]
    log.current.unlink()
    log.say("three\n")
    found = log.read(after=cursor)
    assert found["lines"] == ["three"]
    os.truncate(log.current, 0)
    log.say("a\n")
    assert log.lines(after=found["next"]) == ["a"]


def test_since_begins_with_the_first_line_that_came_then(log):
    for number in range(100):
        log.say(f"{number} {'x' * 3000}\n", after_s=1.0)
    for number in (0, 1, 50, 99):
        found = log.read(since=1_000_001.0 + number, after="")
        assert [line.partition(" ")[0] for line in found["lines"]] == [str(left) for left in range(number, 100)]
    assert log.lines(3, since=1_000_099.5) == log.lines(1)
    assert log.lines(since=2_000_000.0) == []
    log.say("it beg", after_s=10.0)
    log.say("an before\nand this after\n", after_s=10.0)
    assert log.lines(since=log.clock.now) == ["and this after"]


def test_a_missing_or_torn_index_costs_times_and_no_line(log):
    log.say("one\ntwo\n")
    log.close()
    (times,) = log.current.parent.glob("*.times")
    os.truncate(times, 32 + 7)
    log.killed()
    log.say("three\n")
    assert log.lines() == ["one", "two", "three"]
    assert log.read()["times"] == [1_000_001.0, 1_000_001.0, 1_000_002.0]
    times.unlink()
    found = log.read()
    changed = log.current.stat().st_mtime
    assert (found["lines"], found["runs"]) == (["one", "two", "three"], [0, 0, 0])
    assert found["times"] == [round(changed, 3)] * 3
    log.killed()
    log.say("four\n")
    assert log.lines() == ["one", "two", "three", "four"]


def test_times_of_bytes_that_a_power_cut_took_are_forgotten(log):
    log.say("one\n")
    log.say("two\n")
    log.log.close()
    os.truncate(log.current, 2)
    log.killed()
    log.say("\nthree\n")
    log.say("four\n")
    assert log.lines() == ["on", "three", "four"]
    assert log.read()["times"] == [1_000_001.0, 1_000_003.0, 1_000_004.0]


def test_the_times_take_little_room_whatever_the_program_says(log):
    for number in range(12_000):
        log.say(".\n" if number % 2 else ".", after_s=0.2)
    size = sum(path.stat().st_size for path in log.current.parent.glob("*.times"))
    assert size <= 64 * KIB + 18_000 // 4 + 32
    assert log.lines(5) == [".."] * 5


def test_many_runs_that_say_one_word_each_fill_no_disk_with_times(tmp_path, clock):
    with closing(Written(tmp_path, clock, keep=1)) as log:
        for run in range(1, 20_000):
            log.log.open(run)
            log.say(".\n", after_s=0.0)
        assert sum(entry.stat().st_size for entry in os.scandir(tmp_path)) < 4 * 64 * KIB
        assert log.read(2)["runs"] == [19_998, 19_999]
        assert log.lines(run=19_900) == ["."]


@pytest.mark.parametrize("what", [b"\n", b"\0", b"\xff\xfe\n", b"x" * 100 + b"\n"])
def test_an_answer_is_bounded_however_large_the_log_is(tmp_path, what):
    """What is not would end the link, and with it every other answer on its way."""
    with (tmp_path / "current").open("wb") as file:
        for _ in range(64):
            file.write((what * (KIB * KIB // len(what) + 1))[: KIB * KIB])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for found in (
        log_reading.read(str(tmp_path), 10_000),
        log_reading.read(str(tmp_path), 10_000, after=""),
        log_reading.read(str(tmp_path), 10_000, after="1:33000000:0"),
    ):
        assert len(json.dumps(found)) < LINE_BYTES_MAX
        assert found["lines"]
        assert sum(map(len, found["lines"])) <= LOG_BYTES_MAX
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 40 * KIB, "64 MiB were never in memory"
