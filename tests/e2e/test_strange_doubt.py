"""Strange nights in which nobody is dead: whatever is in doubt stays as it is, and `hosts` says why."""

from tests.e2e.machines import HOSTS

DAY_S = 86400.0


def test_a_dead_or_hung_sshd_condemns_nobody_whose_service_answers(steady):
    killed, hung = steady.untouched(), steady.untouched()
    steady.machines.stop_sshd(killed)
    steady.machines.hang_sshd(hung)
    with steady.nothing_moves(exit_code=3):
        pass
    verdicts = steady.verdicts()
    assert {host: verdicts[host].verdict for host in (killed, hung)} == {killed: "suspect", hung: "suspect"}
    assert verdicts[killed].because.startswith("refused")
    assert verdicts[hung].because.startswith("hung")
    steady.await_all_answer(5)


def test_a_host_that_only_we_cant_reach_keeps_its_work_whatever_of_it_its_peers_can_see(steady):
    seen, firewalled = steady.untouched(), steady.untouched()
    steady.machines.cut_from_controller(seen)
    steady.machines.cut_from_controller(firewalled)
    steady.machines.close_ssh_to_peers(firewalled)
    with steady.nothing_moves(exit_code=3):
        pass
    verdicts = steady.verdicts()
    assert {host: verdicts[host].verdict for host in (seen, firewalled)} == {seen: "suspect", firewalled: "suspect"}
    assert any(f"{peer} " in verdicts[seen].because for peer in HOSTS if peer != seen), verdicts[seen]
    assert "can reach its SSH" in verdicts[seen].because
    assert "still answers" in verdicts[firewalled].because


def test_a_host_that_only_its_peers_cant_reach_is_healthy(steady):
    host = steady.untouched()
    steady.machines.cut_from_peers(host)
    with steady.nothing_moves(exit_code=0):
        pass
    assert steady.verdicts()[host].verdict == "healthy"


def test_a_controller_whose_clock_is_a_day_off_moves_nothing(steady):
    for days in (1, -1):
        with steady.clock_off(wall_s=days * DAY_S), steady.nothing_moves(exit_code=0) as heals:
            pass
        assert [heal.stdout + heal.stderr for heal in heals] == [""] * 3


def test_a_host_that_was_renamed_keeps_what_it_runs(steady):
    host, inventory = steady.untouched(), steady.inventory.read_text()
    steady.inventory.write_text(inventory.replace(f"{host}:", "renamed:"))
    try:
        with steady.nothing_moves(exit_code=0):
            pass
        assert "renamed" in steady.verdicts()
    finally:
        steady.inventory.write_text(inventory)
