"""The state table, walked without a process."""

from __future__ import annotations

import pytest

from fleetctl.host import protocol, table
from fleetctl.host.instance import Instance

PAIRS = [(state, event) for state in table.STATES for event in table.EVENTS]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_event_in_every_state_means_exactly_one_thing(state, event):
    assert ((state, event) in table.TABLE) != ((state, event) in table.QUIET)
    following, actions = table.step(state, event)
    assert following in table.STATES
    assert all(callable(getattr(Instance, action)) for action in actions)


def test_no_row_of_the_table_is_written_twice():
    rows = [(state, event) for states, event, *_ in (*table.ROWS, *table.IGNORED) for state in states]
    assert len(rows) == len(set(rows)) == len(PAIRS)


def test_every_state_is_shown_as_a_phase_of_the_protocol():
    assert {table.phase(state) for state in table.STATES} == set(protocol.PHASES)


def test_an_unknown_event_is_an_error_not_a_silence():
    with pytest.raises(KeyError, match="nothing says"):
        table.step(table.READY, "sneezed")


def walk(state: str) -> set[str]:
    found, ahead = {state}, [state]
    while ahead:
        here = ahead.pop()
        for event in table.EVENTS:
            following, _ = table.step(here, event)
            if following not in found:
                found.add(following)
                ahead.append(following)
    return found


def test_every_state_can_be_reached_from_the_first_start():
    assert walk(table.LAUNCHING) == set(table.STATES)


def test_nothing_but_stopped_follows_an_order_to_stop():
    stopping = {table.DRAINING, table.STOPPING, table.KILLING, table.STUCK, table.STOPPED}
    for state in table.STATES:
        following, _ = table.step(state, "stop")
        assert walk(following) <= stopping


def test_what_runs_is_drained_before_it_is_asked_to_end_and_all_else_ends_at_once():
    drained = {state for state in table.STATES if table.step(state, "stop")[0] == table.DRAINING}
    assert drained == {*table.LIVE, table.DRAINING}
    for state in table.LIVE:
        actions = table.step(state, "stop")[1]
        assert "give_notice" in actions
        assert "ask_tree" not in actions
    asked = [event for event in table.EVENTS if "ask_tree" in table.step(table.DRAINING, event)[1]]
    assert asked == ["left", "drained"]


def test_a_program_that_ends_while_it_drains_is_stopped_not_started_again():
    assert {table.step(table.DRAINING, event)[0] for event in ("exited", "unfit")} == {table.STOPPED}


def test_a_program_is_started_only_from_where_none_of_it_runs():
    starts = [state for state, event in PAIRS if "launch" in table.step(state, event)[1]]
    assert starts == [table.WAITING]


DEFAULTS = {"backoff_min_s": 1.0, "backoff_max_s": 300.0, "reset_s": 600.0, "alarm_exits": 5, "alarm_s": 600.0}
PATIENT = {**DEFAULTS, "alarm_exits": 10_000}


class Life:
    """A program in virtual time: it ends again and again, and is started again after each pause."""

    def __init__(self, limits, chance: float = 0.5) -> None:
        self.limits, self.chance = limits, chance
        self.now, self.failures, self.exits, self.looping = 1000.0, 0, [], False

    def ends(self, *, ran_s: float = 0.0, ready_s: float | None = None) -> float:
        """How long it waits after a run of that length, of which it was ready for so long at the end."""
        self.now += ran_s
        since = None if ready_s is None else self.now - ready_s
        found = table.after_exit(self.failures, self.exits, self.now, since, self.limits)
        self.failures, self.exits, self.looping = found
        pause_s = table.pause_s(self.failures, self.looping, self.chance, self.limits)
        self.failures += 1
        self.now += pause_s
        return pause_s


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_backoff_doubles_from_a_second_to_five_minutes_within_a_quarter(chance):
    life = Life(PATIENT, chance)
    pauses = [life.ends() for _ in range(12)]
    middle = [min(300.0, 2.0**failures) for failures in range(12)]
    assert pauses == [pytest.approx(plain * (0.75 + 0.5 * chance)) for plain in middle]


def test_ten_minutes_of_ready_make_the_backoff_a_second_again_and_less_does_not():
    life = Life(PATIENT)
    assert [life.ends() for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert life.ends(ran_s=700.0, ready_s=599.0) == 16.0
    assert life.ends(ran_s=700.0) == 32.0, "it ran, and was not ready"
    assert life.ends(ran_s=700.0, ready_s=600.0) == 1.0
    assert life.ends() == 2.0


def test_five_ends_in_ten_minutes_are_a_crash_loop_that_is_retried_at_the_cap_for_ever():
    life = Life(DEFAULTS)
    assert [life.ends() for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert not life.looping
    assert life.ends() == 300.0
    assert life.looping
    assert {life.ends() for _ in range(1000)} == {300.0}, "also when the ends have become too rare for an alarm"
    assert life.looping
    assert life.ends(ran_s=1000.0, ready_s=900.0) == 1.0
    assert not life.looping


def test_the_alarm_is_what_the_order_says():
    limits = {**DEFAULTS, "alarm_exits": 3, "alarm_s": 10.0}
    quick = Life(limits)
    assert [quick.ends() for _ in range(3)] == [1.0, 2.0, 300.0]
    slow = Life(limits)
    assert [slow.ends(ran_s=6.0) for _ in range(3)] == [1.0, 2.0, 4.0], "never three within ten seconds"


def test_readiness_takes_its_successes_and_failures_in_a_row():
    mind = table.Readiness(successes=2, failures=3, grace_s=0.0, ready=False)
    answers = [True, False, True, True, False, False, True, False, False, False, True, True]
    said = [mind.hear(good, 100.0) for good in answers]
    assert said == ["", "", "", "ready", "", "", "", "", "", "unready", "", "ready"]


def test_failures_within_the_grace_do_not_count():
    mind = table.Readiness(successes=1, failures=1, grace_s=10.0, ready=True)
    assert mind.hear(good=False, age_s=9.0) == ""
    assert mind.hear(good=False, age_s=11.0) == "unready"
