"""How a deploy's release comes out: under the budget, by surge where a second copy fits, else stop-first."""

from __future__ import annotations

import pytest

from fleetctl.model.job import Constraint, StopPolicy
from fleetctl.model.plan import AwaitReady, HeldKind, Plan, Start, Stop, Upload
from fleetctl.model.snapshot import Phase, Problem, ProblemKind
from fleetctl.plan.reconcile import refusals
from tests.unit.plan.fleets import Fleet, actions, broken, digest, fixed, host, instance, job, names, resources

NEW = ("./web", "2")


def steps(plan: Plan) -> list[str]:
    """One line a stage: `Start web.0@2 web.1@2`."""
    return [
        " ".join([type(stage.actions[0]).__name__, *(str(getattr(a, "instance", a.host)) for a in stage.actions)])
        for stage in plan.stages
    ]


def deployed(hosts: int = 5, **changes) -> Fleet:
    fleet = Fleet.of(*names(hosts))
    fleet.deploy(job(**{"replicas": 4, **changes}))
    return fleet


def never_ready(release: int):
    """Instances of that release start, and never get ready."""

    def refuses(fleet: Fleet):
        return lambda action: (
            isinstance(action, AwaitReady) and fleet.machines[action.host].rows[action.instance].release == release
        )

    return refuses


def refused(fleet: Fleet, **changes) -> tuple[str, ...]:
    fleet.wish(job(**changes))
    fleet.rolls = frozenset({"web"})
    return refusals(fleet.desired(), fleet.snapshot(), fleet.verdicts(), fleet.memory())


# -- the first and the second deploy


def test_the_first_deploy_uploads_then_starts_all_at_once_then_sees_them_ready():
    fleet = Fleet.of(*names(5))
    (plan,) = fleet.deploy(job(replicas=4))
    assert steps(plan) == [
        "Upload h1 h2 h3 h4",
        "Start web.0@1 web.1@1 web.2@1 web.3@1",
        "AwaitReady web.0@1 web.1@1 web.2@1 web.3@1",
    ]
    gate = actions(plan, AwaitReady)[0]
    assert (gate.for_s, gate.timeout_s) == (10.0, 300.0)
    assert fleet.jobs["web"].good == {1}


def test_every_action_has_a_reason_and_every_start_the_plans_generation_as_epoch():
    fleet = deployed()
    (plan,) = fleet.deploy(job(replicas=4, command=NEW))
    assert all(action.reason for action in plan.actions)
    assert {start.epoch for start in actions(plan, Start)} == {plan.generation} == {2}


def test_a_second_deploy_changes_nothing():
    fleet = deployed()
    assert fleet.deploy(job(replicas=4)) == []


def test_a_change_of_replicas_alone_restarts_nothing():
    fleet = deployed()
    (plan,) = fleet.deploy(job(replicas=5))
    assert steps(plan) == ["Upload h5", "Start web.4@2", "AwaitReady web.4@2"]
    assert fleet.jobs["web"].good == {1, 2}
    (plan,) = fleet.deploy(job(replicas=3))
    assert steps(plan) == ["Stop web.3@1 web.4@2"]


def test_a_job_without_a_probe_is_ready_once_it_ran_for_min_healthy_so_the_gate_adds_nothing():
    fleet = Fleet.of("h1")
    (plan,) = fleet.deploy(job(ready=None))
    assert actions(plan, AwaitReady)[0].for_s == 0.0


# -- replacing


def test_one_replica_at_a_time_new_before_old():
    fleet = deployed(replicas=2)
    (plan,) = fleet.deploy(job(replicas=2, command=NEW))
    assert steps(plan) == [
        "Upload h1 h2",
        "Start web.0@2",
        "AwaitReady web.0@2",
        "Stop web.0@1",
        "Start web.1@2",
        "AwaitReady web.1@2",
        "Stop web.1@1",
    ]


def test_a_larger_budget_moves_more_at_a_time():
    fleet = deployed(max_unavailable="50%")
    (plan,) = fleet.deploy(job(replicas=4, max_unavailable="50%", command=NEW))
    assert steps(plan)[1:4] == ["Start web.0@2 web.1@2", "AwaitReady web.0@2 web.1@2", "Stop web.0@1 web.1@1"]


def test_a_one_host_fleet_surges_too():
    fleet = deployed(1, replicas=1)
    (plan,) = fleet.deploy(job(command=NEW))
    assert steps(plan) == ["Upload h1", "Start web.0@2", "AwaitReady web.0@2", "Stop web.0@1"]
    (start,) = actions(plan, Start)
    assert start.ports != (fleet.machines["h1"].rows[actions(plan, Stop)[0].instance]).ports


def test_with_a_fixed_port_and_nowhere_else_to_go_it_is_stopped_first():
    fleet = deployed(1, replicas=1, ports=fixed(8080))
    (plan,) = fleet.deploy(job(ports=fixed(8080), command=NEW))
    assert steps(plan) == ["Upload h1", "Stop web.0@1", "Start web.0@2", "AwaitReady web.0@2"]


def test_with_a_fixed_port_and_a_free_host_it_surges_there_and_so_on_round_the_ring():
    fleet = deployed(3, replicas=2, ports=fixed(8080))
    (plan,) = fleet.deploy(job(replicas=2, ports=fixed(8080), command=NEW))
    assert [(str(start.instance), start.host) for start in actions(plan, Start)] == [
        ("web.0@2", "h3"),
        ("web.1@2", "h1"),
    ]
    assert steps(plan)[1:4] == ["Start web.0@2", "AwaitReady web.0@2", "Stop web.0@1"]


def test_where_a_second_copy_has_no_room_it_is_stopped_first():
    fleet = Fleet.of(host("h1", memory=4))
    fleet.deploy(job(resources=resources(memory=3)))
    (plan,) = fleet.deploy(job(resources=resources(memory=3), command=NEW))
    assert steps(plan)[1:] == ["Stop web.0@1", "Start web.0@2", "AwaitReady web.0@2"]


def test_what_would_not_fit_even_instead_of_the_old_is_not_stopped():
    fleet = Fleet.of(host("h1", memory=4))
    fleet.deploy(job(resources=resources(memory=3)))
    assert fleet.deploy(job(resources=resources(memory=5), command=NEW)) == []
    (held,) = fleet.held(HeldKind.NO_ROOM)
    assert "memory short on 1 of 1 hosts" in held.reason


def test_a_changed_constraint_moves_what_may_not_be_there_any_more():
    fleet = Fleet.of(host("h1", zone="a"), host("h2", zone="b"))
    fleet.deploy(job())
    (plan,) = fleet.deploy(job(constraints=(Constraint("zone", "==", "b"),)))
    assert steps(plan)[1:] == ["Start web.0@2", "AwaitReady web.0@2", "Stop web.0@1"]
    assert fleet.where("web.0") == ["h2"]


def test_other_jobs_are_not_rolled():
    fleet = deployed()
    fleet.deploy(job("db", replicas=2))
    fleet.wish(job("db", replicas=2, command=NEW))
    fleet.deploy(job(replicas=4, command=NEW))
    assert set(fleet.running("db")) == {"db.0@2", "db.1@2"}


def test_two_jobs_of_one_deploy_roll_side_by_side():
    fleet = deployed(replicas=1)
    fleet.deploy(job("db"))
    fleet.wish(job(command=NEW))
    fleet.wish(job("db", command=NEW))
    (plan,) = fleet.redeploy("web", "db")
    assert steps(plan)[1:] == ["Start db.0@3 web.0@3", "AwaitReady db.0@3 web.0@3", "Stop db.0@2 web.0@1"]


# -- the budget


def test_replacing_what_is_down_anyway_is_free_comes_first_and_all_at_once():
    fleet = deployed()
    for index in range(3):
        fleet.put(f"h{index + 1}", instance(f"web.{index}@1", Phase.WAITING))
    (plan,) = fleet.deploy(job(replicas=4, command=NEW))
    assert steps(plan)[1:4] == [
        "Stop web.0@1 web.1@1 web.2@1",
        "Start web.0@2 web.1@2 web.2@2",
        "AwaitReady web.0@2 web.1@2 web.2@2",
    ]
    assert steps(plan)[4] == "Start web.3@2"


def test_what_is_down_for_whatever_cause_counts_against_the_budget():
    fleet = deployed(4, ports=fixed(8080))
    fleet.doubt("h1")
    assert fleet.deploy(job(replicas=4, ports=fixed(8080), command=NEW)) == []
    (held,) = fleet.held(HeldKind.BUDGET)
    assert "web.1, web.2, web.3 can't get release 2" in held.reason
    assert "budget 1 of 1 used by web.0 (unknown: h1 is suspect)" in held.reason
    assert "set update.max_unavailable to 2" in held.reason


def test_with_more_budget_the_rest_rolls_while_one_is_unknown():
    fleet = deployed(4, ports=fixed(8080))
    fleet.doubt("h1")
    (plan,) = fleet.deploy(job(replicas=4, ports=fixed(8080), command=NEW, max_unavailable=2))
    assert steps(plan)[1:4] == ["Stop web.1@1", "Start web.1@2", "AwaitReady web.1@2"]
    assert fleet.held(HeldKind.SUSPECT)


def test_surge_takes_nothing_from_the_budget():
    fleet = deployed(4)
    fleet.doubt("h1")
    (plan,) = fleet.deploy(job(replicas=4, command=NEW))
    assert len(actions(plan, Start)) == 3


def test_a_percentage_is_rounded_down():
    fleet = deployed(4, ports=fixed(8080), max_unavailable="49%")
    (plan,) = fleet.deploy(job(replicas=4, ports=fixed(8080), max_unavailable="49%", command=NEW))
    assert steps(plan)[1:4] == ["Stop web.0@1", "Start web.0@2", "AwaitReady web.0@2"]


@pytest.mark.parametrize("nobody", [0, "20%"])
def test_max_unavailable_0_is_refused_where_surge_is_impossible(nobody):
    fleet = deployed(4, ports=fixed(8080))
    (reason,) = refused(fleet, replicas=4, ports=fixed(8080), max_unavailable=nobody, command=NEW)
    assert "web.0, web.1, web.2, web.3 can't get release 2" in reason
    assert "port 8080 taken on 4 of 4 hosts" in reason
    assert "set update.max_unavailable to 1" in reason


def test_max_unavailable_0_is_fine_where_a_second_copy_fits():
    assert refused(deployed(5, ports=fixed(8080)), replicas=4, ports=fixed(8080), max_unavailable=0, command=NEW) == ()
    assert refused(deployed(4), replicas=4, max_unavailable=0, command=NEW) == ()


def test_max_unavailable_0_is_fine_for_the_first_deploy():
    assert refused(Fleet.of("h1"), ports=fixed(8080), max_unavailable=0) == ()


# -- releases that don't get ready


@pytest.mark.parametrize(("how", "budget"), [({}, 1), ({"ports": fixed(8080)}, 1), ({}, 2)])
def test_a_release_that_never_gets_ready_takes_no_more_than_the_budget(how, budget):
    fleet = deployed(4, max_unavailable=budget, **how)
    fleet.refuses = never_ready(2)(fleet)
    fleet.deploy(job(replicas=4, command=NEW, max_unavailable=budget, **how))
    serving = {name for name in fleet.running() if name.endswith("@1")}
    assert len(serving) >= 4 - (budget if how else 0)
    assert fleet.held(HeldKind.NOT_READY)
    (held,) = fleet.held(HeldKind.STALLED_ROLLOUT)
    assert "keep what they run: web.0@2 on h" in held.reason


def test_heal_then_brings_back_on_the_old_release_what_a_dead_host_had():
    fleet = deployed(5)
    fleet.refuses = never_ready(2)(fleet)
    fleet.deploy(job(replicas=4, command=NEW))
    fleet.lose("h2")
    (start,) = actions(fleet.heal(), Start)
    assert (str(start.instance.replica), start.release) == ("web.1", 1)


def test_the_next_deploy_stops_a_failed_surge_first_and_for_free():
    fleet = deployed(4)
    fleet.refuses = never_ready(2)(fleet)
    fleet.deploy(job(replicas=4, command=NEW))
    (plan,) = fleet.deploy(job(replicas=4, command=("./web", "3")))
    assert steps(plan)[1:3] == ["Stop web.0@2", "Start web.0@3"]
    assert fleet.jobs["web"].good == {1, 3}


def test_going_back_to_what_runs_stops_the_failed_surge_and_restarts_nothing():
    fleet = deployed(4)
    fleet.refuses = never_ready(2)(fleet)
    before = set(fleet.running())
    fleet.deploy(job(replicas=4, command=NEW))
    fleet.wish(job(replicas=4))
    (plan,) = fleet.redeploy("web")
    assert steps(plan) == ["Stop web.0@2"]
    assert set(fleet.running()) == before


def test_deploying_the_same_again_waits_for_nothing_that_is_past_its_deadline():
    fleet = deployed(2, replicas=2)
    fleet.wish(job(replicas=2, command=NEW))
    fleet.put("h1", instance("web.0@2", Phase.STARTING, release=2, age_s=301.0))
    assert fleet.redeploy("web") == []
    assert fleet.held(HeldKind.STALLED_ROLLOUT)


def test_deploy_tries_again_what_failed_for_good():
    fleet = Fleet.of("h1")
    fleet.wish(job())
    fleet.put("h1", instance("web.0@1", **broken(Problem(ProblemKind.NOT_EXECUTABLE, "no such interpreter"))))
    assert len(actions(fleet.redeploy("web"), Start)) == 1


# -- interrupted deploys


@pytest.mark.parametrize("how", [{}, {"ports": fixed(8080)}, {"max_unavailable": 2}])
@pytest.mark.parametrize("command", ["heal", "deploy"])
def test_a_deploy_cut_off_after_any_action_is_gone_on_with_and_exactly_the_wished_run(how, command):
    whole = deployed(4, **how)
    (plan,) = whole.deploy(job(replicas=4, command=NEW, **how))
    for done in range(len(plan.actions) + 1):
        fleet = deployed(4, **how)
        number = fleet.wish(job(replicas=4, command=NEW, **how))
        fleet.rolls = frozenset({"web"})
        fleet.apply(fleet.decide(), actions=done)
        fleet.rolls = frozenset()
        fleet.heal() if command == "heal" else fleet.redeploy("web")
        assert sorted(name.split("@")[0] for name in fleet.running()) == ["web.0", "web.1", "web.2", "web.3"]
        ready = [
            row for machine in fleet.machines.values() for row in machine.rows.values() if row.phase is Phase.READY
        ]
        assert len(ready) == 4
        if command == "deploy":
            assert {row.release for row in ready} == {number}


def test_artifacts_are_uploaded_once_to_a_host_however_many_of_its_replicas_come_there():
    fleet = Fleet.of("h1")
    (plan,) = fleet.deploy(job(replicas=3))
    (upload,) = actions(plan, Upload)
    assert (upload.host, upload.artifact) == ("h1", digest("./web"))


def test_a_stop_may_take_as_long_as_drain_and_grace_together():
    fleet = deployed(2, replicas=1, stop=StopPolicy("TERM", timeout_s=10.0, drain_s=5.0))
    (plan,) = fleet.deploy(job(stop=StopPolicy("TERM", timeout_s=10.0, drain_s=5.0), command=NEW))
    assert [stop.timeout_s for stop in actions(plan, Stop)] == [15.0]
