"""The checker finds what is done where nothing may be done: outside a limit, on cordoned hosts, before what is overdue.

Each plan here is right for another wish than the one that it is checked against.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.model.plan import AwaitReady, Plan, Stage, Start, Stop
from fleetctl.model.replica import Generation
from tests.unit.plan.fleets import Fleet, fixed, job, names
from tests.unit.plan.test_check import all_at_once, change, found

NEW = ("./web", "2")
FIXED = {"ports": fixed(8080)}


@pytest.fixture
def fleet() -> Fleet:
    """Three replicas on the first three of four hosts, good and ready."""
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=3))
    return fleet


def draining(fleet: Fleet, *hosts: str) -> Plan:
    fleet.cordon(*hosts, drains=True)
    return fleet.decide()


# -- limits


def test_what_is_right_without_a_limit_breaks_it(fleet):
    plan = draining(fleet, "h2")
    assert found(fleet, plan) == set()
    fleet.limit = frozenset({"h1", "h3"})
    assert found(fleet, plan) == {"limit"}


def test_an_older_copy_outside_forbids_a_newer_one_inside(fleet):
    plan = draining(fleet, "h2")
    fleet.limit = frozenset({"h4"})
    only_starts = replace(plan, stages=tuple(stage for stage in plan.stages if not isinstance(stage.actions[0], Stop)))
    assert found(fleet, only_starts) == {"limit"}


def test_to_wait_for_something_outside_is_no_harm(fleet):
    plan = draining(fleet, "h2")
    (gate,) = [action for action in plan.actions if isinstance(action, AwaitReady)]
    (name,) = fleet.machines["h1"].rows
    waiting = replace(plan, stages=(Stage((replace(gate, host="h1", instance=name),)),))
    fleet.limit = frozenset()
    assert found(fleet, waiting) == set()


# -- cordons and drains


@pytest.mark.parametrize("close", ["cordon", "take_out_of_the_inventory"])
def test_a_start_on_a_host_that_takes_no_new_work(fleet, close):
    fleet.lose("h2")
    plan = fleet.decide()
    assert found(fleet, plan) == set()
    getattr(fleet, close)("h4")
    assert "cordon" in found(fleet, plan)


def test_a_drain_that_nobody_ordered_is_a_heal_that_rolls(fleet):
    plan = draining(fleet, "h2")
    fleet.cordon("h2")
    assert "heal rolls" in found(fleet, plan)


def test_a_drain_of_half_an_inventory(fleet):
    fleet.take_out_of_the_inventory("h1", "h2", "h3")
    fleet.force = True
    plan = fleet.decide()
    assert found(fleet, plan) == set()
    fleet.force = False
    assert "heal rolls" in found(fleet, plan)


def test_a_deploy_over_half_an_inventory(fleet):
    fleet.rolls = frozenset({"web"})
    fleet.take_out_of_the_inventory("h1", "h2", "h3")
    fleet.force = True
    plan = all_at_once(fleet.decide(), Stop, Start, AwaitReady)
    fleet.force = False
    assert "stop" in found(fleet, plan)


def test_a_drain_that_brings_another_release(fleet):
    fleet.wish(job(replicas=3, command=NEW))
    plan = change(draining(fleet, "h2"), Start, release=2)
    assert "release" in found(fleet, plan)


def test_a_drain_that_stops_first(fleet):
    plan = draining(fleet, "h2")
    assert "stop" in found(fleet, replace(plan, stages=plan.stages[::-1]))


def test_a_drain_of_two_at_once_is_more_than_the_budget(fleet):
    fleet.cordon("h1", "h2", drains=True)
    plan = fleet.decide()
    assert found(fleet, plan) == set()
    assert "transition" in found(fleet, all_at_once(plan, Start, AwaitReady, Stop))


# -- restarts


def test_a_restart_of_two_at_once_whatever_may_be_unavailable():
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=3, max_unavailable=3))
    fleet.fresh_from = {"web": Generation(2)}
    plan = fleet.decide()
    assert found(fleet, plan) == set()
    assert found(fleet, all_at_once(plan, Start, AwaitReady, Stop)) == {"transition"}


def test_a_restart_of_what_was_just_restarted(fleet):
    fleet.fresh_from = {"web": Generation(2)}
    plan = fleet.decide()
    fleet.fresh_from = {"web": Generation(1)}
    assert "heal rolls" in found(fleet, plan)


# -- silent hosts


def silent(*, allowed: int) -> Fleet:
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=4, **FIXED))
    fleet.doubt("h2")
    fleet.wish(job(replicas=4, command=NEW, **FIXED))
    fleet.rolls, fleet.allow_unreachable = frozenset({"web"}), allowed
    return fleet


def test_a_silent_host_counts_unless_it_was_allowed_for():
    fleet = silent(allowed=1)
    plan = fleet.decide()
    assert found(fleet, plan) == set()
    fleet.allow_unreachable = 0
    assert found(fleet, plan) == {"budget"}


def test_it_is_hosts_that_are_allowed_for_and_no_more_than_that():
    fleet = silent(allowed=1)
    plan = fleet.decide()
    fleet.doubt("h1")
    fleet.force = True
    assert "budget" in found(fleet, plan)


def test_what_is_started_on_a_host_before_it_is_brought_up_to_date():
    fleet = silent(allowed=1)
    fleet.redeploy("web", allow_unreachable=1)
    fleet.jobs["web"] = replace(fleet.jobs["web"], good=frozenset({1, 2}))
    fleet.come_back("h2")
    fleet.wish(job("db", hosts="h2"))
    fleet.behind, behind = {}, fleet.behind
    plan = fleet.decide()
    assert found(fleet, plan) == set()
    fleet.behind = behind
    assert found(fleet, plan) == {"behind"}
