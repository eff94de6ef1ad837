"""fleetctl is ended at any moment of a deploy, by kill -9 or Ctrl-C; the next heal or deploy goes on from there."""

import random
import signal

import pytest

from tests.e2e.fleet import SERVE


def interrupted(fleet, number, text, chance, whole_s):
    """A changed build whose deploy is ended by a signal at a random moment; that moment."""
    for attempt in range(100):
        fleet.write(program=f"{SERVE}# {text}, attempt {attempt}\n")
        delay_s = chance.uniform(0.3, whole_s)
        ended = fleet.signalled_after(delay_s, number, "deploy", str(fleet.playbook), "-i", str(fleet.inventory))
        if ended != 0:
            assert ended == (130 if number == signal.SIGINT else -number)
            return delay_s
    raise AssertionError(f"every one of 100 deploys ended before its signal, within {whole_s} s")


def seconds_of_a_whole_deploy(fleet):
    fleet.deployed()
    fleet.write(program=f"{SERVE}# changed\n")
    return fleet.deploy().ends(0).seconds


def survives(fleet, times, seed):
    chance = random.Random(seed)
    whole_s = seconds_of_a_whole_deploy(fleet)
    for turn in range(times):
        delay_s = interrupted(fleet, signal.SIGKILL, f"turn {turn}", chance, whole_s)
        if turn % 2:
            fleet.deploy().ends(0)
        else:
            fleet.heal().ends(0, 3)  # 3: the rollout it leaves behind is shown until the next deploy
        where = f"seed {seed}, turn {turn}, killed after {delay_s:.2f} of {whole_s:.2f} s"
        assert [program.replica for program in fleet.programs()] == ["web.0", "web.1", "web.2", "web.3"], where
        fleet.await_all_answer()


def test_four_answer_and_exactly_four_run_after_a_kill_at_any_moment(fleet):
    survives(fleet, 4, seed=random.randrange(10**6))


@pytest.mark.soak
def test_four_answer_and_exactly_four_run_after_twenty_kills(fleet):
    survives(fleet, 20, seed=random.randrange(10**6))


def test_after_ctrl_c_the_next_deploy_goes_on(fleet):
    whole_s = seconds_of_a_whole_deploy(fleet)
    interrupted(fleet, signal.SIGINT, "interrupted", random.Random(), whole_s)
    fleet.deploy().ends(0)
    assert [program.replica for program in fleet.programs()] == ["web.0", "web.1", "web.2", "web.3"]
    fleet.await_all_answer()
