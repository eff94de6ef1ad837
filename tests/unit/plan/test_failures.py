"""Releases that keep failing: what is counted, which pair is avoided, when a release is bad, and what a plan does."""

import itertools
from dataclasses import replace

import pytest

from fleetctl.model.instant import Instant
from fleetctl.model.memory import Failure, HostMemory
from fleetctl.model.plan import HeldKind, Start, Stop
from fleetctl.model.replica import InstanceName, ReplicaName
from fleetctl.model.snapshot import Phase, Problem, ProblemKind
from fleetctl.plan.failures import PER_LOOK_MAX, failed_hosts, is_avoided, is_bad, new_failures, not_overcome
from tests.unit.plan.fleets import Fleet, actions, broken, instance, job, names

NOW = 10_000.0
WEB_1 = ReplicaName("web", 1)


def crash_loop(text="web.1@5", restarts=6, **changes):
    return instance(text, Phase.WAITING, restarts=restarts, ever_ready=False, last_exit="exited 42", **changes)


def failed(host, *ats, replica="web.1", release=1, final=False):
    return tuple(Failure(ReplicaName.parse(replica), release, host, Instant(at), final) for at in ats)


def five(host, replica="web.1", release=1, until=NOW):
    return failed(host, *(until - 60.0 * before for before in range(4, -1, -1)), replica=replica, release=release)


@pytest.fixture
def fleet():
    fleet = Fleet.of(*names(4))
    fleet.now = Instant(NOW)
    fleet.wish(job(replicas=2), good=True)
    fleet.put("h2", instance("web.0@1"))
    fleet.put("h1", crash_loop())
    return fleet


def found(fleet, before=(), gates=(), host="h1"):
    """What is new on a host since the rows that were remembered of it."""
    memory = replace(fleet.memory(), hosts={host: HostMemory(instances=tuple(before))})
    return new_failures(memory, fleet.snapshot(), gates, fleet.desired(), fleet.now)


# -- what is counted


def test_the_rise_of_its_restarts_is_that_many_crashes(fleet):
    crashes = found(fleet, [crash_loop(restarts=4)])
    assert crashes == failed("h1", NOW, NOW)


def test_what_was_counted_is_not_counted_again(fleet):
    assert found(fleet, [crash_loop(restarts=6)]) == ()
    assert found(fleet, [crash_loop(restarts=7)]) == (), "an agent that lost its count"


def test_a_long_absence_counts_no_more_than_twice_what_it_takes(fleet):
    fleet.put("h1", crash_loop(restarts=500))
    assert len(found(fleet, [crash_loop(restarts=0)])) == PER_LOOK_MAX


def test_a_crash_was_before_its_instance_got_ready(fleet):
    fleet.put("h1", instance("web.1@5", restarts=1, ready_for_s=400.0))
    assert found(fleet, [crash_loop(restarts=0)]) == failed("h1", NOW - 400.0)


@pytest.mark.parametrize(("age_s", "crashes"), [(120.0, 6), (3600.0, 0)])
def test_of_an_instance_nobody_remembers_only_a_young_ones_crashes_are_recent(fleet, age_s, crashes):
    fleet.put("h1", crash_loop(age_s=age_s))
    assert len(found(fleet)) == crashes


def test_an_instance_that_ends_for_good_failed_once_and_for_all(fleet):
    ended = instance("web.1@5", **broken(Problem(ProblemKind.EXIT_125, "exited 125")))
    fleet.put("h1", ended)
    assert found(fleet, [instance("web.1@5", Phase.STARTING)]) == failed("h1", NOW, final=True)
    assert found(fleet, [ended]) == ()
    assert found(fleet) == (), "memory keeps no row of what has ended"


def test_what_goes_into_the_background_crashes_like_any_other_and_is_not_final(fleet):
    fleet.put("h1", replace(crash_loop(), problem=Problem(ProblemKind.DAEMONIZED, "it went into the background")))
    assert found(fleet, [crash_loop(restarts=0)]) == failed("h1", NOW) * 6


def test_a_gate_that_was_not_passed_is_one_failure_though_it_ended_for_good(fleet):
    fleet.put("h1", instance("web.1@5", **broken(Problem(ProblemKind.EXIT_125, "exited 125"))))
    gate = [InstanceName.parse("web.1@5")]
    assert found(fleet, [instance("web.1@5", Phase.STARTING)], gate) == failed("h1", NOW, final=True)
    fleet.put("h1", crash_loop())
    assert found(fleet, [crash_loop()], gate) == failed("h1", NOW, final=True)


def test_what_got_ready_right_after_its_deadline_did_not_fail(fleet):
    fleet.put("h1", instance("web.1@5"))
    assert found(fleet, [instance("web.1@5")], [InstanceName.parse("web.1@5")]) == ()


@pytest.mark.parametrize("kind", [ProblemKind.PORT_TAKEN, ProblemKind.ARTIFACT_MISSING])
def test_what_is_not_the_releases_fault_is_not_counted(fleet, kind):
    fleet.put("h1", instance("web.1@5", restarts=6, **broken(Problem(kind, "not its fault"))))
    assert found(fleet, [crash_loop(restarts=0)], [InstanceName.parse("web.1@5")]) == ()


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.STOPPED, Phase.STUCK])
def test_what_somebody_ended_did_not_fail(fleet, phase):
    fleet.put("h1", instance("web.1@5", phase, restarts=6))
    assert found(fleet, [crash_loop(restarts=0)], [InstanceName.parse("web.1@5")]) == ()


def test_a_host_that_does_not_answer_says_nothing_of_a_release(fleet):
    fleet.lose("h1")
    assert found(fleet, [crash_loop(restarts=0)], [InstanceName.parse("web.1@5")]) == ()


def test_another_fleets_and_an_unknown_releases_failures_are_not_ours(fleet):
    fleet.put("h1", crash_loop(release=9))
    assert found(fleet, [crash_loop(restarts=0, release=9)]) == ()
    fleet.put("h1", crash_loop())
    fleet.machines["h1"].fleet = "other"
    assert found(fleet, [crash_loop(restarts=0)]) == ()


# -- what follows from it


@pytest.mark.parametrize(
    ("ats", "avoided"),
    [
        ([0, 75, 150, 225, 300], True),
        ([0, 75, 150, 225, 301], False),
        ([0, 1, 2, 3], False),
        ([0, 1000, 1100, 1200, 1250, 1290], True),
    ],
)
def test_five_failures_in_five_minutes_and_the_pair_is_avoided(fleet, ats, avoided):
    fleet.failures = failed("h1", *ats)
    assert is_avoided(fleet.memory(), "web", 1, "h1") is avoided
    assert not is_avoided(fleet.memory(), "web", 2, "h1")
    assert not is_avoided(fleet.memory(), "web", 1, "h2")


def test_any_replicas_failures_count_for_the_pair_and_only_its_own_for_the_replica(fleet):
    fleet.failures = failed("h1", 1, 2, 3) + failed("h1", 4, 5, replica="web.0")
    assert is_avoided(fleet.memory(), "web", 1, "h1")
    assert failed_hosts(fleet.memory(), WEB_1, 1) == ()


@pytest.mark.parametrize(
    ("ready_for_s", "left"),
    [(299.0, ("h1", "h2")), (400.0, ("h2",)), (600.0, ("h1", "h2"))],
)
def test_what_failed_before_the_release_was_ready_there_for_five_minutes_counts_no_more(fleet, ready_for_s, left):
    fleet.put("h1", instance("web.0@6", ready_for_s=ready_for_s))
    failures = failed("h1", NOW - 500.0) + failed("h2", NOW - 500.0)
    assert (
        tuple(
            one.host for one in not_overcome(replace(fleet.memory(), failures=failures), fleet.snapshot(), "test", NOW)
        )
        == left
    )


def test_one_final_failure_or_five_crashes_and_a_host_is_one_where_it_failed(fleet):
    fleet.failures = failed("h1", 1, final=True) + failed("h3", 1, 2, 3, 4)
    assert failed_hosts(fleet.memory(), WEB_1, 1) == ("h1",)
    assert not is_bad(fleet.memory(), WEB_1, 1)
    fleet.failures += failed("h3", 5)
    assert is_bad(fleet.memory(), WEB_1, 1)
    assert not is_bad(fleet.memory(), WEB_1, 2)
    assert not is_bad(fleet.memory(), ReplicaName("web", 0), 1)


# -- what a plan does


def test_a_replica_that_keeps_crashing_on_one_host_is_moved_and_its_crashing_copy_stops_once_the_new_one_is_ready(
    fleet,
):
    fleet.failures = five("h1")
    (plan,) = fleet.heal()
    (start,), (stop,) = actions(plan, Start), actions(plan, Stop)
    assert start.host not in ("h1", "h2")
    assert start.reason == "web.1@5 on h1 keeps crashing there (exited 42)"
    assert str(stop.instance) == "web.1@5"
    assert [type(stage.actions[0]).__name__ for stage in plan.stages][-3:] == ["Start", "AwaitReady", "Stop"]


def test_four_crashes_are_awaited(fleet):
    fleet.failures = five("h1")[1:]
    assert fleet.heal() == []
    assert fleet.held(HeldKind.NOT_READY)


def test_one_that_failed_on_two_hosts_is_moved_no_more_and_the_plan_says_so(fleet):
    fleet.failures = five("h3", until=NOW - 900.0) + five("h1")
    assert fleet.heal() == []
    (held,) = fleet.held(HeldKind.BAD_RELEASE)
    assert held.reason == (
        "web.1 of release 1 failed on h1 and h3: a bad release is not moved any more: "
        "deploy another (see fleetctl logs web)"
    )
    assert fleet.held(HeldKind.NOT_READY) == []


def test_a_bad_one_whose_host_dies_is_not_started_elsewhere(fleet):
    fleet.failures = five("h3", until=NOW - 900.0) + five("h1")
    fleet.lose("h1")
    assert fleet.heal() == []
    assert fleet.held(HeldKind.BAD_RELEASE)


def test_where_every_other_host_is_avoided_too_it_stays_and_the_plan_says_where_it_keeps_failing(fleet):
    fleet.failures = tuple(itertools.chain(*(five(host, replica="web.0") for host in names(4)), five("h1")))
    fleet.put("h2", instance("web.0@1"))
    assert fleet.heal() == []
    (held,) = fleet.held(HeldKind.NO_ROOM)
    assert "web release 1 keeps failing on 4 of 4 hosts" in held.reason


def test_what_is_missing_avoids_the_pair(fleet):
    fleet.put("h1", instance("web.1@5", Phase.STOPPED))
    fleet.failures = five("h1", replica="web.0") + five("h3", replica="web.0")
    (plan,) = fleet.heal()
    (start,) = actions(plan, Start)
    assert start.host == "h4"


def test_a_ready_copy_is_never_moved_for_what_it_did_before(fleet):
    fleet.put("h1", instance("web.1@5", restarts=6))
    fleet.failures = five("h1")
    assert fleet.heal() == []


def test_while_an_older_copy_serves_nothing_is_moved(fleet):
    fleet.put("h3", instance("web.1@3"))
    fleet.failures = five("h1")
    assert fleet.heal() == []


def test_what_starts_again_long_after_it_crashed_has_its_time(fleet):
    fleet.put("h1", instance("web.1@5", Phase.STARTING, restarts=6, ever_ready=True))
    fleet.failures = five("h1", until=NOW - 700.0)
    plan = fleet.decide()
    assert actions(plan, Start) == []


def test_what_a_stalled_rollout_left_is_no_heals_to_move(fleet):
    fleet.wish(job(replicas=2, command=("./web", "broken")))
    fleet.put("h1", crash_loop(release=2))
    fleet.failures = five("h1", release=2)
    assert fleet.heal() == []
    assert fleet.held(HeldKind.STALLED_ROLLOUT)


def test_a_release_that_runs_the_same_under_another_number_keeps_failing_there_too(fleet):
    known = fleet.jobs["web"]
    alike = replace(known.releases[1], number=2)
    fleet.jobs["web"] = replace(
        known, releases={**known.releases, 2: alike}, wish=replace(known.wish, release=2), good=frozenset({1, 2})
    )
    fleet.failures = five("h1")
    (plan,) = fleet.heal()
    assert [start.host for start in actions(plan, Start)] != ["h1"]
