"""Deploying: every replica answers as itself, again changes nothing, a second release on one host."""

from tests.e2e.fleet import SERVE
from tests.e2e.machines import HOSTS

QUIET_BYTES = 64 * 1024  # what a deploy that changes nothing may cost each host's interface, both ways


def test_each_of_four_replicas_answers_at_its_hosts_address_with_its_own_name_and_epoch(fleet):
    fleet.deployed()
    serving = fleet.serving()
    assert sorted(serving) == ["web.0", "web.1", "web.2", "web.3"]
    for replica, programs in serving.items():
        (program,) = programs
        assert program.address == fleet.machines.addresses[program.host], replica
    assert len({programs[0].host for programs in serving.values()}) == 4, "spread over the hosts"


def test_a_plain_users_and_a_noisy_host_take_part_like_any_other(fleet):
    fleet.deployed(replicas=5)
    assert {program.host for program in fleet.programs()} == set(HOSTS)
    fleet.await_all_answer(5)


def test_a_second_deploy_changes_nothing_and_costs_next_to_nothing(fleet, figure):
    fleet.deployed()
    before = fleet.picture()
    sent = {host: fleet.machines.interface_bytes(host) for host in HOSTS}

    fleet.deploy().ends(0)

    cost = {host: fleet.machines.interface_bytes(host) - sent[host] for host in HOSTS}
    figure("KiB per host, a deploy that changes nothing", max(cost.values()) / 1024)
    assert fleet.picture() == before
    assert max(cost.values()) < QUIET_BYTES, cost


def test_heal_with_nothing_to_do_prints_nothing(fleet):
    fleet.deployed()
    with fleet.nothing_moves(exit_code=0) as heals:
        pass
    assert [(heal.stdout, heal.stderr) for heal in heals] == [("", "")] * 3


def test_one_host_alone_gets_a_second_release_by_surge(one_host):
    one_host.deployed(replicas=2)
    one_host.write(replicas=2, program=f"{SERVE}# second\n")
    with one_host.machines.watched("h1") as looks:
        one_host.deploy().ends(0)

    assert len(looks) > 10
    assert all({replica for replica, _ in look} == {"web.0", "web.1"} for look in looks), "both answered all the time"
    old, new = {epoch for _, epoch in looks[0]}, {epoch for _, epoch in looks[-1]}
    assert max(old) < min(new)
    assert len(one_host.programs()) == 2


def test_one_host_alone_gets_a_second_release_stop_first_where_the_port_is_fixed(one_host):
    one_host.deployed(replicas=1, ports={"http": 8080})
    one_host.write(replicas=1, ports={"http": 8080}, program=f"{SERVE}# second\n")
    with one_host.machines.watched("h1") as looks:
        one_host.deploy().ends(0)

    ((_, old),), ((_, new),) = looks[0], looks[-1]
    assert old < new
    (row,) = one_host.status().instances
    assert (row.restarts, row.last_exit) == (0, None), "the port was free as the second one began: it bound it at once"
    assert [program.port for program in one_host.programs()] == [8080]
    one_host.await_all_answer(1)
