"""The nets hold: each mutant below breaks one decision, and the checker or a property catches it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from fleetctl.model.replica import Generation
from fleetctl.plan import draft, due, fence, missing, place, reconcile, room, running, scene
from fleetctl.plan.budget import Budget
from fleetctl.plan.scene import Scene, Standing
from tests.property.strategies import tidy_fleets, wild_fleets

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.plan.fleets import Fleet

SEARCH = settings(
    max_examples=600,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # the first finding will do: it need not be the smallest
    suppress_health_check=list(HealthCheck),
)

Patch = "Callable[[pytest.MonkeyPatch], None]"


def too_much_lost_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "too_much_lost", lambda *_: "")


def one_more_than_the_budget(patch: pytest.MonkeyPatch) -> None:
    right = Budget.of
    patch.setattr(Budget, "of", lambda job, down: replace(right(job, down), allowed=right(job, down).allowed + 1))


def what_is_down_already_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(draft.Draft, "down_of", lambda *_: [])


def superseded_before_the_newer_was_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fence, "superseded", lambda live: [(copy, live[0]) for copy in live[1:]])


def the_epoch_is_not_raised(patch: pytest.MonkeyPatch) -> None:
    def stale(*given: Any) -> Scene:
        right = original(*given)
        return replace(right, generation=Generation(right.memory.generation))

    original = Scene.of
    patch.setattr(Scene, "of", stale)


def heal_rolls(patch: pytest.MonkeyPatch) -> None:
    def rolling(desired: Any, *rest: Any) -> Scene:
        return original(replace(desired, jobs=tuple(replace(job, rolls=True) for job in desired.jobs)), *rest)

    original = Scene.of
    patch.setattr(Scene, "of", rolling)


def suspect_is_treated_as_lost(patch: pytest.MonkeyPatch) -> None:
    def hasty(*given: Any) -> Standing:
        right = original(*given)
        return Standing.LOST if right is Standing.UNKNOWN else right

    original = scene._standing
    patch.setattr(scene, "_standing", hasty)


def unknown_instances_are_taken_for_absent(patch: pytest.MonkeyPatch) -> None:
    def forgetful(name: str, snapshot: Any, memory: Any) -> Any:
        return original(name, snapshot, memory) if name in snapshot.reachable() else ()

    original = scene._rows
    patch.setattr(scene, "_rows", forgetful)


def room_of_what_still_stops_is_given_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(draft.Draft, "retire", draft.Draft.stop)


def full_hosts_get_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(room.Room, "shortages", lambda *_: ())


def fixed_ports_are_given_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(room.Room, "fixed_taken", lambda *_: ())


def constraints_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(place, "_broken_constraints", lambda *_: [])


def nobody_waits_for_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(draft.Draft, "gate", lambda *_: None)


def too_many_move_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budget, "width", 100)


def heal_starts_the_wished_release(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(missing, "release_to_start", lambda job: job.release)


def what_is_up_to_date_is_replaced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(due, "is_outdated", lambda *_: True)


def an_unfinished_surge_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(running, "_hold_not_ready", lambda *_: None)


MUTANTS = [
    too_much_lost_is_ignored,
    one_more_than_the_budget,
    what_is_down_already_is_not_counted,
    superseded_before_the_newer_was_ready,
    the_epoch_is_not_raised,
    heal_rolls,
    suspect_is_treated_as_lost,
    unknown_instances_are_taken_for_absent,
    room_of_what_still_stops_is_given_away,
    full_hosts_get_more,
    fixed_ports_are_given_twice,
    constraints_are_forgotten,
    nobody_waits_for_ready,
    too_many_move_at_once,
    heal_starts_the_wished_release,
    what_is_up_to_date_is_replaced,
    an_unfinished_surge_is_forgotten,
]


def find_a_violation() -> None:
    """Raises where a plan breaks an invariant, or does not come to rest."""

    def keeps_every_promise(fleet: Fleet) -> None:
        fleet.apply(fleet.decide())
        assert fleet.decide().stages == ()

    SEARCH(seed(1)(given(tidy_fleets())(keeps_every_promise)))()
    SEARCH(seed(1)(given(wild_fleets())(keeps_every_promise)))()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planner_with_this_defect_is_caught(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        find_a_violation()


def test_the_planner_itself_passes_the_same_search():
    find_a_violation()
