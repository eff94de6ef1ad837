"""`logs` as it is typed and as it is shown, in a pipe and as JSON."""

from __future__ import annotations

import io
import json
from datetime import datetime

import pytest

from fleetctl.cli.screen import Screen, complain
from fleetctl.cli.show_logs import LogTeller
from fleetctl.engine.logs import EnoughError, HostBack, HostGone, NotRead, Shortened
from fleetctl.model.replica import InstanceName
from tests.cli import given

WEB_0, WEB_1 = "web.0@47 h1", "web.1@47 host2"


def test_each_line_shows_when_where_and_of_whom_and_what_is_missing_is_shown_in_between(typed, engine):
    engine.logs = (
        given.asked(WEB_0, WEB_1),
        given.said("web.0@47", "h1", "listening", 0.5),
        given.said("web.1@47", "host2", "[red]GET /", 1.0),
        given.said("web.0@47", "h1", None, 2.0, dropped_bytes=12345),
        given.said("web.1@47", "host2", None, 2.0),
        given.said("web.1@47", "host2", "", 61.001),
    )
    shown = typed("logs", "web", "-i", "inv.yml")
    assert (shown.exit, shown.err) == (0, "")
    assert (
        shown.out
        == """\
2026-03-01T12:00:00.500 h1    web.0@47 | listening
2026-03-01T12:00:01.000 host2 web.1@47 | [red]GET /
2026-03-01T12:00:02.000 h1    web.0@47 ... 12345 bytes were dropped here: the disk was full, or too slow
2026-03-01T12:00:02.000 host2 web.1@47 ... lines were rotated away here, before they were read
2026-03-01T12:01:01.001 host2 web.1@47 |
"""
    )


def test_as_json_each_line_is_an_object(typed, engine):
    engine.logs = (
        given.asked(WEB_0),
        given.said("web.0@47", "h1", 'says "hello"', 0.25, run=3),
        given.said("web.0@47", "h1", None, 2.0, dropped_bytes=5),
        given.said("web.0@47", "h1", None, -given.LOCAL_NOON, run=0),
    )
    shown = typed("logs", "web", "-i", "inv.yml", "--json")
    first, second, third = map(json.loads, shown.out.splitlines())
    assert datetime.fromisoformat(first.pop("at")).timestamp() == given.LOCAL_NOON + 0.25
    who = {"version": 1, "host": "h1", "instance": "web.0@47"}
    assert first == {**who, "run": 3, "line": 'says "hello"'}
    assert second["dropped_bytes"] == 5
    assert third == {**who, "at": None, "run": None, "dropped_bytes": None}


def test_who_can_not_be_asked_is_named_and_it_ends_with_4(typed, engine):
    engine.logs = (
        given.asked(WEB_0, WEB_1, h3=given.SILENT),
        given.said("web.0@47", "h1", "one"),
        NotRead("host2", InstanceName.parse("web.1@47"), "no answer in 15 s"),
        Shortened("h1", InstanceName.parse("web.0@47"), 7),
    )
    shown = typed("logs", "web", "-i", "inv.yml")
    assert (shown.exit, shown.out.count("\n")) == (4, 1)
    assert (
        shown.err
        == """\
h3 can't be asked: no answer from 10.0.0.3 port 22 in 2 s
web.1@47 on host2: not read: no answer in 15 s
web.0@47 on h1: only its last 7 lines: more do not fit into one answer; see --since
"""
    )


def test_nothing_said_is_told_and_of_whom(typed, engine):
    engine.logs = (given.asked(WEB_0, WEB_1),)
    for more, which in (
        ((), ""),
        (("--previous",), " by an earlier run"),
        (("--since", "10m"), " since 10m"),
    ):
        shown = typed("logs", "web", "-i", "inv.yml", *more)
        assert (shown.exit, shown.out) == (0, "")
        assert shown.err == f"nothing was said{which}: web.0@47 on h1, web.1@47 on host2\n"


def test_what_is_asked_for(typed, engine):
    engine.logs = (given.asked(WEB_0),)
    for argv in (
        ("web",),
        ("web.0", "--previous"),
        ("web.0@47", "-n", "7", "--since", "2026-03-01T12:00"),
        ("web", "--since", "2026-03-01", "-f"),
    ):
        assert typed("logs", "-i", "inv.yml", *argv).exit == 0
    asked = [(wanted.name, wanted.lines, wanted.previous, goes_on) for wanted, goes_on in engine.wanted]
    assert asked == [
        ("web", 100, False, False),
        ("web.0", None, True, False),
        ("web.0@47", 7, False, False),
        ("web", None, False, True),
    ]
    assert engine.wanted[2][0].since == given.LOCAL_NOON
    assert engine.wanted[3][0].since == given.LOCAL_NOON - 12 * 3600
    assert not engine.wanted[1][0].covers(InstanceName.parse("web.1@47"))
    assert engine.wanted[1][0].covers(InstanceName.parse("web.0@3"))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("wbe",), 'error: wbe: no such job in prod (did you mean "web"?); known are: web\n'),
        (("web.7",), "error: web.7: no host has anything of that name\n  see: fleetctl status\n"),
        (("web", "--since", "noon"), ("error: --since takes how long ago, such as 10m, or a time such as "
                                      '2026-03-01T02:00, not "noon"\n')),
        (("web", "--since", "2099-01-01"), "error: --since 2099-01-01 is yet to come\n"),
        (("web", "--previous", "-f"), "error: --previous is of a run that is over: it goes without --follow\n"),
    ],
)  # fmt: skip
def test_what_is_refused(typed, engine, argv, told):
    engine.logs = (given.asked(*(() if argv[0] == "web.7" else (WEB_0,))),)
    refused = typed("logs", "-i", "inv.yml", *argv)
    assert (refused.exit, refused.out, refused.err) == (2, "", told)


def test_following_tells_who_goes_and_comes_and_ends_with_130_and_without_a_word(typed, engine):
    engine.logs = (
        given.asked(WEB_0),
        HostGone("h1", "refused 10.0.0.1 port 22"),
        HostBack("h1"),
        given.said("web.10@48", "host2", "hello"),
        KeyboardInterrupt(),
    )
    shown = typed("logs", "web", "-i", "inv.yml", "-f")
    assert shown.exit == 130
    assert shown.out == "2026-03-01T12:00:00.000 host2 web.10@48 | hello\n"
    assert shown.err == "h1 can't be asked: refused 10.0.0.1 port 22\nh1 answers again\n"


def test_lines_of_an_old_agent_have_no_time(typed, engine):
    engine.logs = (given.asked(WEB_0), given.said("web.0@47", "h1", "one", -given.LOCAL_NOON))
    assert typed("logs", "web", "-i", "inv.yml").out == "-                       h1 web.0@47 | one\n"


class Gone(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_it_ends_with_its_reader():
    """`fleetctl logs -f web | head -1`"""
    teller = LogTeller(Screen(Gone(), terminal=False), complain, as_json=False)
    with pytest.raises(EnoughError):
        teller.tell(given.said("web.0@47", "h1", "line"))
