"""The nets hold: each mutant below breaks one decision, and the checker or a property catches it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from fleetctl.model.replica import Generation
from fleetctl.plan import behind, draft, due, fence, leaving, missing, place, reconcile, room, running, scene
from fleetctl.plan.budget import Budget
from fleetctl.plan.scene import Scene, Standing
from tests.property.strategies import strained_fleets, tidy_fleets, wild_fleets

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.plan.fleets import Fleet

SEARCH = settings(
    max_examples=400,
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


def pending_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    def hopeful(self: draft.Draft, job: str) -> Any:
        return [replica for replica in right(self, job) if self.down[replica] != "not running"]

    right = draft.Draft.down_of
    patch.setattr(draft.Draft, "down_of", hopeful)


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
    def forgetful(name: str, fleet: str, snapshot: Any, memory: Any) -> Any:
        return original(name, fleet, snapshot, memory) if name in snapshot.reachable() else ()

    original = scene._rows
    patch.setattr(scene, "_rows", forgetful)


def room_of_what_no_wish_names_is_freed(patch: pytest.MonkeyPatch) -> None:
    def forgetful(spec: Any, report: Any) -> Any:
        known = tuple(row for row in report.instances if row.name.job in ("web", "db"))
        return original(spec, replace(report, instances=known, ports_in_use=frozenset()))

    original = room._room
    patch.setattr(room, "_room", forgetful)


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


def the_limit_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scene, "is_frozen", lambda *_: False)


def cordons_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scene, "closed", lambda *_: {})


def half_an_inventory_is_drained(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leaving, "truncated", lambda *_: "")


def one_more_silent_host_is_spared(patch: pytest.MonkeyPatch) -> None:
    def generous(self: draft.Draft) -> frozenset[str]:
        desired = self.scene.desired
        more = replace(desired, allow_unreachable=desired.allow_unreachable + 1)
        return original(replace(self, scene=replace(self.scene, desired=more)))

    original = behind.excused
    patch.setattr(draft, "excused", generous)


def others_start_before_what_is_overdue(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(draft, "overdue", lambda *_: {})


def all_are_restarted_at_once(patch: pytest.MonkeyPatch) -> None:
    right = Budget.of
    patch.setattr(Budget, "of", lambda job, down: replace(right(job, down), one_by_one=False))


def a_drain_brings_the_wished_release(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(due, "_running", lambda job, _: job.release)


MUTANTS = [
    room_of_what_no_wish_names_is_freed,
    pending_is_not_counted,
    the_limit_is_forgotten,
    cordons_are_forgotten,
    half_an_inventory_is_drained,
    one_more_silent_host_is_spared,
    others_start_before_what_is_overdue,
    all_are_restarted_at_once,
    a_drain_brings_the_wished_release,
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

    SEARCH(seed(1)(given(strained_fleets())(keeps_every_promise)))()
    SEARCH(seed(1)(given(tidy_fleets())(keeps_every_promise)))()
    SEARCH(seed(1)(given(wild_fleets())(keeps_every_promise)))()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planner_with_this_defect_is_caught(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        find_a_violation()


def test_the_planner_itself_passes_the_same_search():
    find_a_violation()
