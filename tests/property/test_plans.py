"""What holds for every plan, whatever the night has done to the fleet. `Fleet.decide` checks each for violations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.model.replica import ReplicaName
from fleetctl.model.snapshot import Phase, Reachable, Snapshot
from fleetctl.plan.reconcile import make_plan
from tests.property.strategies import fleets

if TYPE_CHECKING:
    import random

    from tests.unit.plan.fleets import Fleet

SHORT = settings(max_examples=200, deadline=None, derandomize=True)
SOAK = settings(max_examples=20_000, deadline=None)


def breaks_no_invariant(fleet: Fleet) -> None:
    fleet.decide()


def replans_to_nothing_once_executed(fleet: Fleet) -> None:
    fleet.apply(fleet.decide())
    assert fleet.decide().stages == ()


def says_why_where_it_is_not_as_wished(fleet: Fleet) -> None:
    fleet.run()
    assert fleet.plan is not None
    if not all_up(fleet):
        assert fleet.plan.held


def all_up(fleet: Fleet) -> bool:
    """Whether every wished replica is seen to be ready."""
    ready = {
        row.name.replica
        for machine in fleet.machines.values()
        if machine.silence is None
        for row in machine.rows.values()
        if row.phase is Phase.READY
    }
    wished = {
        ReplicaName(name, index)
        for name, known in fleet.jobs.items()
        if not known.wish.stopped
        for index in range(known.wish.replicas)
    }
    return wished <= ready


PROMISES = [breaks_no_invariant, replans_to_nothing_once_executed, says_why_where_it_is_not_as_wished]


@pytest.mark.parametrize("promise", PROMISES)
def test_every_plan(promise):
    SHORT(given(fleets())(promise))()


@pytest.mark.soak
@pytest.mark.parametrize("promise", PROMISES)
def test_every_plan_many_times(promise):
    SOAK(given(fleets())(promise))()


@SHORT
@given(fleets(), st.integers(0, 30))
def test_a_half_executed_plan_is_gone_on_with(fleet: Fleet, done: int):
    fleet.apply(fleet.decide(), actions=done)
    fleet.run()


@SHORT
@given(fleets(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(fleet: Fleet, chance: random.Random):
    fleet.see()
    desired, snapshot, verdicts, memory = fleet.desired(), fleet.snapshot(), fleet.verdicts(), fleet.memory()

    def shuffled(some: Any) -> Any:
        if isinstance(some, dict):
            return dict(chance.sample(sorted(some.items()), len(some)))
        return tuple(chance.sample(some, len(some)))

    def shuffled_report(seen: Any) -> Any:
        if not isinstance(seen, Reachable):
            return seen
        return replace(seen, report=replace(seen.report, instances=shuffled(seen.report.instances)))

    jobs = tuple(replace(job, eligible=shuffled(job.eligible), known=shuffled(job.known)) for job in desired.jobs)
    plan = make_plan(desired, snapshot, verdicts, memory, fleet.now)
    again = make_plan(
        replace(desired, hosts=shuffled(desired.hosts), jobs=shuffled(jobs)),
        Snapshot(snapshot.at, shuffled({name: shuffled_report(seen) for name, seen in snapshot.hosts.items()})),
        shuffled(verdicts),
        replace(
            memory,
            hosts=shuffled(dict(memory.hosts)),
            jobs=shuffled(dict(memory.jobs)),
            cordons=shuffled(dict(memory.cordons)),
        ),
        fleet.now,
    )
    assert again == plan
