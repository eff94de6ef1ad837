"""What heal does, and what it leaves alone. Every plan here also passes the checker: see `Fleet.decide`."""

from __future__ import annotations

import pytest

from fleetctl.model.plan import AwaitReady, HeldKind, Start, Stop, Upload
from fleetctl.model.snapshot import Phase, Problem, ProblemKind, Silence, StuckProcess
from fleetctl.model.verdict import Health
from tests.unit.plan.fleets import Fleet, actions, broken, fixed, instance, job, names


@pytest.fixture
def fleet() -> Fleet:
    """Four replicas on the first four of five hosts, good and ready."""
    fleet = Fleet.of(*names(5))
    fleet.deploy(job(replicas=4))
    return fleet


def moved(fleet: Fleet) -> list[str]:
    return [str(start.instance.replica) for start in actions(fleet.heal(), Start)]


def nothing_happens(fleet: Fleet) -> bool:
    return not any(fleet.heal() for _ in range(3))


# -- hosts that die


def test_a_healthy_fleet_needs_nothing(fleet):
    assert nothing_happens(fleet)
    assert fleet.plan is not None
    assert fleet.plan.held == ()


@pytest.mark.parametrize("silence", [Silence.SILENT, Silence.HUNG, Silence.REFUSED])
def test_the_work_of_a_lost_host_is_started_elsewhere_and_nothing_else_moves(fleet, silence):
    before = fleet.running()
    fleet.lose("h2", silence=silence)
    (plan,) = fleet.heal()
    (start,) = actions(plan, Start)
    assert (str(start.instance), start.host, start.release) == ("web.1@2", "h5", 1)
    assert "web.1 was on h2, which is lost" in start.reason
    assert actions(plan, Stop) == []
    assert fleet.running() == {**before, "web.1@2": "h5"}
    assert nothing_happens(fleet)


def test_the_artifact_goes_where_it_is_lacking_before_anything_else(fleet):
    fleet.lose("h2")
    (plan,) = fleet.heal()
    assert [type(action) for action in plan.actions] == [Upload, Start, AwaitReady]
    assert plan.actions[0].host == "h5"


def test_a_host_that_has_the_artifact_is_preferred_to_one_that_does_not():
    fleet = Fleet.of(*names(4))
    fleet.deploy(job(replicas=2))
    fleet.machines["h4"].artifacts |= fleet.machines["h1"].artifacts
    fleet.lose("h2")
    fleet.heal()
    assert fleet.where("web.1") == ["h2", "h4"]


def test_a_returning_hosts_old_instance_is_stopped_since_the_newer_one_was_ready(fleet):
    fleet.lose("h2")
    fleet.heal()
    fleet.come_back("h2")
    (plan,) = fleet.heal()
    (stop,) = plan.actions
    assert (str(stop.instance), stop.host) == ("web.1@1", "h2")
    assert "superseded by web.1@2 on h5" in stop.reason
    assert fleet.where("web.1") == ["h5"]
    assert nothing_happens(fleet)


def test_an_old_instance_keeps_serving_until_the_newer_one_was_ready(fleet):
    fleet.put("h5", instance("web.1@2", Phase.STARTING, age_s=10.0))
    plan = fleet.decide()
    assert [type(action).__name__ for action in plan.actions] == ["AwaitReady", "Stop"]
    assert str(plan.actions[1].instance) == "web.1@1"


def test_an_old_instance_is_kept_where_the_newer_one_crashes(fleet):
    crashing = instance("web.1@2", Phase.WAITING, problem=Problem(ProblemKind.CRASH_LOOPING, "exited 1 five times"))
    fleet.put("h5", crashing)
    assert nothing_happens(fleet)
    assert fleet.where("web.1") == ["h2", "h5"]
    (held,) = fleet.held(HeldKind.NOT_READY)
    assert "web.1@1 on h2 keeps running beside it" in held.reason


def test_an_old_instance_is_kept_where_the_newer_one_was_ready_and_is_no_more(fleet):
    fleet.put("h5", instance("web.1@2", Phase.UNREADY))
    assert nothing_happens(fleet)


def test_an_old_instance_that_is_not_ready_goes_though_the_newer_one_is_not_ready_now(fleet):
    fleet.put("h2", instance("web.1@1", Phase.WAITING))
    fleet.put("h5", instance("web.1@2", Phase.UNREADY))
    assert [str(stop.instance) for stop in actions(fleet.heal(), Stop)] == ["web.1@1"]


def test_a_superseded_instance_is_stopped_before_anything_is_started(fleet):
    fleet.lose("h2")
    fleet.heal()
    fleet.come_back("h2")
    fleet.lose("h1")
    (plan,) = fleet.heal()
    kinds = [type(action).__name__ for action in plan.actions]
    assert kinds.index("Stop") < kinds.index("Start")


def test_a_host_killed_and_started_again_has_its_instances_awaited_with_the_same_epochs(fleet):
    before = fleet.running()
    fleet.put("h2", instance("web.1@1", Phase.STARTING, ever_ready=True, age_s=99999.0))
    (plan,) = fleet.heal()
    assert [type(action) for action in plan.actions] == [AwaitReady]
    assert fleet.running() == before


def test_several_lost_hosts_are_replaced_all_at_once():
    fleet = Fleet.of(*names(7))
    fleet.deploy(job(replicas=4))
    fleet.lose("h1", "h2", "h3")
    (plan,) = fleet.heal()
    assert len([stage for stage in plan.stages if isinstance(stage.actions[0], Start)]) == 1
    assert len(actions(plan, Start)) == 3


# -- hosts of which we do not know


@pytest.mark.parametrize("silence", [silence for silence in Silence if silence is not Silence.NEWER])
def test_on_a_suspect_host_nothing_is_touched_or_replaced(fleet, silence):
    fleet.doubt("h2", silence=silence)
    assert nothing_happens(fleet)
    (held,) = fleet.held(HeldKind.SUSPECT)
    assert held.subject == "h2"
    assert "web.1@1 there left alone, and not replaced" in held.reason


def test_what_is_on_a_suspect_host_holds_its_place_in_the_spread():
    fleet = Fleet.of("h1", "h2", "h3")
    fleet.deploy(job(replicas=2))
    fleet.doubt("h2")
    fleet.wish(job(replicas=3))
    fleet.heal()
    assert fleet.where("web.2") == ["h3"]


def test_an_instance_that_was_ordered_right_before_its_host_fell_silent_is_missed_by_nobody(fleet):
    fleet.lose("h1")
    plan = fleet.decide()
    fleet.apply(plan, actions=2)
    fleet.doubt("h5")
    assert nothing_happens(fleet)
    assert fleet.held(HeldKind.SUSPECT)


def test_a_host_of_which_only_its_work_is_known_may_still_run_it(fleet):
    fleet.forget_how_to_reach("h2")
    assert nothing_happens(fleet)
    (held,) = fleet.held(HeldKind.SUSPECT)
    assert "h2 is gone from the inventory and not looked at: web.1@1 may still run there" in held.reason
    assert held.reason.endswith("if it is no more: fleetctl hosts --forget h2")


def test_a_host_that_was_lost_before_it_was_taken_out_of_the_inventory_has_its_work_moved(fleet):
    fleet.lose("h2")
    fleet.take_out_of_the_inventory("h2")
    assert moved(fleet) == ["web.1"]


@pytest.mark.parametrize("lose", [Fleet.lose, Fleet.doubt])
def test_three_of_five_gone_moves_nothing_until_forced(fleet, lose):
    lose(fleet, "h1", "h2", "h3")
    assert nothing_happens(fleet)
    assert fleet.plan is not None
    (held,) = fleet.plan.held
    assert held.kind is HeldKind.TOO_MUCH_LOST
    assert "3 of 5 hosts did not answer (h1, h2, h3)" in held.reason
    assert "--force" in held.reason


def test_force_lifts_the_rule_on_too_much_lost(fleet):
    fleet.lose("h1", "h2", "h3")
    fleet.force = True
    assert moved(fleet) == ["web.0", "web.1", "web.2"]
    assert nothing_happens(fleet)


def test_force_does_not_lift_suspicion(fleet):
    fleet.lose("h1")
    fleet.doubt("h2", "h3")
    fleet.force = True
    assert moved(fleet) == ["web.0"]


def test_no_host_answers_and_nothing_moves(fleet):
    fleet.lose(*names(5))
    assert nothing_happens(fleet)


def test_a_broken_host_gets_no_new_work(fleet):
    fleet.machines["h5"].health = Health.BROKEN
    fleet.lose("h2")
    fleet.heal()
    assert "h5" not in fleet.running().values()


def test_a_host_that_answers_and_is_suspect_all_the_same_is_left_alone(fleet):
    fleet.machines["h2"].health = Health.SUSPECT
    fleet.machines["h5"].health = Health.SUSPECT
    assert nothing_happens(fleet)
    assert [held.subject for held in fleet.held(HeldKind.SUSPECT)] == ["h2"]
    fleet.lose("h1")
    fleet.heal()
    assert "h5" not in fleet.running().values()


# -- heal never rolls


def test_heal_starts_what_is_missing_with_the_newest_good_release(fleet):
    fleet.wish(job(replicas=4, command=("./never", "good")))
    fleet.lose("h2")
    (plan,) = fleet.heal()
    (start,) = actions(plan, Start)
    assert start.release == 1
    (held,) = fleet.held(HeldKind.STALLED_ROLLOUT)
    assert "release 2 of web is wished, but another runs for web.0, web.1, web.2, web.3: deploy again" in held.reason


def test_heal_starts_the_only_release_where_none_was_ever_good():
    fleet = Fleet.of(*names(3))
    fleet.wish(job(replicas=2))
    assert len(actions(fleet.heal(), Start)) == 2


def test_heal_replaces_nothing_that_runs(fleet):
    fleet.wish(job(replicas=4, command=("./new",)), good=True)
    assert nothing_happens(fleet)
    assert fleet.held(HeldKind.STALLED_ROLLOUT)


def test_what_is_still_starting_is_awaited_until_its_deadline(fleet):
    fleet.put("h2", instance("web.1@1", Phase.STARTING, age_s=100.0))
    (plan,) = fleet.heal()
    (gate,) = plan.actions
    assert (gate.for_s, gate.timeout_s) == (10.0, 210.0)


def test_what_is_not_ready_after_its_deadline_is_kept_and_told(fleet):
    fleet.put("h2", instance("web.1@1", Phase.STARTING, age_s=301.0))
    assert nothing_happens(fleet)
    (held,) = fleet.held(HeldKind.NOT_READY)
    assert "web.1@1 on h2 is not ready (starting, never ready in 301 s)" in held.reason
    assert "fleetctl logs web" in held.reason


def test_surplus_replicas_and_stopped_jobs_are_stopped(fleet):
    fleet.wish(job(replicas=2))
    assert [str(stop.instance) for stop in actions(fleet.heal(), Stop)] == ["web.2@1", "web.3@1"]
    assert [str(stop.instance) for stop in actions(fleet.stop("web"), Stop)] == ["web.0@1", "web.1@1"]
    assert fleet.running() == {}
    assert nothing_happens(fleet)


def test_a_job_that_no_wish_names_is_shown_and_left_alone(fleet):
    fleet.put("h1", instance("old.0@1"))
    assert nothing_happens(fleet)
    (held,) = fleet.held(HeldKind.UNWISHED)
    assert held.reason == "old runs on h1, but no wish names it: left alone"


def test_another_fleets_root_is_none_of_our_business(fleet):
    fleet.put("h5", instance("web.0@7"))
    fleet.machines["h5"].fleet = "staging"
    fleet.known["h5"] = ()
    fleet.lose("h2")
    (plan,) = fleet.heal()
    assert {action.host for action in plan.actions}.isdisjoint({"h5"})
    assert any("belongs to the fleet 'staging'" in held.reason for held in plan.held)


def test_what_ran_under_a_name_whose_root_is_another_fleets_by_now_may_run_on(fleet):
    fleet.machines["h2"].fleet = "staging"
    assert nothing_happens(fleet)
    (held,) = [held for held in fleet.plan.held if held.subject == "h2"]
    assert "web.1@1 there left alone, and not replaced" in held.reason


# -- instances that ended for good


def failed(kind: ProblemKind, **more) -> dict:
    return broken(Problem(kind, "in this test", **more))


def test_a_handed_out_port_that_was_taken_is_not_given_again():
    fleet = Fleet.of("h1")
    fleet.wish(job())
    fleet.put("h1", instance("web.0@1", ports=(("http", 20500),), **failed(ProblemKind.PORT_TAKEN, port=20500)))
    (plan,) = fleet.heal()
    (start,) = actions(plan, Start)
    assert dict(start.ports)["http"] != 20500


def test_a_fixed_port_that_is_taken_is_looked_for_on_another_host():
    fleet = Fleet.of("h1", "h2")
    fleet.wish(job(ports=fixed(8080)))
    fleet.machines["h1"].ports_in_use.add(8080)
    fleet.put("h1", instance("web.0@1", ports=(("http", 8080),), **failed(ProblemKind.PORT_TAKEN, port=8080)))
    fleet.heal()
    assert fleet.where("web.0") == ["h2"]


def test_a_fixed_port_that_is_taken_everywhere_is_told_with_the_pid_that_holds_it():
    fleet = Fleet.of("h1")
    fleet.wish(job(ports=fixed(8080)))
    fleet.machines["h1"].ports_in_use.add(8080)
    taken = Problem(ProblemKind.PORT_TAKEN, "port 8080 is held by pid 4711 (nginx)", 8080, 4711)
    fleet.put("h1", instance("web.0@1", ports=(("http", 8080),), **broken(taken)))
    assert nothing_happens(fleet)
    assert fleet.plan is not None
    text = " ".join(held.reason for held in fleet.plan.held)
    assert "port 8080 taken on 1 of 1 hosts" in text
    assert "pid 4711" in text


@pytest.mark.parametrize("kind", [ProblemKind.EXIT_125, ProblemKind.NOT_EXECUTABLE])
def test_what_said_that_it_can_never_run_is_not_started_again_by_heal(kind):
    fleet = Fleet.of("h1", "h2")
    fleet.wish(job())
    fleet.put("h1", instance("web.0@1", **failed(kind)))
    assert nothing_happens(fleet)
    (held,) = fleet.held(HeldKind.FAILED)
    assert "web.0@1 on h1 failed for good (in this test): mend it, then deploy" in held.reason


@pytest.mark.parametrize("kind", [ProblemKind.EXIT_125, ProblemKind.NOT_EXECUTABLE])
def test_a_good_release_is_started_in_place_of_one_that_can_never_run(kind):
    fleet = Fleet.of("h1", "h2")
    fleet.wish(job(), good=True)
    fleet.wish(job(command=("./broken",)))
    fleet.put("h1", instance("web.0@1", release=2, **failed(kind)))
    (start,) = actions(fleet.heal(), Start)
    assert start.release == 1


def test_a_stuck_instance_keeps_its_room_and_ports_and_is_told():
    fleet = Fleet.of("h1")
    fleet.wish(job(ports=fixed(8080)))
    fleet.put(
        "h1", instance("web.0@1", Phase.STUCK, ports=(("http", 8080),), stuck=(StuckProcess(12), StuckProcess(13)))
    )
    assert nothing_happens(fleet)
    (held,) = fleet.held(HeldKind.STUCK)
    assert "pids 12, 13" in held.reason
    assert fleet.held(HeldKind.NO_ROOM)


def test_a_stop_that_was_ordered_before_is_seen_to_its_end_and_its_room_used():
    fleet = Fleet.of("h1")
    fleet.wish(job(ports=fixed(8080)))
    fleet.put("h1", instance("web.0@1", Phase.STOPPING, ports=(("http", 8080),)))
    (plan,) = fleet.heal()
    assert [type(action).__name__ for action in plan.actions if action.host == "h1"][-3:] == [
        "Stop",
        "Start",
        "AwaitReady",
    ]


# -- steps that failed in this run


def test_a_start_that_failed_is_tried_on_another_host(fleet):
    fleet.lose("h1")
    fleet.refuses = lambda action: isinstance(action, Start) and action.host == "h5"
    plans = fleet.heal()
    assert [start.host for start in actions(plans, Start)] == ["h5", "h2"]


def test_an_upload_that_failed_is_tried_on_another_host(fleet):
    fleet.lose("h1")
    fleet.refuses = lambda action: isinstance(action, Upload)
    plans = fleet.heal()
    assert [upload.host for upload in actions(plans, Upload)] == ["h5"]
    assert fleet.where("web.0") == ["h1", "h2"]


def test_a_gate_that_failed_is_not_waited_for_again_in_this_run(fleet):
    fleet.lose("h1")
    fleet.refuses = lambda action: isinstance(action, AwaitReady)
    plans = fleet.heal()
    assert len(actions(plans, AwaitReady)) == 1
    assert fleet.held(HeldKind.NOT_READY)


def test_an_instance_that_failed_for_good_in_this_run_is_not_started_again(fleet):
    fleet.lose("h1")

    def fails(action):
        if isinstance(action, AwaitReady):
            machine = fleet.machines[action.host]
            machine.rows[action.instance] = instance(str(action.instance), **failed(ProblemKind.ARTIFACT_MISSING))
        return isinstance(action, AwaitReady)

    fleet.refuses = fails
    assert len(actions(fleet.heal(), Start)) == 1
    (held,) = fleet.held(HeldKind.FAILED_BEFORE)
    assert held.subject == "web.0"


def test_the_gate_of_an_instance_whose_host_died_meanwhile_holds_nothing(fleet):
    fleet.lose("h1")

    def dies(action):
        if isinstance(action, AwaitReady) and action.host == "h5":
            fleet.lose("h5")
        return isinstance(action, AwaitReady) and action.host == "h5"

    fleet.refuses = dies
    assert [start.host for start in actions(fleet.heal(), Start)] == ["h5", "h2"]


def test_a_stop_that_failed_is_told_and_not_repeated(fleet):
    fleet.lose("h2")
    fleet.heal()
    fleet.come_back("h2")
    fleet.refuses = lambda action: isinstance(action, Stop)
    assert len(actions(fleet.heal(), Stop)) == 1
    assert fleet.held(HeldKind.STUCK)


def test_a_release_whose_deploy_was_cut_short_before_it_was_known_to_be_good_is_awaited_until_it_is():
    fleet = Fleet.of("h1", "h2")
    fleet.wish(job(replicas=2))
    fleet.put("h1", instance("web.0@1", ready_for_s=2.0))
    fleet.put("h2", instance("web.1@1", ready_for_s=60.0))
    (plan,) = fleet.heal()
    assert [(type(action), str(action.instance)) for action in plan.actions] == [(AwaitReady, "web.0@1")]
    assert fleet.jobs["web"].good == {1}
