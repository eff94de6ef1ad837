"""Instants that were written down keep their age over a reboot, and never lie in the future."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.state.identity import this_process
from fleetctl.state.timebase import Timebase, translated
from tests.unit.state.scene import WALL, SetClock, plan

HERE = this_process()


def remember(store, *, silent_since, verdict_since):
    verdict = HostVerdict(Health.SUSPECT, "silent", Instant(verdict_since))
    with store.lock("prod", "heal") as lock:
        host = HostMemory("192.0.2.1", 1, Instant(silent_since), verdict)
        store.record_observation(lock, "prod", {"h1": host})


def ages(store, clock):
    host = store.memory("prod").hosts["h1"]
    return clock.now() - host.silent_since, clock.now() - host.verdict.since


def test_within_a_boot_an_instant_is_exact_even_when_the_wall_clock_is_set(open_store, clock):
    remember(open_store(), silent_since=940.25, verdict_since=930.5)
    clock.passes(60)
    clock.walltime -= 7200
    host = open_store().memory("prod").hosts["h1"]
    assert (host.silent_since, host.verdict.since) == (940.25, 930.5)


def test_after_a_reboot_ages_go_on_by_the_wall_clock(open_store, clock):
    remember(open_store(), silent_since=940.0, verdict_since=400.0)
    rebooted = SetClock(now=20.0, wall=clock.walltime + 300)
    store = open_store(here=replace(HERE, boot="the next"), clock=rebooted)
    assert ages(store, rebooted) == (360.0, 900.0)


def test_a_wall_clock_that_was_set_back_over_a_reboot_gives_no_age_at_all(open_store, clock):
    remember(open_store(), silent_since=940.0, verdict_since=400.0)
    rebooted = SetClock(now=20.0, wall=clock.walltime - 86_400)
    store = open_store(here=replace(HERE, boot="the next"), clock=rebooted)
    assert ages(store, rebooted) == (0.0, 0.0)


def test_what_was_read_after_a_reboot_can_be_written_again_and_keeps_its_age(open_store, clock):
    remember(open_store(), silent_since=940.0, verdict_since=400.0)
    rebooted = SetClock(now=20.0, wall=clock.walltime + 300)
    second = replace(HERE, boot="second")
    store = open_store(here=second, clock=rebooted)
    with store.lock("prod", "heal") as lock:
        store.record_observation(lock, "prod", store.memory("prod").hosts)
    rebooted.passes(5)
    assert ages(open_store(here=second, clock=rebooted), rebooted) == (365.0, 905.0)
    third = SetClock(now=1.0, wall=rebooted.walltime + 10)
    assert ages(open_store(here=replace(HERE, boot="third"), clock=third), third) == (375.0, 915.0)


def test_a_machine_that_does_not_name_its_boots_goes_by_the_wall_clock(open_store, clock):
    nameless = replace(HERE, boot="")
    remember(open_store(here=nameless), silent_since=940.0, verdict_since=400.0)
    rebooted = SetClock(now=20.0, wall=clock.walltime + 300)
    assert ages(open_store(here=nameless, clock=rebooted), rebooted) == (360.0, 900.0)


def test_a_plan_that_is_read_after_a_reboot_has_its_verdicts_at_their_age(open_store, clock):
    store = open_store()
    with store.lock("prod", "heal") as lock:
        verdicts = {"h1": HostVerdict(Health.LOST, "silent", Instant(990.0))}
        store.write_plan(lock, "prod", plan(1, verdicts=verdicts))
    rebooted = SetClock(now=20.0, wall=WALL + 300)
    written, _ = open_store(here=replace(HERE, boot="the next"), clock=rebooted).plan_of("prod", 1)
    assert rebooted.now() - written.verdicts["h1"].since == 310.0


@given(
    st.floats(-1e9, 1e9), st.floats(0, 1e9), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.sampled_from(["a", "b", ""])
)
def test_nothing_ever_lies_in_the_future(instant, now, then_wall, here_wall, boot):
    here = Timebase("a", here_wall)
    assert translated(Instant(instant), Timebase(boot, then_wall), here, Instant(now)) <= now
