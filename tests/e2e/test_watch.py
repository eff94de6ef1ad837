"""`heal --watch` sees a host die and has its work run elsewhere, with nobody at the keyboard."""

import time

import pytest

from tests.e2e.machines import wait_until

FAULTS = (("killed", "kill", "start_again"), ("paused", "pause", "unpause"), ("cut off", "cut_off", "come_back"))
PORT = 8080  # fixed, so that who answers is asked from outside while it is timed
LONGEST_S = 30  # from the death to the last answer from a live host; the goal is a median of 10
ALL = {"web.0", "web.1", "web.2", "web.3"}


def three_deaths(fleet, figure):
    """Each fault on a host of its own, one after the other: what befell a host before is held against it."""
    fleet.deployed(ports={"http": PORT})
    whole = list(fleet.hosts)
    with fleet.watching("--interval", "1s"):
        for fault, befall, mend in FAULTS:
            host = next(program.host for program in fleet.programs() if program.host in whole)
            whole.remove(host)
            begun = time.monotonic()
            getattr(fleet.machines, befall)(host)
            wait_until(
                lambda lost=host: fleet.answering(PORT, besides=(lost,)) == ALL,
                LONGEST_S, f"all four answer from live hosts after {host} was {fault}",
            )  # fmt: skip
            figure(f"s from {fault} to all ready elsewhere, watched at 1 s", time.monotonic() - begun)
            getattr(fleet.machines, mend)(host)
            wait_until(
                lambda: fleet.run("status", "--json", "-i", str(fleet.inventory)).exit == 0,
                LONGEST_S, f"all is as wished once {host} is back",
            )  # fmt: skip
            assert sorted(program.replica for program in fleet.programs()) == sorted(ALL), "nothing runs twice"


def test_a_watched_fleet_outlives_a_host_however_it_dies(fleet, figure):
    three_deaths(fleet, figure)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(10))
def test_a_watched_fleet_outlives_a_host_however_it_dies_ten_times(fleet, turn, figure):
    three_deaths(fleet, figure)
