"""fleetctl is ended by kill -9 at any moment of a deploy; the next heal or deploy goes on from there."""

import random

import pytest

from tests.e2e.fleet import SERVE


def survives(fleet, times, seed):
    chance = random.Random(seed)
    fleet.deployed()
    fleet.write(program=f"{SERVE}# changed\n")
    whole_s = fleet.deploy().ends(0).seconds
    for turn in range(times):
        fleet.write(program=f"{SERVE}# {turn}\n")
        while not fleet.killed_after(
            delay_s := chance.uniform(0.3, whole_s), "deploy", str(fleet.playbook), "-i", str(fleet.inventory)
        ):
            fleet.write(program=f"{SERVE}# {turn}, after one that ended before its kill at {delay_s:.2f} s\n")
        if turn % 2:
            fleet.deploy().ends(0)
        else:
            fleet.heal().ends(0, 3)  # 3: the rollout it leaves behind is shown until the next deploy
        where = f"seed {seed}, turn {turn}, killed after {delay_s:.2f} of {whole_s:.2f} s"
        programs = fleet.programs()
        assert [program.replica for program in programs] == ["web.0", "web.1", "web.2", "web.3"], where
        fleet.await_all_answer()


def test_four_answer_and_exactly_four_run_after_a_kill_at_any_moment(fleet):
    survives(fleet, 4, seed=random.randrange(10**6))


@pytest.mark.soak
def test_four_answer_and_exactly_four_run_after_twenty_kills(fleet):
    survives(fleet, 20, seed=random.randrange(10**6))
