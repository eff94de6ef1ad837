"""A host is lost: killed (silent), paused (hung) or cut off (DROP). Its work runs elsewhere, and comes back tidily."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.machines import wait_until

FAULTS = {"killed": "kill", "paused": "pause", "cut off": "cut_off"}
MENDS = {"killed": "start_again", "paused": "unpause", "cut off": "come_back"}
PORT = 8080  # fixed, so that who answers is asked from outside while it is timed
LONGEST_S = 30  # from the fault to the last answer from a live host


def lose(fleet, fault, host):
    getattr(fleet.machines, FAULTS[fault])(host)


def answers_elsewhere(fleet, fault, host, figure):
    """One heal, and all four answer from live hosts; how long that took from the fault on."""
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        lose(fleet, fault, host)
        healing = pool.submit(fleet.heal)

        def all_answer():
            if healing.done():
                healing.result().ends(4)
            return fleet.answering(PORT, besides=(host,)) == {"web.0", "web.1", "web.2", "web.3"}

        wait_until(all_answer, LONGEST_S, f"all four answer from live hosts after {host} was {fault}")
        figure(f"s from {fault} to the last answer", time.monotonic() - begun)
        healing.result().ends(4)
        figure(f"s from {fault} to the end of heal", time.monotonic() - begun)
    fleet.await_all_answer(besides=(host,), timeout_s=0)
    assert len(fleet.programs(besides=(host,))) == 4


@pytest.mark.parametrize("fault", FAULTS)
def test_one_heal_and_all_four_answer_from_live_hosts_and_a_host_that_comes_back_is_tidied(fleet, fault, figure):
    fleet.deployed(ports={"http": PORT})
    host = fleet.host_of("web.1")
    (old,) = [program for program in fleet.programs() if program.host == host]
    answers_elsewhere(fleet, fault, host, figure)
    moved = fleet.programs(besides=(host,))

    getattr(fleet.machines, MENDS[fault])(host)
    alive = fault != "killed"
    assert fleet.programs() == tuple(sorted((*moved, old) if alive else moved, key=lambda p: (p.replica, p.epoch)))
    fleet.heal().ends(0)
    assert fleet.programs() == moved, "the old program is gone, and nothing else moved"
    fleet.await_all_answer()


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)  # varies fastest: the faults interleave
@pytest.mark.parametrize("turn", range(10))
def test_one_heal_and_all_four_answer_from_live_hosts_ten_times(fleet, fault, turn, figure):
    fleet.deployed(ports={"http": PORT})
    answers_elsewhere(fleet, fault, fleet.host_of(f"web.{turn % 4}"), figure)


def test_an_old_program_serves_until_the_newer_one_was_ready(fleet):
    fleet.deployed(update={"min_healthy": "3s", "deadline": "12s"})
    host = fleet.host_of("web.1")
    (old,) = [program for program in fleet.programs() if program.host == host]
    others = tuple(name for name in fleet.hosts if name != host)
    fleet.make_unready(*others)
    fleet.machines.cut_off(host)
    fleet.heal().ends(1, 3)
    fleet.machines.come_back(host)

    fleet.heal().ends(0, 1, 3)
    assert old in fleet.programs(), "nothing newer of web.1 was ever ready"
    assert fleet.serving()["web.1"] == [old]

    fleet.make_ready(*others)
    fleet.heal().ends(0)
    fleet.await_all_answer()
    assert [program.replica for program in fleet.programs()] == ["web.0", "web.1", "web.2", "web.3"]


def test_a_host_that_rebooted_before_any_heal_runs_the_same_instances_again(fleet):
    fleet.deployed()
    host = fleet.host_of("web.1")
    before = fleet.programs()
    fleet.machines.kill(host)
    fleet.machines.start_again(host)

    fleet.heal().ends(0)
    fleet.await_all_answer()
    after = fleet.programs()
    placed = [(program.host, program.replica, program.epoch) for program in before]
    assert [(program.host, program.replica, program.epoch) for program in after] == placed
    assert [program for program in after if program.host != host] == [p for p in before if p.host != host]
