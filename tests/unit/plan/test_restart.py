"""A restart: replicas one at a time, by the release that each runs, new before old where another instance fits."""

from __future__ import annotations

import pytest

from fleetctl.model.plan import AwaitReady, HeldKind, Start
from fleetctl.model.snapshot import Phase
from fleetctl.plan.reconcile import refusals
from tests.unit.plan.fleets import Fleet, actions, fixed, instance, job, names
from tests.unit.plan.test_deploy import steps


@pytest.fixture
def fleet() -> Fleet:
    """Three replicas on the first three of four hosts, good and ready."""
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=3, max_unavailable=2))
    return fleet


def test_one_replica_at_a_time_new_before_old_on_its_own_host(fleet):
    before = {name.split("@")[0]: host for name, host in fleet.running().items()}
    (plan,) = fleet.restart("web")
    assert steps(plan) == [
        step
        for index in range(3)
        for step in (f"Start web.{index}@2", f"AwaitReady web.{index}@2", f"Stop web.{index}@1")
    ]
    assert {name.split("@")[0]: host for name, host in fleet.running().items()} == before
    assert all(name.endswith("@2") for name in fleet.running())


def test_a_second_restart_restarts_again_and_a_heal_does_not(fleet):
    fleet.restart("web")
    assert fleet.heal() == []
    fleet.restart("web")
    assert all(name.endswith("@3") for name in fleet.running())


def test_it_restarts_what_runs_and_not_what_is_wished(fleet):
    fleet.wish(job(replicas=3, command=("./web", "2")))
    assert {start.release for start in actions(fleet.restart("web"), Start)} == {1}


def test_where_no_second_copy_fits_it_stops_first_within_the_budget():
    fleet = Fleet.of(*names(2))
    fleet.deploy(job(replicas=2, ports=fixed(8080)))
    (plan,) = fleet.restart("web")
    assert steps(plan)[:3] == ["Stop web.0@1", "Start web.0@2", "AwaitReady web.0@2"]
    assert steps(plan)[3:] == ["Stop web.1@1", "Start web.1@2", "AwaitReady web.1@2"]


def test_what_is_down_is_restarted_first_and_for_free(fleet):
    fleet.put("h2", instance("web.1@1", Phase.UNREADY))
    fleet.put("h3", instance("web.2@1", Phase.WAITING))
    (plan,) = fleet.restart("web")
    assert steps(plan)[:3] == ["Stop web.1@1 web.2@1", "Start web.1@2 web.2@2", "AwaitReady web.1@2 web.2@2"]
    assert steps(plan)[3] == "Start web.0@2"


def test_stop_first_waits_while_the_budget_is_used():
    fleet = Fleet.of(*names(3))
    fleet.deploy(job(replicas=3, ports=fixed(8080)))
    fleet.doubt("h1")
    assert fleet.restart("web") == []
    (held,) = fleet.held(HeldKind.BUDGET)
    assert "web.1, web.2 can't be restarted: budget 1 of 1 used by web.0 (unknown: h1 is suspect)" in held.reason


def test_one_that_does_not_get_ready_again_is_enough(fleet):
    fleet.refuses = lambda action: isinstance(action, AwaitReady)
    assert len(fleet.restart("web")) == 1
    assert sorted(fleet.running()) == ["web.0@1", "web.0@2", "web.1@1", "web.2@1"]
    (held,) = fleet.held(HeldKind.STALLED_ROLLOUT)
    assert held.reason == "web.1, web.2 of web are not restarted: web.0@2 on h1 did not get ready"


def test_a_cordoned_host_gets_none_of_it(fleet):
    fleet.cordon("h2")
    fleet.restart("web")
    assert "h2" not in fleet.running().values()


def test_a_fixed_port_on_a_cordoned_host_holds_it_and_says_what_to_do():
    fleet = Fleet.of("h1")
    fleet.deploy(job(ports=fixed(8080)))
    fleet.cordon("h1")
    assert fleet.restart("web") == []
    (held,) = fleet.held(HeldKind.CORDON)
    assert held.reason.startswith("web.0 can't be restarted")
    assert held.reason.endswith("fleetctl uncordon h1")


def test_a_stopped_job_stays_stopped(fleet):
    fleet.stop("web")
    assert fleet.restart("web") == []


def test_only_the_named_job_is_restarted(fleet):
    fleet.deploy(job("db"))
    before = fleet.running("db")
    fleet.restart("web")
    assert fleet.running("db") == before


def test_where_none_may_be_down_and_no_second_copy_fits_it_is_refused():
    fleet = Fleet.of("h1")
    fleet.deploy(job(ports=fixed(8080), max_unavailable=0))
    fleet.fresh_from = {"web": fleet.generation + 1}
    (reason,) = refusals(fleet.desired(), fleet.snapshot(), fleet.verdicts(), fleet.memory())
    assert "web.0 can't be restarted: no host has room for a second copy" in reason


def test_a_restart_cut_off_after_any_action_leaves_every_replica_once(fleet):
    whole = fleet.decide()
    assert whole.stages == ()
    for done in range(10):
        again = Fleet.of(*names(4))
        again.deploy(job(replicas=3))
        again.fresh_from = {"web": again.generation + 1}
        again.apply(again.decide(), actions=done)
        again.fresh_from = {}
        again.heal()
        assert sorted(name.split("@")[0] for name in again.running()) == ["web.0", "web.1", "web.2"]
