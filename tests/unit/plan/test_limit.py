"""`--limit` freezes, it does not hide: all is observed and counted, nothing outside is started or stopped."""

from __future__ import annotations

import pytest

from fleetctl.model.plan import HARMLESS, AwaitReady, HeldKind, Start, Stop
from fleetctl.model.snapshot import Phase, Problem, ProblemKind
from tests.unit.plan.fleets import Fleet, actions, fixed, host, instance, job, names, resources

NEW = ("./web", "2")


@pytest.fixture
def fleet() -> Fleet:
    """Four replicas on the first four of five hosts, good and ready."""
    fleet = Fleet.of(*names(5))
    fleet.deploy(job(replicas=4))
    return fleet


def frozen(fleet: Fleet) -> list[str]:
    return [held.reason for held in fleet.held(HeldKind.LIMIT)]


def hosts_of(plans) -> set[str]:
    return {action.host for action in actions(plans, Start) + actions(plans, Stop)}


def test_a_deploy_rolls_only_what_is_inside_and_says_what_stays(fleet):
    fleet.wish(job(replicas=4, command=NEW))
    plans = fleet.redeploy("web", limit=["h1", "h2"])
    assert hosts_of(plans) == {"h1", "h2"}
    assert sorted(fleet.running()) == ["web.0@2", "web.1@2", "web.2@1", "web.3@1"]
    assert frozen(fleet) == ["web.2, web.3 stay as they are: outside --limit"]
    assert {held.kind for held in fleet.plan.held} <= HARMLESS


def test_a_deploy_without_the_limit_then_brings_out_the_rest(fleet):
    fleet.wish(job(replicas=4, command=NEW))
    fleet.redeploy("web", limit=["h1"])
    fleet.redeploy("web")
    assert all(row.release == 2 for machine in fleet.machines.values() for row in running(machine))


def running(machine):
    return [row for row in machine.rows.values() if row.phase.wants_to_run]


def test_the_work_of_a_lost_host_is_started_inside_wherever_it_was(fleet):
    fleet.lose("h2")
    (plan,) = fleet.heal(limit=["h1", "h5"])
    assert [(start.host, str(start.instance.replica)) for start in actions(plan, Start)] == [("h5", "web.1")]


def test_what_has_no_room_inside_is_missing_and_no_harmless_matter():
    fleet = Fleet.of("h1", "h2", "h3")
    fleet.deploy(job(replicas=2, ports=fixed(8080)))
    fleet.lose("h2")
    assert fleet.heal(limit=["h1"]) == []
    (held,) = fleet.held(HeldKind.NO_ROOM)
    assert "outside --limit" in held.reason


def test_surplus_and_stopped_jobs_stay_outside(fleet):
    fleet.wish(job(replicas=2))
    plans = fleet.heal(limit=["h1", "h3"])
    assert [str(stop.instance) for stop in actions(plans, Stop)] == ["web.2@1"]
    assert frozen(fleet) == ["web.3 stay as they are: outside --limit"]


def test_a_superseded_copy_outside_stays_until_the_limit_is_gone(fleet):
    fleet.lose("h2")
    fleet.heal()
    fleet.come_back("h2")
    assert fleet.heal(limit=["h5"]) == []
    assert frozen(fleet) == ["web.1 stay as they are: outside --limit"]
    fleet.heal()
    assert fleet.where("web.1") == ["h5"]


def test_a_stop_that_was_ordered_before_is_not_ordered_again_outside(fleet):
    fleet.put("h2", instance("web.1@1", Phase.STOPPING))
    assert "h2" not in hosts_of(fleet.heal(limit=["h1", "h5"]))


def test_what_starts_outside_is_awaited_and_what_it_supersedes_there_stays(fleet):
    fleet.put("h5", instance("web.1@2", Phase.STARTING, age_s=10.0))
    plans = fleet.heal(limit=["h1"])
    assert [str(gate.instance) for gate in actions(plans, AwaitReady)] == ["web.1@2"]
    assert fleet.where("web.1") == ["h2", "h5"]
    assert frozen(fleet)


def test_a_replica_that_is_down_outside_counts_against_the_budget():
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=4, ports=fixed(8080)))
    fleet.put("h1", instance("web.0@1", Phase.UNREADY, ports=(("http", 8080),)))
    fleet.wish(job(replicas=4, ports=fixed(8080), command=NEW))
    assert fleet.redeploy("web", limit=["h2", "h3", "h4"]) == []
    (held,) = fleet.held(HeldKind.BUDGET)
    assert "web.1, web.2, web.3 can't get release 2: budget 1 of 1 used by web.0" in held.reason
    assert fleet.held(HeldKind.NOT_READY), "it is down, and nothing is done about it"


def test_a_surge_never_goes_outside_even_where_there_is_more_room():
    fleet = Fleet.of(host("h1", memory=4), host("h2", memory=8))
    fleet.deploy(job(resources=resources(memory=3), hosts="h1:h2"))
    (there,) = fleet.where("web.0")
    fleet.wish(job(resources=resources(memory=3), hosts="h1:h2", command=NEW))
    plans = fleet.redeploy("web", limit=[there])
    assert hosts_of(plans) == {there}


def test_no_replica_gets_a_newer_copy_while_its_older_one_can_not_be_stopped(fleet):
    """It serves on h2, outside; inside would be room for the new release on h5."""
    fleet.wish(job(replicas=4, command=NEW))
    assert fleet.redeploy("web", limit=["h5"]) == []
    assert frozen(fleet) == ["web.0, web.1, web.2, web.3 stay as they are: outside --limit"]


def test_a_useless_copy_of_an_earlier_deploy_stays_outside(fleet):
    fleet.put("h5", instance("web.0@2", Phase.STARTING, release=2, age_s=301.0))
    fleet.wish(job(replicas=4, command=("./broken",)))
    fleet.wish(job(replicas=4, command=("./mended",)))
    plans = fleet.redeploy("web", limit=["h1", "h2"])
    assert fleet.where("web.0") == ["h1", "h5"]
    assert "h5" not in hosts_of(plans)


def test_what_a_stalled_rollout_left_outside_is_not_brought_back_beside_it():
    fleet = Fleet.of(*names(4))
    fleet.wish(job(replicas=1), good=True)
    fleet.put("h1", instance("web.0@1"))
    fleet.wish(job(replicas=1, command=("./web", "broken")))
    fleet.put("h3", instance("web.0@2", Phase.STARTING, release=2, age_s=301.0))
    fleet.lose("h1")
    assert fleet.heal(limit=["h2", "h4"]) == []
    assert frozen(fleet)
    assert len(actions(fleet.heal(), Start)) == 1


def test_what_crashes_outside_is_not_moved_and_told(fleet):
    crashing = Problem(ProblemKind.CRASH_LOOPING, "exited 1 five times")
    fleet.put("h2", instance("web.1@1", Phase.WAITING, problem=crashing))
    assert fleet.heal(limit=["h1", "h5"]) == []
    assert fleet.held(HeldKind.NOT_READY)


def test_a_drain_and_a_restart_stay_inside_too(fleet):
    fleet.cordon("h2", "h3", drains=True)
    assert hosts_of(fleet.heal(limit=["h2", "h5"])) == {"h2", "h5"}
    assert frozen(fleet) == ["web.2 stay as they are: outside --limit"]
    fleet.uncordon("h2", "h3")
    assert hosts_of(fleet.restart("web", limit=["h1"])) == {"h1"}


def test_a_limit_beyond_everything_touches_nothing(fleet):
    fleet.lose("h2")
    fleet.wish(job(replicas=4, command=NEW))
    assert fleet.redeploy("web", limit=[]) == []
