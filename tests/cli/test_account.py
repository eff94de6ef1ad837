"""What a heal tells in a pipe: what was found, done and needs a human; the next one only what changed since."""

from contextlib import closing
from dataclasses import replace

import pytest

from fleetctl.cli.account import SAY_AGAIN_S, Account, Told, gist, told_by
from fleetctl.cli.found import doubles, found_lines
from fleetctl.clock import SystemClock
from fleetctl.engine.events import PlanMade
from fleetctl.errors import ExitCode
from fleetctl.model.plan import Held, HeldKind
from fleetctl.model.snapshot import Phase
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.state.store import RunRecord, Store
from tests.cli import given

NOW = 1_000_000.0
STOPPED = given.done(given.stopping())
MISSING = given.start("web.2@48", "h2", f"web.2 was on h3, which is lost: {given.LOST.evidence}")


def heal(seen=None, *results, code=ExitCode.DEGRADED, before=None, at=NOW, held=(), actions=(), all_of_it=False):
    """What one heal tells, and what is remembered of it."""
    view = seen or given.view(given.plan())
    told = []
    account = Account(told.extend, at, before=before, all_of_it=all_of_it)
    account.hear(PlanMade(given.plan(actions, held=held), view.desired, view.snapshot))
    account.hear(PlanMade(given.plan(held=held), view.desired, view.snapshot))
    result = given.result(code, *results, seen=view, held=held)
    kept = [line.text for line in account.close(result)]
    return [line.text for line in told], account.told, kept


def well(**more):
    view, told = given.well(), []
    account = Account(told.extend, more.pop("at", NOW), before=more["before"], all_of_it=False)
    account.hear(PlanMade(view.plan, view.desired, view.snapshot))
    kept = account.close(given.result(ExitCode.AS_WISHED, seen=view))
    return [line.text for line in told], account.told, [line.text for line in kept]


FOUND = f"found: h3 is lost: {given.LOST.evidence}"
HUMAN = "needs a human: h3 is lost; try it by hand: ssh -v -p 22 10.0.0.3"
JOBS = "web: 2 of 3 ready, release 3"
END = "prod: nothing to do; degraded: needs a human"
NO_ROOM = "needs a human: web.2: no room: memory is short on 2 of 2 hosts"


# what was found


def found(view=None, plan=None):
    seen = view or given.view(given.plan())
    return [line.text for line in found_lines(PlanMade(plan or seen.plan, seen.desired, seen.snapshot))]


def test_a_missing_replica_is_told_with_why_and_the_evidence_once():
    assert found(plan=given.plan((MISSING,))) == [FOUND, "found: web.2 was on h3, which is lost"]


def test_a_missing_replica_that_finds_no_host_is_told_with_what_holds_it_back():
    assert found(plan=given.plan(held=(given.NO_ROOM,))) == [FOUND, "found: web.2 is missing: no room"]


def test_a_replica_that_is_not_ready_is_told_with_its_phase():
    view = given.well(h2=given.reachable(given.instance("web.1@47", Phase.WAITING)))
    assert found(view) == ["found: web.1@47 on h2 is not ready: waiting"]


def test_what_runs_twice_is_told_with_which_serves_until_when():
    newer = replace(given.instance("web.1@49", Phase.STARTING), ever_ready=False)
    view = given.well(h3=given.reachable(given.instance("web.2@44"), newer))
    assert found(view) == ["found: web.1 runs twice: web.1@47 on h2 serves until web.1@49 on h3 is ready"]
    view = given.well(h3=given.reachable(given.instance("web.2@44"), given.instance("web.1@49")))
    assert found(view) == ["found: web.1 runs twice: web.1@47 on h2 ends, superseded by web.1@49 on h3"]


def test_what_is_being_stopped_or_runs_under_another_fleets_root_is_no_double():
    stopping = given.well(h3=given.reachable(given.instance("web.2@44"), given.instance("web.1@40", Phase.STOPPING)))
    assert doubles(stopping.desired, stopping.snapshot) == {}
    seen = given.reachable(given.instance("web.1@49"))
    foreign = given.well(h3=replace(seen, report=replace(seen.report, fleet="staging")))
    assert doubles(foreign.desired, foreign.snapshot) == {}


# what changed since


def test_the_first_tells_everything_in_order():
    told, _, kept = heal(None, STOPPED, held=(given.NO_ROOM,), actions=(MISSING,))
    assert told == [
        FOUND,
        "found: web.2 was on h3, which is lost",
        HUMAN,
        NO_ROOM,
        JOBS,
        "prod: 1 action done; degraded: needs a human",
    ]
    assert kept[1] == "found at first: web.2 was on h3, which is lost", "it did not last: found again, it is news"
    assert [kept[0], *kept[2:]] == [told[0], *told[2:]]


def test_a_trouble_that_lasts_is_told_once_an_hour():
    told, before, kept = heal()
    assert told == kept == [FOUND, HUMAN, JOBS, END]
    assert heal(before=before, at=NOW + SAY_AGAIN_S - 1) == ([], before, [])
    assert heal(before=before, at=NOW + SAY_AGAIN_S)[0] == told


def test_how_long_it_lasts_by_now_is_no_news():
    _, before, _ = heal()
    longer = replace(before, lines=tuple(line.replace("in 2 s", "in 63 s") for line in before.lines))
    assert heal(before=longer)[0] == []


def test_who_witnessed_it_this_time_is_no_news_and_another_sign_is():
    _, before, _ = heal()
    others = tuple(line.replace("h1 and h2", "h2").replace("port 22", "port 23") for line in before.lines)
    assert heal(before=replace(before, lines=others))[0] == []
    hung = replace(before, lines=tuple(line.replace("lost: silent", "lost: hung") for line in before.lines))
    assert heal(before=hung)[0] == [FOUND, END]


def test_a_new_trouble_is_told_alone():
    _, before, _ = heal()
    told, after, kept = heal(before=before, held=(given.NO_ROOM,))
    assert told == ["found: web.2 is missing: no room", NO_ROOM, END]
    assert kept == [FOUND, told[0], HUMAN, NO_ROOM, JOBS, END], "the next one compares with all that holds"
    assert heal(before=after, held=(given.NO_ROOM,))[0] == []


def test_a_trouble_that_ended_is_told_as_no_longer():
    _, before, _ = heal(held=(given.NO_ROOM,))
    told, after, _ = heal(before=before)
    assert told == ["no longer: web.2: no room: memory is short on 2 of 2 hosts", END]
    told, after, kept = well(before=after)
    assert told == [
        "web: 3 of 3 ready, release 3",
        "no longer: h3 is lost; try it by hand: ssh -v -p 22 10.0.0.3",
        "prod: nothing to do; as wished",
    ]
    assert kept == [told[0], told[2]]
    assert well(before=after) == ([], None, [])


def test_after_a_failed_operation_it_is_told_that_all_is_well():
    failed = Told(NOW - 60, 1, ("web: 3 of 3 ready, release 3", "prod: 1 action done, 1 failed; not as wished"))
    told, after, _ = well(before=failed)
    assert told == ["prod: nothing to do; as wished"]
    assert well(before=after) == ([], None, [])


def test_a_trouble_that_is_worded_otherwise_by_now_has_not_ended():
    full = Held("web.2", HeldKind.NO_ROOM, "cpu is short on 2 of 2 hosts")
    _, before, _ = heal(held=(given.NO_ROOM,))
    assert heal(before=before, held=(full,))[0] == ["needs a human: web.2: no room: cpu is short on 2 of 2 hosts", END]


def test_all_well_and_nothing_done_is_not_worth_a_word():
    assert well(before=None) == ([], None, [])


def test_what_was_done_is_summed_up_even_where_nothing_else_changed():
    _, before, _ = heal()
    assert heal(None, STOPPED, before=before)[0] == ["prod: 1 action done; degraded: needs a human"]


def test_another_end_is_told():
    _, before, _ = heal()
    assert heal(before=before, code=ExitCode.UNREACHED)[0] == [
        "prod: nothing to do; as wished, but some hosts could not be reached"
    ]


def test_a_terminal_is_told_everything_each_time():
    told, before, _ = heal(all_of_it=True)
    assert heal(before=before, all_of_it=True)[0] == told


def test_a_host_that_fell_silent_in_mid_run_is_told_with_the_evidence():
    view, told = given.view(given.plan()), []
    account = Account(told.extend, NOW, before=None, all_of_it=False)
    before = given.well()
    account.hear(PlanMade(before.plan, before.desired, before.snapshot))
    account.close(given.result(ExitCode.UNREACHED, seen=view))
    assert told[0].text.startswith(f"needs a human: h3 is lost: {given.LOST.evidence}; try it by hand")


def test_a_host_without_a_hint_is_told_with_the_evidence():
    doubted = HostVerdict(Health.SUSPECT, "login failed: no key", given.NOW)
    view = replace(given.well(), verdicts={"h1": given.HEALTHY, "h2": doubted, "h3": given.HEALTHY})
    told = []
    account = Account(told.extend, NOW, before=None, all_of_it=False)
    account.close(given.result(ExitCode.UNREACHED, seen=view))
    assert told[0].text == "needs a human: h2 is suspect: login failed: no key"


def test_a_crash_loop_is_no_news_because_it_is_another_process_by_now():
    line = (
        "needs a human: web.0@1: not ready: waiting, never ready in {} s, exited 0, it went to the background (pid {})"
    )
    assert (
        gist(line.format(11, 5344))
        == gist(line.format(76, 5555))
        != gist(line.replace("exited 0", "exited 1").format(11, 5344))
    )


# what earlier runs told


def ran(*, ago_s, lines=(), code=ExitCode.DEGRADED, command="heal"):
    return RunRecord(1, "prod", command, "ann@desk (pid 1)", NOW - ago_s, NOW - ago_s + 5, code, lines)


def test_the_last_heal_that_said_anything_counts_however_many_were_silent_since():
    silent = [ran(ago_s=60 * minutes) for minutes in range(1, 30)]
    told = told_by([*silent, ran(ago_s=1800, lines=("x",)), ran(ago_s=1900, lines=("y",))], "heal", NOW)
    assert (told.lines, told.exit_code, told.at_wall) == (("x",), 3, NOW - 1800)


@pytest.mark.parametrize(
    "earlier",
    [
        [],
        [ran(ago_s=SAY_AGAIN_S, lines=("x",))],
        [ran(ago_s=60, command="deploy web.yml"), ran(ago_s=120, lines=("x",))],
        [ran(ago_s=60, lines=("x",), command="heal --limit h1")],
        [ran(ago_s=60, lines=("x",), command="healthy")],
        [ran(ago_s=60, code=0), ran(ago_s=120, lines=("x",))],
    ],
)
def test_what_was_told_too_long_ago_or_before_another_command_is_told_again(earlier):
    assert told_by(earlier, "heal", NOW) is None


def test_another_heal_beside_it_makes_nothing_news():
    watched = [ran(ago_s=second, command="heal --watch", lines=("y",)) for second in range(1, 60)]
    assert told_by([*watched, ran(ago_s=60, lines=("x",))], "heal", NOW).lines == ("x",)


def test_what_cron_told_is_found_behind_an_hour_of_a_watch(typed, engine, here):
    engine.result = given.result(ExitCode.DEGRADED, held=(given.NO_ROOM,))
    with closing(Store.open(here / "state", clock=SystemClock())) as store:
        assert "needs a human: web.2: no room" in typed("heal", "-i", "inv.yml").out
        store.lock("prod", "heal").release(3, tuple(engine.kept[-1]))
        for _ in range(120):
            store.lock("prod", "heal --watch").release(3)
    assert typed("heal", "-i", "inv.yml").out == ""
