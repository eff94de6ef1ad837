"""What each value looks like in a pipe, and as JSON."""

import io
import json
from dataclasses import replace
from datetime import datetime

from fleetctl.cli.actions import result_lines
from fleetctl.cli.screen import Screen
from fleetctl.cli.show_logs import log_line
from fleetctl.cli.show_plan import plan_json, plan_lines
from fleetctl.cli.show_run import is_worth_telling, notice_lines, run_lines
from fleetctl.cli.show_status import status_json, status_lines
from fleetctl.engine.events import ActionResult, Outcome
from fleetctl.errors import ExitCode
from fleetctl.model.memory import Cordon, Incident, JobMemory, Wish
from fleetctl.model.plan import Held, HeldKind
from fleetctl.model.snapshot import Phase
from tests.cli import given

NOON = datetime(2026, 5, 4, 12, 0, 0).astimezone().timestamp()


def in_a_pipe(lines):
    out = io.StringIO()
    Screen(out, terminal=False).show(lines)
    return out.getvalue()


def on_a_terminal(lines):
    out = io.StringIO()
    screen = Screen(out, terminal=True)
    screen.show(lines)
    return out.getvalue()


# status


def shown(view):
    return status_lines(view, NOON)


def test_status_where_all_is_well():
    assert (
        in_a_pipe(shown(given.well()))
        == """\
web: 3 of 3 ready, release 3

INSTANCE  HOST  PHASE  ADDRESS         RELEASE  READY FOR  RESTARTS  LAST EXIT
web.0@47  h1    ready  10.0.0.1:20017  3        3 min      -         -
web.1@47  h2    ready  10.0.0.1:20017  3        3 min      2         exited 42
web.2@44  h3    ready  10.0.0.1:20017  3        3 min      -         -
"""
    )


def test_status_shows_what_is_unknown_and_what_heal_would_do():
    assert (
        in_a_pipe(shown(given.view()))
        == """\
web: 2 of 3 ready, release 3

INSTANCE  HOST  PHASE    ADDRESS         RELEASE  READY FOR  RESTARTS  LAST EXIT  NOTE
web.0@47  h1    ready    10.0.0.1:20017  3        3 min      -         -          -
web.1@47  h2    ready    10.0.0.1:20017  3        3 min      2         exited 42  -
web.2@44  h3    unknown  10.0.0.1:20017  3        -          -         -          h3 gives no report; heal would \
start it on h2

h3 is lost: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2
  try it by hand: ssh -v -p 22 10.0.0.3

`fleetctl heal` would take 4 actions: see `fleetctl heal --check`
"""
    )


def test_status_shows_a_replica_that_has_no_instance_with_the_reason():
    seen = given.view(given.plan(held=(given.NO_ROOM,)))
    lost_without_memory = replace(seen, memory=replace(seen.memory, hosts={}))
    told = in_a_pipe(shown(lost_without_memory))
    assert (
        "web.2     -     missing  -               -        -          -         -          held back: no room" in told
    )
    assert "held back\n  web.2: no room: memory is short on 2 of 2 hosts\n" in told


def test_status_shows_both_copies_of_a_replica_newest_first():
    twice = given.view(h2=given.reachable(given.instance("web.0@48"), given.instance("web.1@47")))
    rows = [line.split()[:2] for line in in_a_pipe(shown(twice)).splitlines() if line.startswith("web.0@")]
    assert rows == [["web.0@48", "h2"], ["web.0@47", "h1"]]


def test_status_leaves_out_what_has_stopped_and_shows_why_one_fails():
    seen = given.view(h1=given.reachable(given.instance("web.0@47", Phase.STOPPED), given.CRASHING))
    told = in_a_pipe(shown(seen))
    assert "web.0@47" not in told
    assert "crash_looping: 5 exits in 10 min" in told


def test_status_says_once_where_no_limit_binds_what_runs_and_why():
    why = "advisory: no cgroup v2 controllers; instead its processes are the first to go"
    first, second = (given.instance(f"web.{n}@47", limits=why) for n in (0, 1))
    bound = given.instance("web.2@44", limits="cgroup: memory 40.0 MiB, no swap, pids 32")
    told = in_a_pipe(
        shown(given.well(h1=given.reachable(first), h2=given.reachable(second), h3=given.reachable(bound)))
    )
    assert told.endswith("\n\nlimits are advisory on h1, h2: no cgroup v2 controllers\n")


def remembered(view, **memory):
    return replace(view, memory=replace(view.memory, **memory))


NEWER = given.instance("web.1@49", Phase.STARTING, ever_ready=False)
SCALED = Wish("web", 3, 3, stopped=True, owner="playbooks/web.yml", orphan=True, scaled=True)
MARKED = remembered(
    given.well(h3=given.reachable(given.instance("web.2@44"), NEWER)),
    cordons={"h2": Cordon("ann@desk", NOON - 3600, "new disk", drains=True), "h1": Cordon("bob@lap", NOON - 90_000)},
    jobs={"web": JobMemory(SCALED, {3: given.RELEASE})},
    incidents=(
        Incident("h3", "host", "h3 is lost: silent", NOON - 60),
        Incident("web", "job", "bad", NOON - 120, told=True),
    ),
)


def test_status_tells_what_runs_twice_whose_words_stand_and_which_troubles_are_open():
    told = in_a_pipe(shown(MARKED))
    assert (
        """
web.1 runs twice: web.1@47 on h2 serves until web.1@49 on h3 is ready
h1 is cordoned by bob@lap, since 2026-05-03 11:00:00
h2 is draining, by ann@desk: new disk, since 11:00:00
web is gone from playbooks/web.yml
web was scaled to 3 by a person: its next deploy sets what its playbook says
open since 11:58:00: bad
open since 11:59:00 (not told yet): h3 is lost: silent
"""
        in told
    )


def test_status_as_json_tells_the_same():
    document = json.loads(json.dumps(status_json(MARKED, ExitCode.AS_WISHED)))
    assert document["doubles"] == [
        {"replica": "web.1", "what": "web.1 runs twice: web.1@47 on h2 serves until web.1@49 on h3 is ready"}
    ]
    assert document["cordons"][1] == {
        "host": "h2", "drains": True, "by": "ann@desk", "since": NOON - 3600, "why": "new disk"
    }  # fmt: skip
    assert document["incidents"][0] == {
        "subject": "web", "kind": "job", "what": "bad", "since": NOON - 120, "told": True, "members": []
    }  # fmt: skip
    [web] = document["jobs"]
    assert (web["owner"], web["orphan"], web["scaled"]) == ("playbooks/web.yml", True, True)


def test_status_as_json():
    document = json.loads(json.dumps(status_json(given.view(), ExitCode.UNREACHED)))
    assert document["version"] == 1
    assert document["exit_code"] == 4
    assert document["jobs"] == [
        {"job": "web", "replicas": 3, "ready": 2, "release": 3, "good_release": 3, "running_releases": [3],
         "stopped": False, "owner": "playbooks/web.yml", "orphan": False, "scaled": False}
    ]  # fmt: skip
    assert (document["doubles"], document["cordons"], document["incidents"]) == ([], [], [])
    assert document["instances"][1] == {
        "job": "web", "replica": "web.1", "instance": "web.1@47", "host": "h2", "phase": "ready",
        "address": "10.0.0.1", "ports": {"http": 20017}, "release": 3, "pid": 4711, "ready_for_s": 200.0,
        "ever_ready": True, "restarts": 2, "last_exit": "exited 42", "note": "", "dropped_bytes": 0, "reason": "",
        "problem": None, "said": "", "limits": None, "usage": None, "stuck": [],
    }  # fmt: skip
    assert document["instances"][2]["phase"] == "unknown"
    assert document["instances"][2]["pid"] is None, "nobody knows what runs there now"
    assert document["hosts"][2]["verdict"] == "lost"
    assert document["heal_would"] == 4


# plan


def test_a_plan_gives_each_action_its_reason_by_stage():
    assert (
        in_a_pipe(plan_lines(replace(given.MOVING, held=(given.NO_ROOM,))))
        == """\
plan 48: 4 actions in 3 stages, one stage after the other
stage 1
  upload web 9f3a21c0 to h2: h2 has no copy of it
stage 2
  start web.2@48 on h2 (release 3, http 20021): web.2 is missing: h3 is lost
stage 3
  await web.2@48 on h2: ready for 10 s, within 5 min: web.2 serves from there
  stop web.0@41 on h1 (at most 30 s): superseded by web.0@47
held back
  web.2: no room: memory is short on 2 of 2 hosts
"""
    )


def test_an_empty_plan_says_nothing():
    assert in_a_pipe(plan_lines(given.plan())) == ""


def test_a_plan_as_json():
    document = json.loads(
        json.dumps(plan_json("prod", replace(given.MOVING, held=(given.NO_ROOM,)), ExitCode.DEGRADED))
    )
    assert (document["version"], document["generation"], document["exit_code"]) == (1, 48, 3)
    assert [[action["action"] for action in stage] for stage in document["stages"]] == [
        ["upload"],
        ["start"],
        ["await ready", "stop"],
    ]
    assert document["stages"][1][0] == {
        "action": "start", "host": "h2", "epoch": 48, "reason": "web.2 is missing: h3 is lost",
        "instance": "web.2@48", "release": 3, "ports": {"http": 20021},
    }  # fmt: skip
    assert document["held"] == [{"subject": "web.2", "kind": "no room", "reason": "memory is short on 2 of 2 hosts"}]


# a run


def test_each_action_that_ended_is_one_line():
    ended = [given.done(given.upload()), given.done(given.start("web.2@48", "h2")), given.done(given.gate()),
             given.done(given.stopping(), "killed by 15")]  # fmt: skip
    assert (
        in_a_pipe(line for one in ended for line in result_lines(one))
        == """\
uploaded web 9f3a21c0 to h2
started web.2@48 on h2 (release 3): web.2 is missing: h3 is lost
ready: web.2@48 on h2
stopped web.0@41 on h1 (killed by 15): superseded by web.0@47
"""
    )


def test_a_failed_gate_shows_the_instances_last_words():
    failed = ActionResult(given.gate(), Outcome.FAILED, "not ready after 300 s", "see its log", ("no database", "bye"))
    assert (
        in_a_pipe(result_lines(failed))
        == """\
failed: await web.2@48 on h2: ready for 10 s, within 5 min: not ready after 300 s
  see its log
  | no database
  | bye
"""
    )


def test_an_order_without_an_answer_is_told_as_unknown():
    lost = ActionResult(given.start("web.2@48", "h2"), Outcome.UNKNOWN, "no answer in 30 s")
    assert (
        in_a_pipe(result_lines(lost))
        == """\
no answer: start web.2@48 on h2 (release 3, http 20021): no answer in 30 s
  it is not known whether that happened; the next look tells
"""
    )


def test_a_run_ends_with_what_was_found_what_is_held_and_a_summary():
    ended = given.result(ExitCode.DEGRADED, given.done(given.stopping()), seen=given.view(), held=(given.NO_ROOM,))
    assert (
        in_a_pipe(run_lines(ended))
        == """\
needs a human: h3 is lost: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2; \
try it by hand: ssh -v -p 22 10.0.0.3
needs a human: web.2: no room: memory is short on 2 of 2 hosts
web: 2 of 3 ready, release 3
prod: 1 action done; degraded: needs a human
"""
    )


def test_what_needs_no_human_is_told_as_it_is():
    waiting = Held("web.1", HeldKind.WAITING, "web.1@47 is starting")
    orphan = Held("old", HeldKind.ORPHAN, "playbooks/web.yml has it no more")
    told = in_a_pipe(run_lines(given.result(ExitCode.AS_WISHED, held=(waiting, orphan))))
    assert told.startswith(
        "old: gone from its playbook: playbooks/web.yml has it no more\nweb.1: waiting: web.1@47 is starting\n"
    )


def test_a_notice_is_told_as_a_notice():
    notice = Held("web", HeldKind.NOTICE, "web was scaled to 5 by a person: this deploy sets 3")
    plan = given.plan(held=(notice, given.NO_ROOM))
    assert in_a_pipe(notice_lines(plan)) == "notice: web was scaled to 5 by a person: this deploy sets 3\n"
    assert "notice" not in in_a_pipe(run_lines(given.result(ExitCode.AS_WISHED, held=(notice,)))), "said before"


def test_why_a_host_is_doubted_is_said_once():
    because = f"h3 is lost: {given.LOST.evidence}: web.2@44 there left alone"
    told = in_a_pipe(run_lines(given.result(ExitCode.DEGRADED, seen=given.view(), held=(given.doubt(because),))))
    assert told.count(given.LOST.evidence) == 1
    assert "needs a human: h3: suspect: web.2@44 there left alone\n" in told


def test_a_rollout_that_stands_still_says_which_release_runs():
    old = replace(given.instance("web.0@47"), release=2)
    told = in_a_pipe(shown(given.well(h1=given.reachable(old), h2=given.reachable(), h3=given.reachable())))
    assert told.startswith("web: 1 of 3 ready; release 3 is wished, release 2 runs\n")


def test_only_a_run_that_did_nothing_and_found_all_well_is_not_worth_telling():
    assert not is_worth_telling(given.result(ExitCode.AS_WISHED))
    assert is_worth_telling(given.result(ExitCode.AS_WISHED, given.done(given.stopping())))
    assert is_worth_telling(given.result(ExitCode.UNREACHED))
    assert is_worth_telling(given.result(ExitCode.DEGRADED))


# anything at all


def test_no_markup_and_no_control_character_of_a_host_reaches_the_terminal():
    evil = [log_line(given.said("web.1@47", "h3", "[bold]\x1b]0;owned\x07 [/nope] :smile:"))]
    for told in (in_a_pipe(evil), on_a_terminal(evil)):
        assert "[bold]\\x1b]0;owned\\x07 [/nope] :smile:" in told


def test_a_long_line_is_not_broken_or_cut_on_a_terminal():
    long = "x" * 500
    assert f"| {long}\n" in on_a_terminal([log_line(given.said("web.1@47", "h3", long))])
