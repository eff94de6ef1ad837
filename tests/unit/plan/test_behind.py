"""`--allow-unreachable`: so many silent hosts don't hold a deploy up; they are brought up to date before all else."""

from __future__ import annotations

import pytest

from fleetctl.model.memory import Failure
from fleetctl.model.plan import HeldKind, Start
from fleetctl.model.snapshot import Phase
from tests.unit.plan.fleets import Fleet, actions, fixed, instance, job, names
from tests.unit.plan.test_deploy import steps

NEW = ("./web", "2")
FIXED = {"ports": fixed(8080)}


@pytest.fixture
def fleet() -> Fleet:
    """Four replicas on four hosts, each with one fixed port: no second copy fits. h2 is silent and suspect."""
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=4, **FIXED))
    fleet.doubt("h2")
    fleet.wish(job(replicas=4, command=NEW, **FIXED))
    return fleet


def releases(fleet: Fleet) -> dict[str, int]:
    return {
        str(row.name.replica): row.release
        for machine in fleet.machines.values()
        for row in machine.rows.values()
        if row.phase.wants_to_run
    }


def test_without_it_a_silent_host_uses_up_the_budget(fleet):
    assert fleet.redeploy("web") == []
    assert fleet.behind == {}


def test_a_silent_host_does_not_count_and_is_marked_behind(fleet):
    fleet.redeploy("web", allow_unreachable=1)
    assert releases(fleet) == {"web.0": 2, "web.1": 1, "web.2": 2, "web.3": 2}
    assert fleet.behind == {"h2": {"web"}}
    assert fleet.held(HeldKind.SUSPECT)


def test_a_lost_host_does_not_count_either_where_its_work_fits_nowhere_else(fleet):
    fleet.lose("h2")
    assert fleet.redeploy("web") == []
    fleet.redeploy("web", allow_unreachable=1)
    assert releases(fleet) == {"web.0": 2, "web.1": 1, "web.2": 2, "web.3": 2}
    assert fleet.behind == {"h2": {"web"}}
    assert fleet.held(HeldKind.NO_ROOM)
    fleet.come_back("h2")
    fleet.heal()
    assert releases(fleet) == {"web.0": 2, "web.1": 2, "web.2": 2, "web.3": 2}


def test_what_failed_elsewhere_since_its_host_was_lost_counts(fleet):
    fleet.put("h3", instance("web.1@9", Phase.FAILED, ports=(("http", 8081),)))
    fleet.lose("h2")
    assert fleet.redeploy("web", allow_unreachable=1) == []


def test_no_more_hosts_are_spared_than_were_allowed(fleet):
    fleet.doubt("h3")
    fleet.force = True
    assert fleet.redeploy("web", allow_unreachable=1) == []
    (held,) = fleet.held(HeldKind.BUDGET)
    assert "budget 1 of 1 used by web.2 (unknown: h3 is suspect)" in held.reason
    assert len(fleet.redeploy("web", allow_unreachable=2)) == 1


def test_a_host_that_answers_and_is_suspect_is_not_spared():
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=4, **FIXED))
    fleet.machines["h2"].health = fleet.machines["h2"].health.SUSPECT
    fleet.wish(job(replicas=4, command=NEW, **FIXED))
    assert fleet.redeploy("web", allow_unreachable=1) == []


def test_what_else_is_down_still_counts(fleet):
    fleet.put("h1", instance("web.0@1", Phase.STOPPED, ports=(("http", 8080),)))
    fleet.machines["h1"].ports_in_use.add(8080)
    assert fleet.redeploy("web", allow_unreachable=1) == []
    assert fleet.held(HeldKind.BUDGET)


def test_the_next_heal_that_reaches_it_brings_it_up_to_date(fleet):
    fleet.redeploy("web", allow_unreachable=1)
    fleet.come_back("h2")
    (plan,) = fleet.heal()
    assert steps(plan) == [
        "Upload h2",
        "Stop web.1@1",
        "Start web.1@2".replace("@2", f"@{plan.generation}"),
        f"AwaitReady web.1@{plan.generation}",
    ]
    (start,) = actions(plan, Start)
    assert "left behind while h2 was silent: release 2 is wished" in start.reason
    assert fleet.behind == {}
    assert fleet.jobs["web"].good == {1, 2}


def test_while_it_is_silent_it_stays_behind_and_nothing_is_done(fleet):
    fleet.redeploy("web", allow_unreachable=1)
    assert fleet.heal() == []
    assert fleet.behind == {"h2": {"web"}}
    assert not fleet.held(HeldKind.STALLED_ROLLOUT)


def test_nothing_else_is_started_there_before():
    """db.0 is missing, and h2 is the best host for it."""
    fleet = Fleet.of(*names(3))
    fleet.deploy(job(replicas=3, **FIXED))
    fleet.doubt("h2")
    fleet.wish(job(replicas=3, command=NEW, **FIXED))
    fleet.redeploy("web", allow_unreachable=1)
    fleet.wish(job("db", hosts="h2"))
    fleet.come_back("h2")
    (plan,) = fleet.heal()
    order = [str(start.instance.replica) for start in actions(plan, Start)]
    assert order == ["web.1", "db.0"]
    assert steps(plan).index(f"AwaitReady web.1@{plan.generation}") < steps(plan).index(f"Start db.0@{plan.generation}")


def test_where_the_budget_holds_the_update_nothing_else_is_started_there_either():
    fleet = Fleet.of(*names(3))
    fleet.deploy(job(replicas=3, **FIXED))
    fleet.doubt("h2")
    fleet.wish(job(replicas=3, command=NEW, **FIXED))
    fleet.redeploy("web", allow_unreachable=1)
    fleet.wish(job("db", hosts="h2"))
    fleet.come_back("h2")
    fleet.doubt("h3")
    assert fleet.heal() == []
    (held,) = fleet.held(HeldKind.NO_ROOM)
    assert held.reason.startswith("db.0 has no host: behind on 1 of 1 hosts")
    assert fleet.held(HeldKind.BUDGET)


def test_what_was_moved_meanwhile_is_behind_no_more(fleet):
    fleet.redeploy("web", allow_unreachable=1)
    fleet.take_out_of_the_inventory("h1")
    fleet.machines["h1"].rows.clear()
    fleet.come_back("h2")
    fleet.wish(job(replicas=1, command=NEW, **FIXED))
    fleet.heal()
    assert fleet.behind == {}


def test_a_rollout_that_did_not_come_through_elsewhere_is_not_spread_by_a_heal():
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=4, **FIXED))
    fleet.doubt("h2")
    fleet.wish(job(replicas=4, command=NEW, **FIXED))
    fleet.refuses = lambda action: type(action).__name__ == "AwaitReady"
    fleet.redeploy("web", allow_unreachable=1)
    fleet.refuses = lambda _: False
    fleet.come_back("h2")
    fleet.heal()
    assert releases(fleet)["web.1"] == 1


def test_a_deploy_of_what_was_before_leaves_nobody_behind(fleet):
    fleet.redeploy("web", allow_unreachable=1)
    fleet.wish(job(replicas=4, **FIXED))
    fleet.redeploy("web", allow_unreachable=1)
    fleet.come_back("h2")
    fleet.heal()
    assert fleet.behind == {}
    assert len(set(releases(fleet).values()) - {1, 3}) == 0


def test_a_fleet_of_which_too_much_is_lost_forgets_no_one_who_is_behind(fleet):
    fleet.redeploy("web", allow_unreachable=1)
    fleet.lose("h1", "h3", "h4")
    assert fleet.heal() == []
    assert fleet.behind == {"h2": {"web"}}


def test_a_host_is_not_brought_up_to_date_with_what_failed_on_two_others(fleet):
    fleet.redeploy("web", allow_unreachable=1)
    replica = instance("web.1@9").name.replica
    fleet.failures = tuple(Failure(replica, 2, host, fleet.now, final=True) for host in ("h1", "h3"))
    fleet.come_back("h2")
    assert fleet.heal() == []
    (held,) = fleet.held(HeldKind.STALLED_ROLLOUT)
    assert "release 2 of web is wished, but another runs for web.1" in held.reason
