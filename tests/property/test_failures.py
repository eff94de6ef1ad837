"""What holds for every plan though releases fail: nothing serving is touched for it, and nothing goes round in circles.

`Fleet.decide` checks each plan for violations, a start on an avoided pair and one of a bad release among them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase as Phases
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.model.instant import Instant
from fleetctl.model.memory import Failure
from fleetctl.model.plan import HeldKind, Start, Stop
from fleetctl.model.replica import ReplicaName
from fleetctl.model.snapshot import Phase
from fleetctl.plan import crashing, missing, place, running
from fleetctl.plan.failures import is_avoided, is_bad, new_failures
from tests.property.strategies import fleets
from tests.unit.plan.fleets import Fleet, actions, instance, job, names

if TYPE_CHECKING:
    from fleetctl.model.replica import InstanceName

SHORT = settings(max_examples=150, deadline=None, derandomize=True)
SOAK = settings(max_examples=20_000, deadline=None)
HEALS_MAX = 12


@st.composite
def failing_fleets(draw: st.DrawFn) -> Fleet:
    fleet: Fleet = draw(fleets())
    found = []
    for name, known in sorted(fleet.jobs.items()):
        for _ in range(draw(st.integers(0, 4))):
            failure = Failure(
                ReplicaName(name, draw(st.integers(0, 3))),
                draw(st.sampled_from(sorted(known.releases))),
                draw(st.sampled_from(sorted(fleet.machines))),
                Instant(fleet.now - draw(st.sampled_from([0.0, 100.0, 500.0, 900.0]))),
                draw(st.booleans()),
            )
            found += [failure] * draw(st.sampled_from([1, 4, 5, 5]))
    fleet.failures = tuple(sorted(found, key=lambda failure: failure.at))
    return fleet


def breaks_no_invariant(fleet: Fleet) -> None:
    fleet.decide()


def replans_to_nothing_once_executed(fleet: Fleet) -> None:
    fleet.apply(fleet.decide())
    assert fleet.decide().stages == ()


def stops_nothing_that_serves_for_the_sake_of_failures(fleet: Fleet) -> None:
    """Failures add no stop of a ready instance to the plan of a heal."""
    fleet.rolls = frozenset()
    with_failures = _ready_stops(fleet)
    fleet.failures = ()
    assert with_failures <= _ready_stops(fleet)


def starts_nothing_where_it_fails(fleet: Fleet) -> None:
    for start in actions(fleet.decide(), Start):
        known, memory = fleet.jobs[start.instance.job], fleet.memory()
        if known.wish.job not in fleet.rolls:
            assert not is_avoided(memory, known.wish.job, start.release, start.host)
            assert not is_bad(memory, start.instance.replica, start.release)


def does_not_depend_on_their_order(fleet: Fleet) -> None:
    plan = fleet.decide()
    fleet.failures = fleet.failures[::-1]
    assert fleet.decide() == plan


def _ready_stops(fleet: Fleet) -> set[InstanceName]:
    plan = fleet.decide()
    ready = {
        row.name for machine in fleet.machines.values() for row in machine.rows.values() if row.phase is Phase.READY
    }
    return {stop.instance for stop in actions(plan, Stop)} & ready


PROMISES = [
    breaks_no_invariant,
    replans_to_nothing_once_executed,
    stops_nothing_that_serves_for_the_sake_of_failures,
    starts_nothing_where_it_fails,
    does_not_depend_on_their_order,
]


@pytest.mark.parametrize("promise", PROMISES)
def test_every_plan(promise):
    SHORT(given(failing_fleets())(promise))()


@pytest.mark.soak
@pytest.mark.parametrize("promise", PROMISES)
def test_every_plan_many_times(promise):
    SOAK(given(failing_fleets())(promise))()


@SHORT
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10))
def test_what_crashes_everywhere_is_on_two_hosts_at_most_and_then_stays(hosts: int, replicas: int, crashes: int):
    """Each heal finds that every instance crashed so often since the one before, and got ready for a moment."""
    fleet = Fleet.of(*names(hosts))
    fleet.wish(job(replicas=replicas), good=True)
    for index in range(replicas):
        fleet.put(names(hosts)[index % hosts], instance(f"web.{index}@1"))
    been: dict[str, set[str]] = {}
    moved = []
    for _ in range(HEALS_MAX):
        fleet.now = Instant(fleet.now + 60.0)
        _crash_all(fleet, crashes)
        moved.append(bool(actions(fleet.heal(), Start)))
        for name, host in fleet.running().items():
            been.setdefault(name.partition("@")[0], set()).add(host)
    assert all(len(where) <= 2 for where in been.values())
    assert not any(moved[HEALS_MAX // 2 :])
    if crashes >= 5:
        assert fleet.plan is not None
        held = {one.kind for one in fleet.plan.held}
        assert held & {HeldKind.BAD_RELEASE, HeldKind.NO_ROOM, HeldKind.NOT_READY}


def _crash_all(fleet: Fleet, crashes: int) -> None:
    memory = fleet.memory()
    for machine in fleet.machines.values():
        for name, row in list(machine.rows.items()):
            if row.phase.wants_to_run:
                down = replace(row, phase=Phase.WAITING, ready_for_s=None, restarts=row.restarts + crashes, age_s=400.0)
                machine.rows[name] = down
    found = new_failures(memory, fleet.snapshot(), (), fleet.desired(), fleet.now)
    assert len(found) == crashes * sum(
        row.phase.wants_to_run for machine in fleet.machines.values() for row in machine.rows.values()
    )
    fleet.failures += found


def avoids_no_pair(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(place, "is_avoided_there", lambda *_: False)


def starts_bad_releases(patch: pytest.MonkeyPatch) -> None:
    for module in (missing, running):
        patch.setattr(module, "bad_on", lambda *_: ())
    patch.setattr(crashing, "bad_on", lambda *_: ())


def moves_what_only_waits(patch: pytest.MonkeyPatch) -> None:
    for module in (missing, running):
        patch.setattr(module, "moves_off", lambda scene, _job, replica: bool(scene.avoided and scene.live(replica)))


@pytest.mark.parametrize("mutant", [avoids_no_pair, starts_bad_releases, moves_what_only_waits])
def test_a_planner_with_this_defect_is_caught(mutant, monkeypatch):
    """The same promise holds of the planner as it is: see `test_every_plan`."""
    mutant(monkeypatch)
    found = settings(max_examples=1000, deadline=None, derandomize=True, phases=[Phases.generate])
    with pytest.raises(AssertionError, match=r"bad pair|bad release|heal rolls"):
        found(given(failing_fleets())(breaks_no_invariant))()
