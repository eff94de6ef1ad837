"""Strange nights in which a host is dead: its work runs elsewhere, whatever else is odd."""

from tests.e2e.machines import HOSTS

DAY_S = 86400.0
SILENCE_S = 60.0  # without witnesses, how long a host is silent until it counts as lost
TCP = {"tcp": True, "port": "http", "interval": "200ms", "timeout": "500ms", "failures": 3}


def test_a_job_with_a_tcp_probe_leaves_a_paused_host_though_its_kernel_still_accepts(fleet):
    fleet.deployed(ready=TCP)
    host = fleet.host_of("web.1")
    port = next(program.port for program in fleet.programs() if program.host == host)
    fleet.machines.pause(host)
    assert fleet.machines.first_words(host, port) == "hung", "the kernel accepts for the dead"

    fleet.heal().ends(4)
    fleet.await_all_answer(besides=(host,))


def test_a_host_that_no_peer_could_ever_reach_is_lost_once_it_was_silent_for_a_minute(fleet):
    fleet.machines.close_ssh_to_peers(*HOSTS)
    fleet.deployed()
    host = fleet.host_of("web.1")
    fleet.machines.kill(host)
    with fleet.nothing_moves(exit_code=3, besides=(host,)):
        pass
    assert "no other host has reached it before" in fleet.verdicts()[host].because

    with fleet.clock_off(boottime_s=SILENCE_S):
        fleet.heal().ends(4)
    fleet.await_all_answer(besides=(host,))


def test_a_dead_host_is_judged_rightly_by_a_controller_whose_clock_is_a_day_off(fleet):
    fleet.deployed()
    host = fleet.host_of("web.1")
    fleet.machines.kill(host)
    with fleet.clock_off(wall_s=-DAY_S):
        fleet.heal().ends(4)
    fleet.await_all_answer(besides=(host,))
    healed = fleet.picture(besides=(host,))
    fleet.heal().ends(4)
    assert fleet.picture(besides=(host,)) == healed
