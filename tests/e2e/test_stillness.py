"""When in doubt nothing moves: three heals in a row, the same processes, the same epochs, no order received."""

from tests.e2e.machines import HOSTS


def test_when_no_host_answers_nothing_moves(fleet):
    fleet.deployed()
    for host in HOSTS:
        fleet.machines.cut_off(host)
    with fleet.nothing_moves(exit_code=3):
        pass


def test_three_of_five_killed_is_for_a_human_to_force(fleet):
    fleet.deployed()
    killed = (fleet.host_of("web.0"), fleet.host_of("web.1"), fleet.host_of("web.2"))
    for host in killed:
        fleet.machines.kill(host)
    with fleet.nothing_moves(exit_code=3, besides=killed):
        pass

    forced = fleet.heal("--force").ends(3)
    assert "common cause" in forced.stdout, "three at once: the work moved, and a human is told"
    fleet.await_all_answer(besides=killed)
    assert len(fleet.programs(besides=killed)) == 4
