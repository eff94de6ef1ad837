"""`drain`: it tries until nothing of ours is left on the host, and says what blocks it, once."""

import asyncio
from dataclasses import replace

import pytest

from fleetctl.cli import driving
from fleetctl.clock import SystemClock
from fleetctl.engine.drain import TRY_EVERY_S, blocks, drain
from fleetctl.engine.events import ActionEnded
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, LiveRunError, StaleOrderError
from fleetctl.model.memory import Cordon
from fleetctl.model.plan import Held, HeldKind
from fleetctl.model.snapshot import Phase
from fleetctl.model.verdict import Health
from tests.cli import given
from tests.unit.engine.virtual import LoopClock, run_virtually

NO_ROOM = Held("web.1", HeldKind.NO_ROOM, "cpu is short on 2 of 2 hosts")
BUDGET = Held("h2", HeldKind.BUDGET, "1 of 1 of web is down")
ELSEWHERE = Held("web.0", HeldKind.NO_ROOM, "cpu is short on 2 of 2 hosts")
EMPTY = given.result(ExitCode.AS_WISHED, seen=given.well(h2=given.reachable()))


def full(*held):
    return given.result(ExitCode.DEGRADED, held=held)


# what blocks it


def test_an_empty_host_is_drained_whatever_else_is_amiss():
    assert blocks("h2", EMPTY) == ()
    assert blocks("h2", replace(EMPTY, plan=given.plan(held=(ELSEWHERE, BUDGET)))) == ()
    gone = given.reachable(given.instance("web.1@47", Phase.STOPPED), given.instance("web.2@47", Phase.FAILED))
    assert blocks("h2", given.result(ExitCode.AS_WISHED, seen=given.well(h2=gone))) == ()


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.STUCK, Phase.WAITING, Phase.UNREADY])
def test_whatever_still_holds_room_there_blocks_it(phase):
    seen = given.well(h2=given.reachable(given.instance("web.1@47", phase)))
    assert blocks("h2", given.result(ExitCode.AS_WISHED, seen=seen)) == (f"web.1@47 is still there: {phase.value}",)


def test_what_is_held_back_of_the_host_or_of_what_runs_there_is_the_reason():
    assert blocks("h2", full(NO_ROOM, BUDGET, ELSEWHERE)) == ("h2: budget: 1 of 1 of web is down",)
    assert blocks("h2", full(NO_ROOM, ELSEWHERE)) == ("web.1: no room: cpu is short on 2 of 2 hosts",)


def test_a_job_that_nobody_wishes_blocks_it_and_what_is_said_of_a_wished_one_does_not():
    unwished = Held("web", HeldKind.UNWISHED, "web runs on h2, but no wish names it: left alone")
    assert blocks("h2", full(unwished)) == (f"web: unwished: {unwished.reason}",)
    orphan = Held("web", HeldKind.ORPHAN, "web is gone from playbooks/web.yml and still runs")
    assert blocks("h2", full(orphan)) == ("web.1@47 is still there: ready",)


def test_too_much_lost_blocks_every_drain():
    lost = Held("prod", HeldKind.TOO_MUCH_LOST, "2 of 3 hosts did not answer")
    assert blocks("h2", full(lost)) == ("prod: too much lost: 2 of 3 hosts did not answer",)


def test_a_host_in_doubt_may_still_run_something():
    seen = given.view(given.plan())
    doubted = given.result(ExitCode.UNREACHED, seen=seen)
    suspect = replace(given.LOST, health=Health.SUSPECT, evidence="login failed")
    assert blocks("h3", replace(doubted, verdicts={"h3": suspect})) == ("h3 is suspect: login failed",)
    assert blocks("h3", doubted) == (), "lost: what it had is elsewhere, or would be held back"
    held = Held("h3", HeldKind.NO_ROOM, "web.2 has no host")
    assert blocks("h3", replace(doubted, plan=given.plan(held=(held,)))) == ("h3: no room: web.2 has no host",)


# the tries


class Story:
    """A drain of h2 whose tries end as told, in virtual time."""

    def __init__(self, *tries, wished=True):
        self.tries, self.wished = list(tries), wished
        self.at, self.told = [], []

    def play(self, deadline_s=600.0):
        return run_virtually(self._play(deadline_s))

    async def _play(self, deadline_s):
        return await drain(
            "h2",
            self._one_run,
            clock=LoopClock(),
            deadline_s=deadline_s,
            tell_blocked=self.told.append,
            goes_on=lambda: self.wished,
        )

    async def _one_run(self):
        self.at.append(asyncio.get_running_loop().time())
        ended = self.tries.pop(0) if len(self.tries) > 1 else self.tries[0]
        if isinstance(ended, Exception):
            raise ended
        return ended


def test_it_tries_again_every_few_seconds_and_says_what_blocks_it_only_when_that_changes():
    story = Story(full(NO_ROOM), full(NO_ROOM), full(BUDGET), full(NO_ROOM), EMPTY)
    assert story.play().blocked_by == ()
    assert story.at == [TRY_EVERY_S * number for number in range(5)]
    assert story.told == [blocks("h2", full(NO_ROOM)), blocks("h2", full(BUDGET)), blocks("h2", full(NO_ROOM))]


def test_the_deadline_ends_it_with_what_still_blocks():
    story = Story(full(NO_ROOM))
    assert story.play(deadline_s=12.0).blocked_by == blocks("h2", full(NO_ROOM))
    assert story.at == [0.0, 5.0, 10.0]


def test_a_deadline_of_0_s_is_one_try():
    story = Story(full(NO_ROOM))
    assert story.play(deadline_s=0.0).blocked_by
    assert story.at == [0.0]


def test_another_run_in_between_is_waited_out_but_not_the_first():
    assert Story(full(NO_ROOM), LiveRunError("held"), LiveRunError("held"), EMPTY).play().blocked_by == ()
    with pytest.raises(LiveRunError):
        Story(LiveRunError("held")).play()
    with pytest.raises(StaleOrderError):
        Story(full(NO_ROOM), StaleOrderError("h1", 48, "bob@lap:77")).play()


def test_it_ends_where_somebody_uncordoned_the_host_meanwhile():
    story = Story(full(NO_ROOM), wished=False)
    assert story.play().blocked_by
    assert story.at == [0.0]


# as it is typed


def test_a_drain_says_what_it_does_and_ends_with_0(typed, deployed, engine):
    step = given.done(replace(given.stopping(), host="h2", reason="h2 is drained"))
    engine.events, engine.result = (ActionEnded(step),), replace(EMPTY, results=(step,))
    drained = typed("drain", "h2", "-i", "inv.yml", "--why", "new disk")
    assert drained.exit == 0
    assert (
        drained.out
        == """\
stopped web.0@41 on h2: h2 is drained
h2 is drained: nothing of ours runs there; to end it: fleetctl uncordon h2
"""
    )
    [change] = engine.changes
    [(host, cordon)] = change.cordons
    assert (host, cordon.drains, cordon.why) == ("h2", True, "new disk")


def test_a_drain_that_is_blocked_ends_with_3_and_says_that_the_wish_stays(typed, deployed, engine, monkeypatch):
    remembered(monkeypatch, {"h2": Cordon("ann@desk", 0.0, "", drains=True)})
    engine.result = full(NO_ROOM)
    drained = typed("drain", "h2", "-i", "inv.yml", "--deadline", "0s")
    assert (drained.exit, drained.out) == (
        3,
        """\
draining h2: blocked by web.1: no room: cpu is short on 2 of 2 hosts
h2 is not drained: web.1: no room: cpu is short on 2 of 2 hosts
  the wish stays: the next heals go on with it; to end it: fleetctl uncordon h2
""",
    )


def test_only_the_first_try_sets_the_cordon(typed, deployed, engine, monkeypatch):
    remembered(monkeypatch, {"h2": Cordon("ann@desk", 0.0, "", drains=True)})
    at_once(monkeypatch)
    engine.later = [full(NO_ROOM), full(NO_ROOM), EMPTY]
    assert typed("drain", "h2", "-i", "inv.yml").exit == 0
    assert [bool(change.cordons) for change in engine.changes] == [True, False, False]
    assert engine.changes[1:] == [Change(), Change()]
    assert [bool(lines) for lines in engine.kept] == [True, False, False], "the history folds tries that did nothing"


def test_a_wrong_deadline_is_refused(typed, engine):
    refused = typed("drain", "h2", "-i", "inv.yml", "--deadline", "10")
    assert (refused.exit, refused.err) == (2, "error: --deadline needs a unit: 10s, 10m or 10h\n")
    assert engine.changes == []


def remembered(monkeypatch, cordons):
    """As the store says once the first run has written the wish down."""
    monkeypatch.setattr(driving, "cordons_of", lambda _fleet: cordons)


def at_once(monkeypatch):
    """No second passes between two tries."""

    class Hasty(SystemClock):
        async def sleep(self, seconds):
            assert seconds == TRY_EVERY_S

    monkeypatch.setattr(driving, "SystemClock", Hasty)
