"""Several controllers, or none that remembers: whoever is not the newest is refused and told who is."""

import getpass
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.fleet import Fleet

HERE = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture
def other(machines, tmp_path):
    """Another user of the same hosts: nothing of the first one's folders is theirs."""
    return Fleet(machines, tmp_path / "other")


def replicas(fleet):
    return [program.replica for program in fleet.programs()]


def test_of_two_controllers_that_deploy_at_once_each_host_obeys_one_and_no_double_remains(fleet, other):
    for each in (fleet, other):
        each.write()
    with ThreadPoolExecutor(2) as pool:
        ended = [running.result() for running in [pool.submit(each.deploy) for each in (fleet, other)]]
    assert sorted(one.exit for one in ended) in ([0, 5], [5, 5]), ended
    assert all(HERE in one.stderr for one in ended if one.exit == 5), ended
    assert len(set(replicas(fleet))) == len(replicas(fleet)), "never two of one replica"

    for driver, former in ((fleet, other), (other, fleet)):
        driver.deploy("--take-over", "--adopt").ends(0)  # each has a playbook of its own
        driver.await_all_answer()
        assert replicas(driver) == ["web.0", "web.1", "web.2", "web.3"]
        before = driver.picture()
        refused = former.heal().ends(5)
        assert "--take-over" in refused.stderr
        assert driver.picture() == before
    other.heal().ends(0)
    assert other.picture() == before


def test_the_store_is_lost_and_then_a_host_and_somebody_with_an_empty_one_takes_over(fleet, other):
    fleet.deployed()
    kept = fleet.programs()
    shutil.rmtree(fleet.state)
    shutil.rmtree(fleet.project / "build")
    host = fleet.host_of("web.1")
    fleet.machines.kill(host)

    refused = other.heal().ends(5)
    assert HERE in refused.stderr
    assert "--take-over" in refused.stderr
    assert other.programs(besides=(host,)) == tuple(program for program in kept if program.host != host)

    other.heal("--take-over").ends(4)
    other.await_all_answer(besides=(host,))
    assert set(other.programs(besides=(host,))) >= {program for program in kept if program.host != host}
    other.machines.start_again(host)
    other.heal().ends(0)
    assert replicas(other) == ["web.0", "web.1", "web.2", "web.3"]
