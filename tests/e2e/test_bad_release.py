"""A release that never gets ready costs no more than its budget, and heal goes on with the good one."""

import pytest

from tests.e2e.fleet import NEVER_READY


def release_of(fleet, program):
    return fleet.machines.answers(program.address, program.port).release


@pytest.mark.parametrize("met_the_new_release", [True, False])
def test_a_build_that_never_gets_ready_stops_there_and_heal_stays_with_the_old_one(fleet, met_the_new_release):
    fleet.deployed()
    old = fleet.programs()
    release = release_of(fleet, old[0])
    fleet.write(program=NEVER_READY, update={"min_healthy": "3s", "deadline": "6s"})

    failed = fleet.deploy().ends(1)
    assert "listening on nothing: no database at db.internal" in failed.stdout + failed.stderr
    serving = fleet.serving()
    assert len(serving) >= 3, "all but max_unavailable keep serving"
    good = [program for programs in serving.values() for program in programs]
    assert set(good) <= set(old)
    useless = {program.replica for program in set(fleet.programs()) - set(old)}
    assert useless, "the new release was tried"

    lost = next(program for program in good if (program.replica in useless) is met_the_new_release)
    fleet.machines.kill(lost.host)
    fleet.heal().ends(3)  # the stalled rollout needs a human
    (again,) = fleet.serving(besides=(lost.host,))[lost.replica]
    assert release_of(fleet, again) == release
    assert [p for p in fleet.programs(besides=(lost.host,)) if p.replica == lost.replica] == [again]
