"""A jump host is down: nothing is known of what is behind it, so nothing there moves."""

import yaml

from tests.e2e.machines import BASTION

BEHIND = ("h4", "h5")


def reached_through_bastion(fleet):
    """h4 and h5, by the inventory and by their firewall."""
    document = yaml.safe_load(fleet.inventory.read_text())
    arguments = f"-o ProxyJump=root@{fleet.machines.addresses[BASTION]}"
    document["all"]["children"]["zone_b"]["vars"]["ansible_ssh_common_args"] = arguments
    fleet.inventory.write_text(yaml.safe_dump(document, sort_keys=False))
    fleet.machines.hide_behind_bastion(*BEHIND)


def test_when_the_jump_host_is_down_all_behind_it_is_suspect_and_stays_until_one_there_is_seen_dead(fleet):
    reached_through_bastion(fleet)
    fleet.deployed(replicas=5)
    fleet.machines.kill(BASTION)
    with fleet.nothing_moves(exit_code=3):
        pass
    verdicts = fleet.verdicts()
    assert {host: verdicts[host].verdict for host in BEHIND} == dict.fromkeys(BEHIND, "suspect")
    assert all(fleet.machines.addresses[BASTION] in verdicts[host].because for host in BEHIND), verdicts
    fleet.await_all_answer(5)

    fleet.machines.kill("h4")
    fleet.machines.start_again(BASTION)
    fleet.heal().ends(4)
    assert fleet.verdicts()["h4"].verdict == "lost"
    fleet.await_all_answer(5, besides=("h4",))
