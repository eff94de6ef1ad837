"""A release that never gets ready costs no more than its budget, and heal goes on with the good one."""

from tests.e2e.fleet import NEVER_READY


def release_of(fleet, program):
    return fleet.machines.answers(program.address, program.port).release


def test_a_build_that_never_gets_ready_stops_there_and_heal_stays_with_the_old_one(fleet):
    fleet.deployed()
    old = fleet.programs()
    release = release_of(fleet, old[0])
    fleet.write(program=NEVER_READY, update={"min_healthy": "3s", "deadline": "6s"})

    failed = fleet.deploy().ends(1)
    assert "listening on nothing: no database at db.internal" in failed.stdout + failed.stderr
    good = [programs[0] for programs in fleet.serving().values()]
    assert len(good) >= 3, "all but max_unavailable keep serving"
    assert set(good) <= set(old)

    lost = good[0]
    fleet.machines.kill(lost.host)
    fleet.heal().ends(3, 4)
    (again,) = fleet.serving(besides=(lost.host,))[lost.replica]
    assert release_of(fleet, again) == release
