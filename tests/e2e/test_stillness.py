"""When in doubt nothing moves: three heals in a row, the same processes, the same epochs, no order received."""

from tests.e2e.machines import HOSTS


def test_a_host_that_only_we_cant_reach_keeps_its_work_and_hosts_says_why(fleet):
    fleet.deployed()
    host = fleet.host_of("web.1")
    fleet.machines.cut_from_controller(host)
    with fleet.nothing_moves(exit_code=3):
        pass
    verdict = fleet.verdicts()[host]
    assert verdict.verdict == "suspect"
    assert any(peer in verdict.because for peer in HOSTS if peer != host), verdict


def test_a_host_whose_sshd_is_stopped_while_its_service_answers_keeps_its_work(fleet):
    fleet.deployed()
    host = fleet.host_of("web.1")
    fleet.machines.stop_sshd(host)
    with fleet.nothing_moves(exit_code=3):
        pass
    assert "web.1" in fleet.serving()
    assert fleet.verdicts()[host].verdict == "suspect"


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

    fleet.heal("--force").ends(4)
    fleet.await_all_answer(besides=killed)
    assert len(fleet.programs(besides=killed)) == 4
