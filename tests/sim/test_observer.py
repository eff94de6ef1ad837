"""The simulator is not blind: each mutant below breaks one decision, and some of a few stories tell of it.

The plan's own checker is taken away, so that it is the observer that sees what happens in truth. The unpatched planner
passes the same stories.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fleetctl.engine import run as engine
from fleetctl.model.replica import Generation
from fleetctl.plan import draft, fence, reconcile, room, scene, verdicts
from fleetctl.plan.budget import Budget
from fleetctl.plan.scene import Scene, Standing
from tests.sim.play import play
from tests.sim.story import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.play import Played

STORIES = tuple(Setting(seed, hosts=9, days=0.5, rough=6.0) for seed in range(1, 9))


def too_much_lost_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "too_much_lost", lambda *_: "")


def more_than_the_budget(patch: pytest.MonkeyPatch) -> None:
    right = Budget.of
    patch.setattr(Budget, "of", lambda job, down: replace(right(job, down), allowed=right(job, down).allowed + 1))


def what_is_down_already_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(draft.Draft, "down_of", lambda *_: [])


def superseded_before_the_newer_was_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fence, "superseded", lambda live: [(copy, live[0]) for copy in live[1:]])


def superseded_never(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fence, "superseded", lambda _live: [])


def the_epoch_is_not_raised(patch: pytest.MonkeyPatch) -> None:
    original = Scene.of
    patch.setattr(
        Scene, "of", lambda *given: replace(made := original(*given), generation=Generation(made.memory.generation))
    )


def heal_rolls(patch: pytest.MonkeyPatch) -> None:
    original = Scene.of

    def rolling(desired: Any, *rest: Any) -> Scene:
        return original(replace(desired, jobs=tuple(replace(job, rolls=True) for job in desired.jobs)), *rest)

    patch.setattr(Scene, "of", rolling)


def suspect_is_treated_as_lost(patch: pytest.MonkeyPatch) -> None:
    original = scene._standing

    def hasty(*given: Any) -> Standing:
        right = original(*given)
        return Standing.LOST if right is Standing.UNKNOWN else right

    patch.setattr(scene, "_standing", hasty)


def witnesses_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """Whoever was asked is taken to have seen nothing."""
    patch.setattr(verdicts, "signs_of_life", lambda *_: "")
    patch.setattr(verdicts, "denials", lambda answers: [one for one in answers if one.question.reached_before])


def a_connect_proves_life_on_a_hung_host(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verdicts, "proves_life", lambda *_: True)


def room_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(room.Room, "shortages", lambda *_: ())


def ports_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(room, "_next_free", lambda *_: 20000)


def input_order_counts(patch: pytest.MonkeyPatch) -> None:
    original = reconcile.make_plan

    def hasty(desired: Any, *rest: Any) -> Any:
        made = original(desired, *rest)
        return (
            replace(
                made,
                verdicts={host.name: made.verdicts.get(host.name) for host in desired.hosts},
                held=tuple(held for held in made.held if held.subject != desired.jobs[0].name),
            )
            if made.held
            else made
        )

    patch.setattr(engine, "make_plan", hasty)


def a_plan_never_comes_to_an_end(patch: pytest.MonkeyPatch) -> None:
    """A heal after a restart restarts once more."""
    original = engine.desired

    def restless(wished: Any, inventory: Any, eligible: Any, change: Any, fresh_from: Any) -> Any:
        made = original(wished, inventory, eligible, change, fresh_from)
        if change.restarts or change.deploys:
            return made
        jobs = tuple(replace(job, fresh_from=fresh_from) if job.name == "worker" else job for job in made.jobs)
        return replace(made, jobs=jobs)

    patch.setattr(engine, "desired", restless)


def what_is_missing_is_not_started(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "place_missing", lambda _draft: None)


MUTANTS: tuple[tuple[Callable[[pytest.MonkeyPatch], None], str], ...] = (
    (too_much_lost_is_ignored, "hosts do not answer"),
    (more_than_the_budget, "are left"),
    (what_is_down_already_is_not_counted, "are left"),
    (superseded_before_the_newer_was_ready, "nothing else of it serves|are left"),
    (superseded_never, "for no good reason|serves"),
    (the_epoch_is_not_raised, ""),
    (heal_rolls, "serves|nothing else of it"),
    (suspect_is_treated_as_lost, "lives"),
    (witnesses_are_ignored, "lives"),
    (a_connect_proves_life_on_a_hung_host, "for no good reason"),
    (room_is_not_counted, "more than it has"),
    (ports_are_not_counted, "that is held|given twice"),
    (input_order_counts, "order of the input"),
    (a_plan_never_comes_to_an_end, "serves|more to do|nothing else"),
    (what_is_missing_is_not_started, "for no good reason|nothing is said of it"),
)


@pytest.mark.parametrize(("mutant", "said"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_a_mutant_is_seen_through(mutant, said, monkeypatch):
    monkeypatch.setattr(engine, "distrust", lambda *_: None)
    mutant(monkeypatch)
    failed = next((played for played in map(play, STORIES) if played.error is not None), None)
    assert failed is not None, "no story tells of it"
    assert any(part in failed.story() for part in said.split("|")), failed.story()[-3000:]


@pytest.mark.parametrize("setting", STORIES, ids=lambda setting: f"seed {setting.seed}")
def test_the_planner_as_it_is_passes_the_same_stories(setting):
    played: Played = play(setting)
    assert played.error is None, played.story()
