"""Sixty fixed stories of a day, and what is said of one that fails. See `python -m tests.sim --help`."""

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from fleetctl.plan import reconcile
from tests.sim.play import play
from tests.sim.story import Setting

SEEDS = range(1, 61)
WORKERS = 2
REPOSITORY = Path(__file__).parents[2]


def failure_of(setting: Setting) -> str:
    """The story, where it fails."""
    played = play(setting)
    return played.story() if played.error is not None else ""


@pytest.fixture(scope="module")
def failures():
    """By seed, as they come: the stories are told by processes of their own."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as workers:
        yield {seed: workers.submit(failure_of, Setting(seed)) for seed in SEEDS}
        workers.shutdown(cancel_futures=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_outage_is_made_worse(failures, seed):
    assert failures[seed].result() == ""


@pytest.mark.parametrize("hosts", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("seed", [1, 2])
def test_nor_in_a_small_fleet_on_a_rough_day(hosts, seed):
    assert failure_of(Setting(seed, hosts, days=0.5, rough=8.0)) == ""


def test_the_same_seed_tells_the_same_story_in_another_process():
    setting = Setting(seed=7, hosts=6, days=0.3, until_s=20_000.0, rough=6.0)
    moment = f"{setting.until_s:g}"
    command = [sys.executable, "-m", "tests.sim", *setting.command.split()[3:], "--until", f"0d 0:0:{moment}"]
    stories = {
        subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.rpartition("\nseed")[
            0
        ]
        for _ in range(2)
    }
    assert len(stories) == 1
    assert len(stories.pop().splitlines()) > 100


def test_a_failing_seed_prints_its_story_and_how_to_see_it_again(monkeypatch):
    monkeypatch.setattr(reconcile, "place_missing", lambda _draft: None)
    story = failure_of(Setting(seed=1, hosts=5, days=0.2))
    assert "web" in story
    assert "fails: BrokenError" in story
    assert "python -m tests.sim --hosts 5 --days 0.2 --seed 1 --until" in story


@pytest.mark.soak
def test_a_hundred_hosts_for_a_week():
    assert failure_of(Setting(seed=1, hosts=100, days=7.0)) == ""
