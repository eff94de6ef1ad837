"""The checker finds every kind of harm that a plan could do. It is shown good plans, spoilt in one way each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fleetctl.model.host import Capacity
from fleetctl.model.job import Constraint
from fleetctl.model.plan import AwaitReady, Plan, Stage, Start, StepKey, Stop, Upload
from fleetctl.model.replica import Generation, InstanceName, ReplicaName
from fleetctl.model.snapshot import Phase, Silence
from fleetctl.model.verdict import Health
from fleetctl.plan.check import violations
from tests.unit.plan.fleets import Fleet, fixed, instance, job, names, resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetctl.model.plan import Action

NEW = ("./web", "2")


def found(fleet: Fleet, plan: Plan) -> set[str]:
    snapshot, verdicts = fleet.snapshot(), fleet.verdicts()
    return {each.invariant for each in violations(plan, fleet.desired(), snapshot, verdicts, fleet.memory())}


def change(plan: Plan, kind: type[Action], **changes: Any) -> Plan:
    """The same plan with every action of that kind changed."""
    stages = [
        Stage(tuple(replace(each, **changes) if isinstance(each, kind) else each for each in stage.actions))
        for stage in plan.stages
    ]
    return replace(plan, stages=tuple(stages))


def without(plan: Plan, kind: type[Action]) -> Plan:
    stages = [Stage(tuple(each for each in stage.actions if not isinstance(each, kind))) for stage in plan.stages]
    return replace(plan, stages=tuple(stage for stage in stages if stage.actions))


def all_at_once(plan: Plan, *kinds: type[Action]) -> Plan:
    """A stage for each kind, with all actions of that kind in it."""
    stages = [Stage(tuple(each for each in plan.actions if isinstance(each, kind))) for kind in kinds]
    return replace(plan, stages=tuple(stages))


def backwards(plan: Plan) -> Plan:
    return replace(plan, stages=plan.stages[::-1])


def stopping(*instances: tuple[str, str]) -> Plan:
    stops = [Stop(host, InstanceName.parse(name), 30.0, "out of spite") for host, name in instances]
    return Plan(Generation(2), (Stage(tuple(stops)),), (), {})


@pytest.fixture
def healing() -> Fleet:
    """web.0 was on h1, which is lost: it is started on h3."""
    fleet = Fleet.of(*names(3))
    fleet.deploy(job(replicas=2))
    fleet.lose("h1")
    return fleet


@pytest.fixture
def rolling() -> Fleet:
    """Two of two replicas on two hosts are to be replaced, one at a time, stopped first."""
    fleet = Fleet.of(*names(2))
    fleet.deploy(job(replicas=2, ports=fixed(8080)))
    fleet.wish(job(replicas=2, ports=fixed(8080), command=NEW))
    fleet.rolls = frozenset({"web"})
    return fleet


@pytest.fixture
def surging() -> Fleet:
    """The same, but with room for a second copy."""
    fleet = Fleet.of(*names(2))
    fleet.deploy(job(replicas=2))
    fleet.wish(job(replicas=2, command=NEW))
    fleet.rolls = frozenset({"web"})
    return fleet


SPOILT: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "a stale generation": (lambda plan: replace(plan, generation=Generation(plan.generation - 1)), "generation"),
    "an old epoch": (
        lambda plan: change(plan, Start, instance=InstanceName(ReplicaName("web", 0), Generation(1))),
        "epoch",
    ),
    "no reason": (lambda plan: change(plan, Start, reason=""), "reason"),
    "a lost host": (lambda plan: change(plan, Start, host="h1"), "reachable"),
    "an unknown host": (lambda plan: change(plan, Start, host="h9"), "reachable"),
    "an unknown release": (lambda plan: change(plan, Start, release=7), "release"),
    "a surplus replica": (
        lambda plan: change(plan, Start, instance=InstanceName(ReplicaName("web", 5), Generation(2))),
        "wish",
    ),
    "a job nobody wishes": (
        lambda plan: change(plan, Start, instance=InstanceName(ReplicaName("db", 0), Generation(2))),
        "wish",
    ),
    "a port for nothing": (lambda plan: change(plan, Start, ports=(("admin", 20001),)), "ports"),
    "a port out of range": (lambda plan: change(plan, Start, ports=(("http", 80),)), "ports"),
    "another address": (lambda plan: change(plan, Start, address="10.0.0.99"), "placement"),
    "nobody waits": (lambda plan: without(plan, AwaitReady), "gate"),
    "no upload": (lambda plan: without(plan, Upload), "upload"),
    "the wrong order": (backwards, "upload"),
    "the same twice": (lambda plan: replace(plan, stages=plan.stages * 2), "one start"),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_heal_is_found_out(healing, spoil):
    plan = healing.decide()
    assert found(healing, plan) == set()
    how, invariant = SPOILT[spoil]
    assert invariant in found(healing, how(plan))


def test_a_replica_on_a_suspect_host_is_not_started_elsewhere(healing):
    plan = healing.decide()
    healing.doubt("h1")
    assert found(healing, plan) == {"suspect"}


def test_nothing_is_done_while_too_much_is_lost(healing):
    plan = healing.decide()
    healing.lose("h2")
    assert "too much lost" in found(healing, plan)
    healing.force = True
    assert found(healing, plan) == set()


def test_a_broken_host_gets_no_work_and_counts_as_bad(healing):
    plan = healing.decide()
    healing.machines["h3"].health = Health.BROKEN
    assert found(healing, plan) == {"placement", "too much lost"}


@pytest.mark.parametrize("silence", list(Silence))
def test_an_order_to_a_host_that_does_not_answer(healing, silence):
    plan = healing.decide()
    healing.doubt("h3", silence=silence)
    assert "reachable" in found(healing, plan)


def test_an_order_to_another_fleets_host(healing):
    plan = healing.decide()
    healing.machines["h3"].fleet = "staging"
    assert "reachable" in found(healing, plan)


def test_a_host_that_may_not_run_it(healing):
    plan = healing.decide()
    healing.wish(job(replicas=2, hosts="h1:h2"))
    assert "placement" in found(healing, plan)
    healing.wish(job(replicas=2, constraints=(Constraint("zone", "==", "b"),)))
    assert "placement" in found(healing, plan)


def test_a_host_that_has_no_room(healing):
    plan = healing.decide()
    known = healing.jobs["web"]
    release = replace(known.releases[1], spec=replace(known.releases[1].spec, resources=resources(cpu=5000)))
    healing.jobs["web"] = replace(known, releases={1: release})
    assert found(healing, plan) == {"capacity"}


def test_room_comes_from_the_facts_where_the_inventory_gives_none(healing):
    plan = healing.decide()
    machine = healing.machines["h3"]
    machine.spec = replace(machine.spec, capacity=Capacity(), reserved=resources(cpu=3600))
    known = healing.jobs["web"]
    release = replace(known.releases[1], spec=replace(known.releases[1].spec, resources=resources(cpu=500)))
    healing.jobs["web"] = replace(known, releases={1: release})
    assert found(healing, plan) == {"capacity"}


def test_a_port_that_somebody_listens_on(healing):
    plan = healing.decide()
    (start,) = (action for action in plan.actions if isinstance(action, Start))
    healing.machines["h3"].ports_in_use.add(dict(start.ports)["http"])
    assert found(healing, plan) == {"ports"}


def test_a_step_that_failed_in_this_run(healing):
    plan = healing.decide()
    (start,) = (action for action in plan.actions if isinstance(action, Start))
    healing.failed.add(StepKey("Start", "web.0", "h3", start.ports))
    assert found(healing, plan) == {"failed step"}


def test_a_heal_that_replaces_what_runs(rolling):
    plan = rolling.decide()
    assert found(rolling, plan) == set()
    rolling.rolls = frozenset()
    assert {"heal rolls", "stop"} <= found(rolling, plan)


def test_more_down_than_the_budget_allows(rolling):
    together = all_at_once(rolling.decide(), Upload, Stop, Start, AwaitReady)
    assert found(rolling, together) == {"budget", "transition"}


def test_what_is_down_for_other_causes_counts_too(rolling):
    plan = rolling.decide()
    second = replace(plan, stages=(plan.stages[0], *plan.stages[4:]))
    assert found(rolling, second) == set()
    rolling.put("h1", instance("web.0@1", Phase.UNREADY, ports=(("http", 8080),)))
    assert found(rolling, second) == {"budget"}


def test_more_in_transition_than_the_budget_allows(surging):
    together = all_at_once(surging.decide(), Upload, Start, AwaitReady, Stop)
    assert found(surging, together) == {"transition"}


def test_the_old_stopped_before_the_new_was_ready(surging):
    plan = surging.decide()
    early = replace(plan, stages=(plan.stages[0], plan.stages[1], plan.stages[3], plan.stages[2]))
    assert "stop" in found(surging, early)


def test_room_that_is_only_free_once_the_stage_has_ended(rolling):
    plan = rolling.decide()
    stop, start = plan.stages[1], plan.stages[2]
    mixed = replace(plan, stages=(plan.stages[0], Stage((*stop.actions, *start.actions)), *plan.stages[3:]))
    assert "ports" in found(rolling, mixed)


def test_the_only_ready_instance_stopped_without_a_successor(healing):
    assert found(healing, stopping(("h2", "web.1@1"))) == {"stop", "budget"}


def test_stopping_what_does_not_run(healing):
    assert found(healing, stopping(("h2", "web.9@1"))) == {"stop"}


def test_stopping_what_is_none_of_our_business(healing):
    healing.put("h2", instance("old.0@1"))
    healing.generation = 1
    assert found(healing, stopping(("h2", "old.0@1"))) == {"unwished"}


def test_waiting_for_what_does_not_run(healing):
    gate = AwaitReady("h2", InstanceName.parse("web.0@1"), 10.0, 300.0, "hope")
    assert found(healing, Plan(Generation(2), (Stage((gate,)),), (), {})) == {"gate"}
