"""The commands beside deploy and heal: check and plan touch nothing, logs and stop do as they say."""

from tests.e2e.machines import HOSTS


def knocks(fleet):
    return {host: fleet.machines.connections_counted(host) for host in HOSTS}


def test_check_finds_a_valid_playbook_valid_without_a_connection(fleet):
    fleet.write()
    knocks(fleet)
    fleet.run("check", str(fleet.playbook), "-i", str(fleet.inventory)).ends(0)
    assert knocks(fleet) == dict.fromkeys(HOSTS, 0)


def test_plan_tells_what_a_deploy_would_do_and_leaves_nothing_on_any_host(fleet):
    fleet.write()
    before = fleet.picture()
    planned = fleet.run("plan", str(fleet.playbook), "-i", str(fleet.inventory)).ends(0, 3)
    assert all(f"web.{index}" in planned.stdout for index in range(4)), planned
    assert fleet.picture() == before
    for host in HOSTS:
        assert fleet.machines.installed(host) == [], f"{host}: a command that only reads installs nothing"


def test_logs_shows_every_instances_lines_and_names_hosts_that_cant_be_asked(fleet):
    fleet.deployed()
    shown = fleet.run("logs", "web", "-i", str(fleet.inventory)).ends(0).stdout
    assert all(f"web.{index} is here" in shown for index in range(4)), shown

    gone = fleet.host_of("web.1")
    fleet.machines.kill(gone)
    partly = fleet.run("logs", "web", "-i", str(fleet.inventory))
    assert "web.0 is here" in partly.stdout, partly
    assert "web.1 is here" not in partly.stdout, partly
    assert gone in partly.stdout + partly.stderr, partly


def test_a_stopped_job_stays_stopped_until_the_next_deploy(fleet):
    fleet.deployed()
    fleet.run("stop", "web", "-i", str(fleet.inventory)).ends(0)
    assert fleet.programs() == ()
    fleet.heal().ends(0)
    assert fleet.programs() == ()
    fleet.deploy().ends(0)
    fleet.await_all_answer()
