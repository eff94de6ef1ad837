"""At most one run changes a fleet; a run that is gone holds nobody up, and nobody removes a lock by hand."""

import os
from contextlib import ExitStack
from dataclasses import replace

import pytest

from fleetctl.clock import SystemClock
from fleetctl.errors import StateError, YieldError
from fleetctl.state import lock as lock_module
from fleetctl.state.identity import is_gone, this_process
from fleetctl.state.store import Store
from tests.unit.state.scene import another_process, kill, plan, wait_until_dead

HERE = this_process()
ELSEWHERE = replace(HERE, host="other", machine="other", boot="other", user="bob", pid=77)


def test_a_second_run_is_told_who_holds_the_lock_since_when_doing_what_and_how_long(open_store, clock):
    open_store().lock("prod", "deploy web.yml")
    clock.passes(10)
    with pytest.raises(YieldError) as told:
        open_store().lock("prod", "heal")
    assert told.value.exit_code == 5
    assert f"held by {HERE.user}@{HERE.host} (pid {os.getpid()}) since 2025-06-1" in told.value.message
    assert "running 'deploy web.yml'" in told.value.message
    assert "ends in 20 s" in told.value.message


def test_a_released_lock_is_free_and_can_be_released_twice(open_store):
    first = open_store().lock("prod", "deploy")
    first.release(0)
    with open_store().lock("prod", "heal"):
        first.release(0)
        with pytest.raises(YieldError):
            open_store().lock("prod", "heal")


def test_an_error_lets_go_of_the_lock(open_store):
    with pytest.raises(ZeroDivisionError), open_store().lock("prod", "deploy"):
        raise ZeroDivisionError
    open_store().lock("prod", "heal")


def test_each_fleet_has_a_lock_of_its_own(open_store):
    open_store().lock("prod", "deploy")
    open_store().lock("stage", "deploy")


def test_with_less_than_five_seconds_left_nothing_may_be_sent(open_store, clock):
    held = open_store().lock("prod", "deploy")
    clock.passes(25)
    held.assert_held()
    assert held.seconds_left() == 5.0
    clock.passes(0.1)
    with pytest.raises(YieldError, match="the run lock of prod is ours for 5 s only: nothing more is sent"):
        held.assert_held()
    clock.passes(3600)  # the machine slept
    with pytest.raises(YieldError, match="ours for 0 s only"):
        held.assert_held()


def test_renewing_gives_thirty_seconds_again_to_us_and_in_the_eyes_of_others(open_store, clock):
    held = open_store().lock("prod", "deploy")
    clock.passes(20)
    held.renew()
    assert held.seconds_left() == 30.0
    clock.passes(29)
    with pytest.raises(YieldError, match="ends in 1 s"):
        open_store().lock("prod", "heal")


def test_a_lease_that_ran_out_passes_to_the_next_and_the_first_is_told_who_has_it(open_store, clock):
    first = open_store().lock("prod", "deploy")
    clock.passes(30)
    second = open_store().lock("prod", "heal")
    for attempt in (first.assert_held, first.renew, first.assert_held):
        with pytest.raises(YieldError):
            attempt()
    with pytest.raises(YieldError, match=r"was lost: held by .* running 'heal'"):
        first.renew()
    first.release(1)
    second.renew()
    second.assert_held()


def test_a_run_knows_whether_the_one_before_it_may_still_go_on(open_store, clock):
    with open_store().lock("prod", "heal") as first:
        assert not first.may_be_followed, "there was none"
    second = open_store().lock("prod", "deploy")
    assert not second.may_be_followed, "it ended by itself"
    clock.passes(30)
    assert open_store().lock("prod", "heal").may_be_followed, "it lives, and slept"
    rebooted = open_store(here=replace(HERE, boot="the next one"))
    assert not rebooted.lock("prod", "heal").may_be_followed, "it is surely gone"


def test_who_learns_in_a_transaction_that_the_lock_is_lost_sends_nothing_whatever_time_was_left(open_store):
    store = open_store(here=replace(HERE, boot="the one before"))
    first = store.lock("prod", "deploy")
    open_store().lock("prod", "heal")
    with pytest.raises(YieldError, match="was lost"):
        store.record_observation(first, "prod", {})
    with pytest.raises(YieldError, match="ours for 0 s only"):
        first.assert_held()


def test_a_lease_that_ran_out_but_that_nobody_took_can_be_renewed(open_store, clock):
    held = open_store().lock("prod", "deploy")
    clock.passes(3600)
    held.renew()
    held.assert_held()


def test_setting_the_wall_clock_neither_ends_a_lease_nor_makes_it_longer(open_store, clock):
    held = open_store().lock("prod", "deploy")
    clock.walltime += 86_400
    held.assert_held()
    with pytest.raises(YieldError):
        open_store().lock("prod", "heal")
    clock.walltime -= 2 * 86_400
    clock.passes(30)
    open_store().lock("prod", "heal")


def test_who_has_lost_the_lock_writes_nothing_but_what_became_of_its_actions(open_store, clock):
    store = open_store()
    first = store.lock("prod", "deploy")
    clock.passes(31)
    second = open_store().lock("prod", "heal")
    for write in (
        lambda: store.write_plan(first, "prod", plan(1)),
        lambda: store.record_observation(first, "prod", {}),
        lambda: store.mark_good(first, "prod", "web", 1),
    ):
        with pytest.raises(YieldError, match="was lost"):
            write()
    assert store.memory("prod").generation == 0
    store.write_plan(second, "prod", plan(1))


def test_the_lock_of_one_fleet_is_no_leave_to_change_another(store):
    with store.lock("prod", "deploy") as lock, pytest.raises(StateError, match="prod does not cover stage"):
        store.write_plan(lock, "stage", plan(1))


# Whether the holder is gone


@pytest.mark.parametrize(
    ("holder", "gone"),
    [
        (HERE, False),
        (replace(HERE, boot="the one before"), True),  # the machine started again since
        (replace(HERE, init_started=-1), True),  # the container did
        (replace(HERE, started=-1), True),  # the pid belongs to another process by now
        (replace(HERE, pid=2**22 + 1), True),  # no such pid: beyond what the kernel gives out
        (replace(HERE, pid=2**22 + 1, pid_namespace=1), False),  # inside a container that we can't look into
        (replace(HERE, pid=2**22 + 1, pid_namespace=1, init_started=-1), False),
        (ELSEWHERE, False),
        (replace(HERE, boot="of a twin", machine="other"), False),
        (replace(HERE, boot="of a twin", host="other"), False),
        (replace(HERE, boot=""), False),  # it could not say
        (replace(HERE, started=None), False),
    ],
)
def test_a_holder_is_gone_only_where_that_is_sure(holder, gone):
    assert is_gone(holder, HERE) is gone


def test_where_boots_have_no_names_a_missing_pid_is_sign_enough():
    nameless = replace(HERE, boot="", init_started=None, pid_namespace=None, started=None)
    assert is_gone(replace(nameless, pid=2**22 + 1), nameless)
    assert not is_gone(nameless, nameless)
    assert not is_gone(replace(nameless, pid=2**22 + 1, host="other"), nameless)


def test_a_holder_on_this_machine_that_is_gone_has_lost_the_lock_at_once(open_store):
    open_store(here=replace(HERE, boot="the one before")).lock("prod", "deploy")
    open_store().lock("prod", "heal")


def test_a_holder_on_another_machine_has_it_until_its_lease_is_over_by_the_wall_clock(open_store, clock):
    open_store(here=ELSEWHERE).lock("prod", "deploy")
    clock.boottime += 86_400  # says nothing about another machine
    clock.walltime += 29
    with pytest.raises(YieldError, match=r"bob@other \(pid 77\).*ends in 1 s"):
        open_store().lock("prod", "heal")
    clock.walltime += 1
    open_store().lock("prod", "heal")


# With real processes


def take_and_hold(folder):
    def work(say):
        lock = Store.open(folder, clock=SystemClock()).lock("prod", "deploy")
        say("held")
        lock.assert_held()

    return work


def test_kill_9_of_the_holder_frees_the_lock_at_once(folder):
    with another_process(take_and_hold(folder)) as (pid, hears):
        assert hears.readline() == "held\n"
        store = Store.open(folder, clock=SystemClock())
        with pytest.raises(YieldError, match=rf"\(pid {pid}\)"):
            store.lock("prod", "heal")
        kill(pid)
        store.lock("prod", "heal").release()
        store.close()


def test_so_does_a_death_that_nobody_has_asked_for_yet(folder):
    with another_process(take_and_hold(folder)) as (pid, hears):
        assert hears.readline() == "held\n"
        os.kill(pid, 9)
        wait_until_dead(pid)
        store = Store.open(folder, clock=SystemClock())
        store.lock("prod", "heal").release()
        store.close()


def test_of_eight_processes_that_want_it_at_once_exactly_one_gets_it(folder):
    """The store itself is made by one of them, too."""
    go_when_closed, starter = os.pipe()

    def work(say):
        os.close(starter)
        os.read(go_when_closed, 1)
        try:
            Store.open(folder, clock=SystemClock()).lock("prod", "deploy")
        except YieldError:
            say("yields")
        else:
            say("holds")

    with ExitStack() as stack:
        heard = [stack.enter_context(another_process(work))[1] for _ in range(8)]
        os.close(starter)
        answers = [hears.readline() for hears in heard]
    os.close(go_when_closed)
    assert sorted(answers) == ["holds\n"] + ["yields\n"] * 7


# History


def test_every_run_leaves_a_record_and_one_that_was_killed_has_no_end(open_store, clock):
    store = open_store()
    open_store(here=replace(HERE, boot="the one before")).lock("prod", "deploy a.yml")
    clock.passes(60)
    with store.lock("prod", "heal") as lock:
        clock.passes(3)
        lock.release(4, ("h3 can't be reached: no route", "web.1: started on h2"))
    second, first = store.runs("prod", newest=5)
    assert (first.command, first.ended_wall, first.exit_code) == ("deploy a.yml", None, None)
    assert (second.command, second.exit_code, second.driver) == ("heal", 4, str(HERE))
    assert second.ended_wall - second.started_wall == 3
    assert second.lines == ("h3 can't be reached: no route", "web.1: started on h2")
    assert store.runs("prod", newest=1) == (second,)
    assert store.runs("stage", newest=1) == ()


def test_of_runs_that_had_nothing_to_say_only_the_newest_are_kept(store, monkeypatch):
    monkeypatch.setattr(lock_module, "QUIET_RUNS_KEPT", 3)
    for number in range(9):
        store.lock("prod", f"heal {number}").release(0, ("moved web.1",) if number == 2 else ())
    assert [run.command for run in store.runs("prod", newest=99)] == [f"heal {n}" for n in (8, 7, 6, 5, 2)]


def test_a_run_that_was_killed_and_one_that_a_person_typed_are_kept_however_little_they_said(open_store, monkeypatch):
    monkeypatch.setattr(lock_module, "QUIET_RUNS_KEPT", 3)
    store = open_store()
    store.lock("prod", "cordon h3").release(0)
    open_store(here=replace(HERE, boot="the one before")).lock("prod", "heal")
    for number in range(9):
        store.lock("prod", f"heal {number}").release(0)
    assert [run.command for run in store.runs("prod", newest=99)][-3:] == ["heal 5", "heal", "cordon h3"]
