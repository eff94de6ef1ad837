"""`history`: what was done, when, by whom and why; what did nothing takes one row."""

import json
from contextlib import closing
from dataclasses import replace
from datetime import datetime

import pytest

from fleetctl.cli.screen import clean
from fleetctl.cli.show_history import PlanOfRun, folded, history_lines, is_quiet, run_story_lines
from fleetctl.clock import SystemClock
from fleetctl.errors import ExitCode
from fleetctl.model.replica import Generation
from fleetctl.state.store import RunRecord, Store
from tests.cli import given

IN = ("-i", "inv.yml")
NOON = datetime(2026, 5, 4, 12, 0, 0).astimezone().timestamp()
ANN = "ann@desk (pid 1)"


def ran(number, *, before_noon_s, command="heal", code=0, lines=(), took_s=8.0):
    began = NOON - before_noon_s
    ended = None if code is None else began + took_s
    return RunRecord(number, "prod", command, ANN, began, ended, code, tuple(lines))


PLANNED = (
    PlanOfRun(replace(given.MOVING, held=(given.NO_ROOM,)), ("done", "done", "failed", None)),
    PlanOfRun(given.first_plan(), ()),
)
HEALED = ran(
    9,
    before_noon_s=3600,
    code=1,
    lines=("found: h3 is lost: silent", "found at first: web.2 was on h3, which is lost", "needs a human: h3 is lost",
           "web: 2 of 3 ready, release 3", "prod: 2 actions done, 1 failed; not as wished: an operation failed"),
)  # fmt: skip
QUIET = [ran(number, before_noon_s=60.0 * (20 - number)) for number in range(18, 10, -1)]


def texts(lines):
    return "".join(f"{clean(line.text)}\n" for line in lines)


def test_each_run_is_a_row_with_what_came_of_it_and_quiet_ones_are_one_row():
    runs = [ran(19, before_noon_s=30, code=None), *QUIET, ran(10, before_noon_s=900, command="stop web"), HEALED,
            ran(3, before_noon_s=90_000, command="deploy web.yml", code=130, lines=("interrupted",))]  # fmt: skip
    assert (
        texts(history_lines(folded(runs), {9: PLANNED}, NOON))
        == """\
RUN    WHEN                 TOOK         WHO       COMMAND         EXIT  WHAT CAME OF IT
19     11:59:30             30 s so far  ann@desk  heal            -     still runs, or was killed
11-18  11:51:00-11:58:00    -            ann@desk  heal            0     8 runs with nothing to do; as wished
10     11:45:00             8 s          ann@desk  stop web        0     nothing to do; as wished
9      11:00:00             8 s          ann@desk  heal            1     2 of 4 actions done, 1 failed; not as \
wished: an operation failed
    found: h3 is lost: silent
    found at first: web.2 was on h3, which is lost
    needs a human: h3 is lost
    and 1 line more: fleetctl history --run 9
3      2026-05-03 11:00:00  8 s          ann@desk  deploy web.yml  130   interrupted
"""
    )


def test_before_the_first_run_there_is_nothing_to_show():
    assert texts(history_lines([], {}, NOON)) == "nothing was run here yet\n"


def test_what_did_nothing_is_folded_with_its_like_alone():
    degraded = ran(4, before_noon_s=10, code=3)
    other = ran(3, before_noon_s=10, command="heal --watch")
    loud = ran(2, before_noon_s=10, code=3, lines=("needs a human: h3 is lost",))
    rows = folded([*QUIET, degraded, other, loud, replace(loud, run=1)])
    assert [len(row) for row in rows] == [8, 1, 1, 1, 1]
    assert not is_quiet(ran(1, before_noon_s=0, code=None)), "it runs, or was killed: that is never folded"


def test_one_run_is_told_whole_with_what_became_of_each_action():
    assert (
        texts(run_story_lines(HEALED, PLANNED, NOON))
        == """\
run 9 of prod: heal
  11:00:00, 8 s, by ann@desk (pid 1); exit 1: not as wished: an operation failed

plan 48: 4 actions
  h3 is lost: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2
stage 1
  done: upload web 9f3a21c0 to h2: h2 has no copy of it
stage 2
  done: start web.2@48 on h2 (release 3, http 20021): web.2 is missing: h3 is lost
stage 3
  failed: await web.2@48 on h2: ready for 10 s, within 5 min: web.2 serves from there
  not tried: stop web.0@41 on h1 (at most 30 s): superseded by web.0@47
held back
  web.2: no room: memory is short on 2 of 2 hosts

plan 1: no actions, a changed wish alone

what it said
  found: h3 is lost: silent
  found at first: web.2 was on h3, which is lost
  needs a human: h3 is lost
  web: 2 of 3 ready, release 3
  prod: 2 actions done, 1 failed; not as wished: an operation failed
"""
    )


# from the store


@pytest.fixture
def past(here):
    """Run 1 deployed in one plan whose last step failed; then came quiet heals, and one that was killed."""
    with closing(Store.open(here / "state", clock=SystemClock())) as store:
        with store.lock("prod", "deploy web.yml") as lock:
            plan = replace(given.MOVING, generation=Generation(1), verdicts={})
            store.write_plan(lock, "prod", plan, releases=(given.RELEASE,))
            for index, outcome in enumerate(["done", "done", "failed"]):
                store.record_action(lock, plan.generation, index, outcome, "")
            lock.release(int(ExitCode.FAILED), ("web: 2 of 3 ready, release 3",))
        for _ in range(30):
            store.lock("prod", "heal").release(0)
        store.lock("prod", "cordon h1")


def test_quiet_heals_take_one_row_and_hides_nothing_behind_it(typed, past):
    shown = typed("history", *IN, "-n", "3")
    assert shown.exit == 0
    rows = [line.split()[0] for line in shown.out.splitlines() if not line.startswith(" ")]
    assert rows == ["RUN", "32", "2-31", "1"]
    assert "30 runs with nothing to do; as wished" in shown.out
    assert "2 of 4 actions done, 1 failed; not as wished: an operation failed\n    web: 2 of 3" in shown.out
    assert [line.split()[0] for line in typed("history", *IN, "-n", "1").out.splitlines()] == ["RUN", "32"]


def test_history_as_json_folds_nothing(typed, past):
    document = json.loads(typed("history", *IN, "--json", "-n", "32").out)
    assert (document["version"], document["fleet"], len(document["runs"])) == (1, "prod", 32)
    newest, *_, first = document["runs"]
    assert (newest["command"], newest["exit_code"], newest["ended"], newest["meaning"]) == ("cordon h1", *[None] * 3)
    assert (first["run"], first["exit_code"]) == (1, 1)
    assert first["actions"] == {"done": 2, "failed": 1, "unknown": 0, "not_tried": 1}
    assert first["lines"] == ["web: 2 of 3 ready, release 3"]
    assert 0 <= first["ended"] - first["started"] < 60


def test_one_run_as_it_was_written_down(typed, past):
    told = typed("history", *IN, "--run", "1")
    assert told.exit == 0
    assert "\n  failed: await web.2@48 on h2" in told.out
    document = json.loads(typed("history", *IN, "--run", "1", "--json").out)
    [plan] = document["plans"]
    assert (document["version"], document["run"], plan["generation"]) == (1, 1, 1)
    outcomes = [[action["outcome"] for action in stage] for stage in plan["stages"]]
    assert outcomes == [["done"], ["done"], ["failed", None]]
    assert plan["stages"][1][0]["reason"] == "web.2 is missing: h3 is lost"


def test_a_run_that_never_was_is_refused(typed, past):
    refused = typed("history", *IN, "--run", "999")
    assert (refused.exit, refused.err) == (2, "error: prod had no run 999\n  see: fleetctl history\n")
