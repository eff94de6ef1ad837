"""Cordons, drains, hosts gone from the inventory: no new work there, and what is there moves off under the budget."""

from __future__ import annotations

import pytest

from fleetctl.model.plan import HeldKind, Start, Stop
from fleetctl.model.snapshot import Phase
from tests.unit.plan.fleets import Fleet, actions, fixed, host, instance, job, names, resources

NEW = ("./web", "2")


@pytest.fixture
def fleet() -> Fleet:
    """Four replicas on the first four of five hosts, good and ready."""
    fleet = Fleet.of(*names(5))
    fleet.deploy(job(replicas=4))
    return fleet


def blocks(fleet: Fleet) -> list[tuple[str, str]]:
    return [(held.subject, held.reason) for held in fleet.held(HeldKind.CORDON)]


def kinds(plan) -> list[str]:
    return [type(stage.actions[0]).__name__ for stage in plan.stages]


# -- cordons


def test_a_cordoned_host_keeps_what_it_has_and_gets_nothing_new(fleet):
    fleet.cordon("h2", "h5")
    assert fleet.heal() == []
    fleet.lose("h1")
    (plan,) = fleet.heal()
    assert {start.host for start in actions(plan, Start)} <= {"h3", "h4"}
    assert fleet.where("web.1") == ["h2"]


def test_what_has_room_only_on_cordoned_hosts_says_so():
    fleet = Fleet.of("h1", "h2", "h3")
    fleet.deploy(job(replicas=2, ports=fixed(8080)))
    fleet.cordon("h3")
    fleet.lose("h1")
    assert fleet.heal() == []
    (held,) = fleet.held(HeldKind.CORDON)
    assert held.subject == "web.0"
    assert "cordoned" in held.reason
    assert "fleetctl uncordon h3" in held.reason


def test_a_deploy_replaces_what_is_on_a_cordoned_host_elsewhere(fleet):
    fleet.cordon("h2")
    fleet.deploy(job(replicas=4, command=NEW))
    assert "h2" not in fleet.running().values()


def test_a_deploy_never_stops_first_on_a_cordoned_host_and_says_what_to_do():
    fleet = Fleet.of("h1", "h2")
    fleet.deploy(job(replicas=2, ports=fixed(8080)))
    fleet.cordon("h2")
    fleet.deploy(job(replicas=2, ports=fixed(8080), command=NEW))
    assert sorted(fleet.running()) == ["web.0@2", "web.1@1"]
    ((subject, reason),) = blocks(fleet)
    assert subject == "web"
    assert "web.1 can't get release 2" in reason
    assert reason.endswith("fleetctl uncordon h2")


def test_cordoned_hosts_count_where_too_much_is_lost(fleet):
    fleet.cordon("h1", "h2")
    fleet.lose("h3", "h4")
    assert len(actions(fleet.heal(), Start)) == 2
    fleet.lose("h5")
    assert fleet.heal() == []
    assert fleet.held(HeldKind.TOO_MUCH_LOST)


# -- drains


def test_a_drain_starts_elsewhere_sees_it_ready_and_then_stops_the_old_one(fleet):
    (plan,) = fleet.drain("h2")
    assert kinds(plan) == ["Upload", "Start", "AwaitReady", "Stop"]
    (start,) = actions(plan, Start)
    assert (str(start.instance.replica), start.host) == ("web.1", "h5")
    assert start.reason == "web.1@1 on h2 leaves its host, which is drained by anna"
    assert fleet.where("web.1") == ["h5"]
    assert fleet.heal() == []
    assert fleet.plan.held == ()


def test_a_drain_is_no_deploy_what_moves_keeps_its_release(fleet):
    fleet.wish(job(replicas=4, command=NEW))
    (start,) = actions(fleet.drain("h2"), Start)
    assert start.release == 1


def test_a_deploy_during_a_drain_moves_with_the_new_release(fleet):
    fleet.wish(job(replicas=4, command=NEW))
    fleet.cordon("h2", drains=True)
    fleet.redeploy("web")
    assert {row.release for machine in fleet.machines.values() for row in alive(machine)} == {2}
    assert "h2" not in fleet.running().values()


def alive(machine):
    return [row for row in machine.rows.values() if row.phase.wants_to_run]


def test_a_drain_of_many_copies_of_one_job_goes_under_its_budget():
    fleet = Fleet.of(host("h1", cpu=8000), "h2")
    fleet.cordon("h2")
    fleet.deploy(job(replicas=3))
    fleet.uncordon("h2")
    (plan,) = fleet.drain("h1")
    assert kinds(plan) == ["Upload", *["Start", "AwaitReady", "Stop"] * 3]
    assert set(fleet.running().values()) == {"h2"}


def test_what_is_down_on_a_drained_host_moves_first_and_for_free(fleet):
    fleet.put("h2", instance("web.1@1", Phase.WAITING))
    (plan,) = fleet.drain("h2")
    assert kinds(plan) == ["Upload", "Stop", "Start", "AwaitReady"]


def test_a_drain_never_stops_first_and_says_what_it_waits_for():
    fleet = Fleet.of(*names(3))
    fleet.deploy(job(replicas=3, ports=fixed(8080)))
    assert fleet.drain("h3") == []
    ((subject, reason),) = blocks(fleet)
    assert subject == "h3"
    assert reason == "h3 still has web.2@1: no host has room (port 8080 taken on 2 of 3 hosts, cordoned 1)"


def test_a_drain_goes_on_in_every_heal_once_there_is_room():
    fleet = Fleet.of(*names(3))
    fleet.deploy(job(replicas=3, ports=fixed(8080)))
    fleet.drain("h3")
    fleet.wish(job(replicas=2, ports=fixed(8080)))
    fleet.heal()
    assert "h3" not in fleet.running().values()
    assert fleet.heal() == []


def test_a_drain_waits_while_a_surge_of_the_job_is_unfinished(fleet):
    fleet.put("h5", instance("web.0@2", Phase.STARTING, age_s=301.0))
    assert fleet.drain("h2") == []
    ((subject, reason),) = blocks(fleet)
    assert subject == "h2"
    assert "h2 still has web.1@1: budget 0 of 1 used by web.0 (web.0@2 on h5 is not ready)" in reason


def test_a_copy_that_does_not_get_ready_elsewhere_leaves_the_old_one_serving(fleet):
    fleet.refuses = lambda action: type(action).__name__ == "AwaitReady"
    fleet.drain("h2")
    assert fleet.where("web.1") == ["h2", "h5"]
    ((subject, reason),) = blocks(fleet)
    assert subject == "h2"
    assert "web.1@2 on h5 is not ready" in reason


def test_what_ended_for_good_elsewhere_is_tried_once_a_run(fleet):
    def fails(action):
        if type(action).__name__ != "AwaitReady":
            return False
        fleet.machines[action.host].rows[action.instance] = instance(str(action.instance), Phase.FAILED)
        return True

    fleet.refuses = fails
    assert len(actions(fleet.drain("h2"), Start)) == 1
    assert fleet.where("web.1") == ["h2"]
    ((_, reason),) = blocks(fleet)
    assert "web.1@2 on h5 did not get ready" in reason


def test_a_newer_copy_that_is_not_ready_leaves_a_drained_host_while_the_older_serves(fleet):
    fleet.put("h5", instance("web.1@2", Phase.STARTING, age_s=301.0))
    (plan,) = fleet.drain("h5")
    assert [str(stop.instance) for stop in actions(plan, Stop)] == ["web.1@2"]
    assert fleet.where("web.1") == ["h2"]


def test_a_suspect_host_is_not_drained(fleet):
    fleet.doubt("h2")
    assert fleet.drain("h2") == []
    assert fleet.held(HeldKind.SUSPECT)


def test_what_no_wish_names_stays_on_a_drained_host(fleet):
    fleet.put("h5", instance("old.0@1"))
    assert fleet.drain("h5") == []
    assert fleet.held(HeldKind.UNWISHED)


def test_a_stop_that_failed_keeps_a_drain_from_doubling(fleet):
    fleet.refuses = lambda action: isinstance(action, Stop)
    plans = fleet.drain("h2")
    assert len(actions(plans, Start)) == 1


# -- hosts gone from the inventory


def test_a_host_gone_from_the_inventory_is_drained(fleet):
    fleet.take_out_of_the_inventory("h2")
    (plan,) = fleet.heal()
    assert kinds(plan) == ["Upload", "Start", "AwaitReady", "Stop"]
    (start,) = actions(plan, Start)
    assert start.reason == "web.1@1 on h2 leaves its host, which is gone from the inventory"
    assert fleet.heal() == []


def test_nothing_is_ever_placed_on_a_host_gone_from_the_inventory(fleet):
    fleet.take_out_of_the_inventory("h5")
    fleet.lose("h2")
    fleet.heal()
    fleet.deploy(job(replicas=4, command=NEW))
    assert "h5" not in fleet.running().values()


def test_a_host_gone_from_the_inventory_that_is_suspect_says_how_to_forget_it(fleet):
    fleet.take_out_of_the_inventory("h2")
    fleet.doubt("h2")
    assert fleet.heal() == []
    (held,) = fleet.held(HeldKind.SUSPECT)
    assert "h2 is gone from the inventory and suspect" in held.reason
    assert held.reason.endswith("if it is no more: fleetctl hosts --forget h2")


def test_a_lost_host_gone_from_the_inventory_has_its_work_moved(fleet):
    fleet.lose("h2")
    fleet.take_out_of_the_inventory("h2")
    (start,) = actions(fleet.heal(), Start)
    assert str(start.instance.replica) == "web.1"


def test_surplus_on_a_gone_host_is_stopped_as_anywhere(fleet):
    fleet.take_out_of_the_inventory("h4")
    fleet.wish(job(replicas=3))
    assert [str(stop.instance) for stop in actions(fleet.heal(), Stop)] == ["web.3@1"]


@pytest.mark.parametrize("deploys", [False, True])
def test_half_an_inventory_drains_nothing_until_forced(fleet, deploys):
    fleet.take_out_of_the_inventory("h1", "h2", "h3")
    jobs = ["web"] if deploys else []
    assert fleet.redeploy(*jobs) == []
    (held,) = fleet.held(HeldKind.TOO_MUCH_LOST)
    assert "3 of 5 known hosts are gone from the inventory (h1, h2, h3)" in held.reason
    assert held.reason.endswith("--force")
    fleet.redeploy(*jobs, force=True)
    assert set(fleet.running().values()) == {"h4", "h5"}


def test_half_an_inventory_keeps_nobody_from_being_brought_back(fleet):
    fleet.take_out_of_the_inventory("h1", "h2", "h3")
    fleet.put("h4", instance("web.3@1", Phase.STOPPED))
    assert [str(start.instance.replica) for start in actions(fleet.heal(), Start)] == ["web.3"]


def test_one_of_two_hosts_gone_is_no_half_inventory():
    fleet = Fleet.of("h1", "h2")
    fleet.deploy(job())
    (there,) = fleet.where("web.0")
    fleet.take_out_of_the_inventory(there)
    fleet.heal()
    assert fleet.where("web.0") != [there]


def test_a_full_host_gets_no_drained_work():
    fleet = Fleet.of(host("h1", memory=4), host("h2", memory=4))
    fleet.deploy(job(replicas=2, resources=resources(memory=3)))
    assert fleet.drain("h1") == []
    ((_, reason),) = blocks(fleet)
    assert "no host has room (cordoned 1 of 2 hosts, memory short on 1)" in reason
