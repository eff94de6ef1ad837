"""`heal --watch` as it is typed: what it says from round to round, and what is refused."""

import pytest

from fleetctl.cli import driving, watching
from fleetctl.clock import SystemClock
from fleetctl.engine.events import PlanMade
from fleetctl.errors import ExitCode, LiveRunError, StateError
from tests.cli import given

IN = ("-i", "inv.yml")
LOST = "found: h3 is lost: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2\n"
TRY = "h3 is lost; try it by hand: ssh -v -p 22 10.0.0.3\n"


def ended(code, view, *results):
    return given.result(code, *results, seen=view), PlanMade(view.plan, view.desired, view.snapshot)


WELL = ended(ExitCode.AS_WISHED, given.well())
BAD = ended(ExitCode.DEGRADED, given.view(given.plan()))


@pytest.fixture
def watched(typed, engine, monkeypatch):
    """`watched(WELL, BAD, error)`: so its rounds end, then Ctrl-C. Returns how it ended and the waits in between."""

    def play(*rounds, argv=IN, between=lambda number: None):
        waits = []

        class Hasty(SystemClock):
            async def sleep(self, seconds):
                waits.append(seconds)
                between(len(waits))

        async def drive(_fleet, command, change, tell, report):
            engine.changes.append((command, change))
            if len(engine.changes) > len(rounds):
                raise KeyboardInterrupt
            ends = rounds[len(engine.changes) - 1]
            if isinstance(ends, Exception):
                raise ends
            result, made = ends
            tell(made)
            report(result)
            return result

        monkeypatch.setattr(watching, "SystemClock", Hasty)
        monkeypatch.setattr(driving, "drive", drive)
        return typed("heal", "--watch", *argv), waits

    return play


def test_it_goes_on_until_ctrl_c_and_says_nothing_while_all_is_well(watched, engine):
    shown, waits = watched(WELL, WELL, WELL)
    assert (shown.exit, shown.out, shown.err) == (130, "", "interrupted; the next run goes on from there\n")
    assert len(waits) == 3
    assert all(9.0 <= wait <= 11.0 for wait in waits)
    assert {command for command, _ in engine.changes} == {"heal --watch"}


def test_a_trouble_is_told_when_it_begins_and_when_it_ends(watched):
    shown, _ = watched(WELL, BAD, BAD, BAD, WELL, WELL)
    assert (
        shown.out
        == f"""\
{LOST}needs a human: {TRY}web: 2 of 3 ready, release 3
prod: nothing to do; degraded: needs a human
web: 3 of 3 ready, release 3
no longer: {TRY}prod: nothing to do; as wished
"""
    )


def test_a_live_run_is_waited_out_without_a_word(watched):
    held = LiveRunError("the run lock of prod is held by ann@desk (pid 1); its lease ends in 12 s")
    shown, waits = watched(held, WELL, held)
    assert (shown.out, shown.err.splitlines()[:-1]) == ("", [])
    assert len(waits) == 3


def test_an_error_is_told_once_with_what_to_do_and_when_it_is_over(watched):
    full = StateError("the store can't be used: no space is left there", hint="make room there")
    shown, waits = watched(WELL, full, full, WELL)
    assert shown.err.startswith(
        "error: the store can't be used: no space is left there\n  make room there\ninterrupted"
    )
    assert shown.out == "no longer: error: the store can't be used: no space is left there\n"
    assert [round(wait, -1) for wait in waits] == [10.0, 20.0, 40.0, 10.0]


def test_an_edited_inventory_counts_from_the_next_round_on(watched, engine, here):
    text = (here / "inv.yml").read_text()

    def edit(rounds):
        new = {1: text.replace("    h3:", "    h9:"), 2: "all: [", 4: text, 5: text.replace("fleet: prod", "fleet: x")}
        (here / "inv.yml").write_text(new.get(rounds, (here / "inv.yml").read_text()))

    argv = (*IN, "-l", "all", "--interval", "1s")
    shown, waits = watched(WELL, WELL, WELL, WELL, argv=argv, between=edit_until(edit, 6))
    limits = [sorted(change.limit) for _, change in engine.changes]
    assert limits == [["h1", "h2", "h3"], ["h1", "h2", "h9"], ["h1", "h2", "h3"]]
    assert shown.err.count("error: inv.yml:1: not valid YAML") == 1, "told once, not each round"
    assert "error: inv.yml is the inventory of x by now: prod is what is watched\n" in shown.err
    assert [round(wait) for wait in waits] == [1, 1, 2, 4, 1, 2]


def edit_until(edit, rounds):
    def between(number):
        if number == rounds:
            raise KeyboardInterrupt
        edit(number)

    return between


def test_a_fleet_is_taken_over_in_the_first_round_alone(watched, engine):
    watched(WELL, WELL, argv=(*IN, "--take-over"))
    assert [change.take_over for _, change in engine.changes] == [True, False, False]


@pytest.mark.parametrize(
    ("argv", "told_as"),
    [
        (["--interval", "10"], "--interval needs a unit: 10s, 10m or 10h\n"),
        (["--interval", "0s"], "--interval must be longer than nothing, such as 10s\n"),
        (["--force"], "--force is for one heal"),
        (["-C"], "--watch heals and --check only looks: give one of them\n"),
        (["-l", "h7"], 'no host or group matches "h7"'),
    ],
)
def test_what_is_wrong_at_first_ends_it_with_2(watched, engine, argv, told_as):
    shown, waits = watched(argv=(*IN, *argv))
    assert shown.exit == 2
    assert shown.err.startswith(f"error: {told_as}")
    assert (waits, engine.changes) == ([], [])


def test_an_invalid_inventory_at_first_ends_it_with_2(watched, here):
    (here / "inv.yml").write_text("all: [")
    shown, waits = watched()
    assert (shown.exit, waits) == (2, [])
    assert shown.err.startswith("error: inv.yml")


def test_an_interval_without_watch_is_refused(typed, engine):
    refused = typed("heal", *IN, "--interval", "5s")
    assert (refused.exit, refused.err) == (2, "error: --interval goes with --watch\n")
