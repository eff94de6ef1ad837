"""A host that comes and goes is left alone until it stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fleetctl.engine.record import remember
from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory
from fleetctl.model.snapshot import Phase, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, Sign
from fleetctl.plan.flapping import TURNS_KEPT, answered, is_flapping, turns_after
from fleetctl.plan.reconcile import make_plan
from fleetctl.plan.verdicts import verdicts
from tests.unit.plan.fleets import Fleet, instance, job

if TYPE_CHECKING:
    from fleetctl.model.plan import Plan
    from fleetctl.model.verdict import HostVerdict

NOW = Instant(5000.0)
GONE = Unreachable(Silence.SILENT, "no answer", 3)


def before(*ago_s: float, did: bool | None = True) -> HostMemory:
    return HostMemory(answered=did, turns=tuple(Instant(NOW - ago) for ago in ago_s))


def test_the_first_look_changes_nothing():
    assert turns_after(None, True, NOW) == ()
    assert turns_after(HostMemory(), False, NOW) == ()


@pytest.mark.parametrize(("was", "does"), [(True, False), (False, True)])
def test_to_begin_and_to_cease_are_changes(was, does):
    assert turns_after(before(did=was), does, NOW) == (NOW,)
    assert turns_after(before(did=was), was, NOW) == ()


def test_a_look_that_can_not_tell_is_no_change():
    assert turns_after(before(did=True), None, NOW) == ()


def test_what_lies_ten_minutes_back_is_forgotten():
    assert turns_after(before(600.0, 599.0), True, NOW) == (Instant(NOW - 599.0),)


def test_however_often_it_turns_only_so_much_is_kept():
    known = before(*(500.0 - second for second in range(100)))
    assert len(turns_after(known, False, NOW)) == TURNS_KEPT
    assert turns_after(known, False, NOW)[-1] == NOW


@pytest.mark.parametrize("count", range(5))
def test_three_changes_are_flapping(count):
    assert is_flapping((NOW,) * count) is (count >= 3)


@pytest.mark.parametrize("silence", [Silence.SILENT, Silence.REFUSED, Silence.HUNG])
def test_only_three_tries_of_a_run_tell_that_it_ceased_to_answer(silence):
    assert answered(Unreachable(silence, "no answer", 3)) is False
    assert answered(Unreachable(silence, "no answer", 2)) is None


@pytest.mark.parametrize("silence", [Silence.LOGIN, Silence.HOST_KEY, Silence.AGENT])
def test_a_no_is_no_answer_at_once(silence):
    assert answered(Unreachable(silence, "it said no", 1)) is False


def test_a_host_that_answered_but_took_no_order_did_not_cease_to_answer():
    assert answered(Unreachable(Silence.AGENT, "no space left", 0)) is None


def test_a_jump_host_that_is_down_says_nothing_of_what_is_behind_it():
    assert answered(Unreachable(Silence.JUMP, "no answer", 3)) is None


class Nights:
    """h1 with the only copy of web.0, looked at again and again, each look remembered as a run would."""

    def __init__(self) -> None:
        self.fleet = Fleet.of("h1", "h2", "h3", "h4")
        self.fleet.wish(job(), good=True)
        self.fleet.put("h1", instance("web.0@3"))
        self.memory, self.now = self.fleet.memory(), NOW

    def look(self, *, up: bool, after_s: float = 60.0) -> tuple[HostVerdict, Plan]:
        self.now = Instant(self.now + after_s)
        desired, report = self.fleet.desired(), Reachable(self.fleet.machines["h1"].report(), "10.0.0.1")
        snapshot = Snapshot(self.now, {**self.fleet.snapshot().hosts, "h1": report if up else GONE})
        judged = verdicts(desired, snapshot, (), self.memory, self.now)
        plan = make_plan(desired, snapshot, judged, self.memory, self.now)
        hosts = remember(desired, self.memory, snapshot, judged, at_start=self.memory.hosts, behind={})
        self.memory = replace(self.memory, hosts=hosts)
        return judged["h1"], plan


def test_three_changes_in_ten_minutes_hold_it_suspect_though_it_answers():
    nights = Nights()
    told = [nights.look(up=up)[0] for up in (True, False, True, False, True, True)]
    assert [one.health is Health.SUSPECT for one in told] == [False, True, False, True, True, True]
    assert [one.sign for one in told[-3:]] == [Sign.FLAPPING] * 3
    assert len({(one.evidence, one.since) for one in told[-3:]}) == 1, "told once: it stays the same while it lasts"


def test_nothing_is_done_on_a_host_that_flaps():
    nights = Nights()
    for up in (True, False, True, False):
        nights.look(up=up)
    nights.fleet.put("h1", instance("web.0@2", Phase.STARTING))  # of an older epoch: it would be stopped
    verdict, plan = nights.look(up=True)
    assert (verdict.health, verdict.sign) == (Health.SUSPECT, Sign.FLAPPING)
    assert plan.actions == ()
    for _ in range(10):
        verdict, plan = nights.look(up=True)
    assert verdict.health is Health.HEALTHY
    assert [action.host for action in plan.actions] == ["h1"]


def test_it_ends_when_fewer_than_three_changes_lie_within_ten_minutes():
    nights = Nights()
    for up in (True, False, True, False, True):
        nights.look(up=up)
    assert nights.look(up=True, after_s=419.0)[0].health is Health.SUSPECT
    assert nights.look(up=True, after_s=2.0)[0].health is Health.SUSPECT, "of four changes three are left"
    assert nights.look(up=True, after_s=60.0)[0].health is Health.HEALTHY


def test_many_looks_of_one_state_count_once():
    nights = Nights()
    for up in (True, False, False, False, False, True, True, True):
        verdict, _ = nights.look(up=up, after_s=1.0)
    assert verdict.health is Health.HEALTHY


def test_a_silent_host_that_flapped_is_not_lost():
    nights = Nights()
    for up in (True, False, True, False):
        verdict, _ = nights.look(up=up)
    assert (verdict.health, verdict.sign) == (Health.SUSPECT, Sign.FLAPPING)
