"""Releases that crash, through the real engine and store: moved once, then left, and a human is told where."""

import asyncio
from dataclasses import replace

import pytest

from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode
from fleetctl.model.plan import HeldKind, Start
from tests.unit.engine.modelled import A, B, ModelFleet, web
from tests.unit.engine.test_run import FOUR, one_each, story

MINUTE_S = 60.0


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


async def heals(fleet, minutes):
    """As cron: one each minute. The last one's result, and the replicas that were ever started, with their hosts."""
    result, been = None, {}
    for _ in range(minutes):
        for text in [text for texts in fleet.running().values() for text in texts]:
            instance, host = text.split("@h")
            been.setdefault(instance.partition("@")[0], set()).add(host)
        await asyncio.sleep(MINUTE_S)
        result = await fleet.heal()
    return result, been


def held(result, kind):
    return [held.reason for held in result.plan.held if held.kind is kind]


@story
async def test_a_host_on_which_a_release_keeps_crashing_is_left_for_another(fleet):
    await fleet.deploy(web())
    bad = fleet.hosts_of()["web.1"]
    fleet.crashes = lambda host, name: host == bad
    result, _ = await heals(fleet, 3)
    assert result.exit_code is ExitCode.AS_WISHED
    assert fleet.hosts_of()["web.1"] != bad
    one_each(fleet)
    orders = len(fleet.orders)
    await heals(fleet, 3)
    assert fleet.orders_since(orders) == [], "what was moved stays"


@story
async def test_a_release_that_crashes_everywhere_is_on_two_hosts_at_most_and_then_stays(fleet):
    await fleet.deploy(web())
    fleet.crashes = lambda host, name: name.replica.index == 1
    result, been = await heals(fleet, 12)
    assert len(been["web.1"]) == 2
    assert all(len(been[replica]) == 1 for replica in FOUR if replica != "web.1")
    assert result.exit_code is ExitCode.DEGRADED
    (reason,) = held(result, HeldKind.BAD_RELEASE)
    first, second = sorted(f"h{host}" for host in been["web.1"])
    assert reason == (
        f"web.1 of release 1 failed on {first} and {second}: a bad release is not moved any more: "
        "deploy another (see fleetctl logs web)"
    )
    orders = len(fleet.orders)
    await heals(fleet, 3)
    assert fleet.orders_since(orders) == []


@story
async def test_all_of_them_crash_as_when_what_they_need_is_down_and_come_back_with_it(tmp_path):
    fleet = ModelFleet(tmp_path, count=10)
    await fleet.deploy(web())
    fleet.crashes = lambda host, name: True
    result, been = await heals(fleet, 12)
    assert all(len(hosts) <= 2 for hosts in been.values())
    assert result.exit_code is ExitCode.DEGRADED
    fleet.crashes = lambda host, name: False
    result, _ = await heals(fleet, 2)
    assert result.exit_code is ExitCode.AS_WISHED
    one_each(fleet)


@story
async def test_what_crashes_on_several_hosts_at_once_is_not_herded_onto_the_ones_that_are_left(fleet):
    """What they need is down, and that is no host's fault: moved, all four would end up on the fifth."""
    await fleet.deploy(web())
    before = fleet.hosts_of()
    fleet.crashes = lambda host, name: True
    result, _ = await heals(fleet, 12)
    assert result.exit_code is ExitCode.DEGRADED
    assert fleet.hosts_of() == before
    fleet.crashes = lambda host, name: False
    result, _ = await heals(fleet, 2)
    assert (result.exit_code, fleet.hosts_of()) == (ExitCode.AS_WISHED, before)
    one_each(fleet)


@story
async def test_hosts_on_which_it_serves_again_get_the_work_of_one_that_dies(tmp_path):
    fleet = ModelFleet(tmp_path, count=4)
    await fleet.deploy(web())
    fleet.crashes = lambda host, name: True
    await heals(fleet, 6)
    fleet.crashes = lambda host, name: False
    for machine in fleet.machines.values():
        machine.began |= {name: machine.now() for name in machine.runs()}
    await heals(fleet, 8)
    fleet.machines["h1"].power_off()
    result, _ = await heals(fleet, 1)
    assert result.exit_code is ExitCode.UNREACHED
    one_each(fleet)


@story
async def test_one_that_failed_on_two_hosts_and_served_again_is_started_elsewhere_once_its_host_dies(fleet):
    await fleet.deploy(web())
    fleet.crashes = lambda host, name: name.replica.index == 1
    result, _ = await heals(fleet, 12)
    assert held(result, HeldKind.BAD_RELEASE)
    fleet.crashes = lambda host, name: False
    for machine in fleet.machines.values():
        machine.began |= {name: machine.now() for name in machine.runs()}
    await heals(fleet, 10)
    fleet.machines[fleet.hosts_of()["web.1"]].power_off()
    result, _ = await heals(fleet, 1)
    assert result.exit_code is ExitCode.UNREACHED
    one_each(fleet)


@story
async def test_each_crash_is_counted_once_however_often_it_is_looked_at(fleet):
    await fleet.deploy(web())
    machine = fleet.machines[fleet.hosts_of()["web.1"]]
    (name,) = (name for name in machine.runs() if name.replica.index == 1)
    machine.rows[name] = replace(machine.rows[name], restarts=3)
    for _ in range(3):
        await fleet.heal()
    failures = fleet.store.memory("test").failures
    assert [(failure.replica, failure.host) for failure in failures] == [(name.replica, machine.spec.name)] * 3


@story
async def test_a_deploy_forgets_how_its_jobs_failed_and_one_that_changes_nothing_does_too(fleet):
    await fleet.deploy(web())
    fleet.crashes = lambda host, name: name.replica.index == 1
    await heals(fleet, 12)
    assert fleet.store.memory("test").failures
    fleet.crashes = lambda host, name: False
    await fleet.deploy(web())
    assert fleet.store.memory("test").failures == ()
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED


@pytest.mark.parametrize("verb", ["restart", "start"])
@story
async def test_a_person_who_restarts_a_job_gives_it_another_try(fleet, verb):
    await fleet.deploy(web())
    fleet.crashes = lambda host, name: name.replica.index == 1
    await heals(fleet, 12)
    fleet.crashes = lambda host, name: False
    await fleet.stop("web")
    await fleet.run(Change(starts=("web",)) if verb == "start" else Change(starts=("web",), restarts=("web",)))
    assert fleet.store.memory("test").failures == ()
    one_each(fleet)


@story
async def test_a_rollout_of_a_crashing_release_stops_and_heals_do_not_carry_it_around(fleet):
    await fleet.deploy(web())
    bad = [B]
    fleet.crashes = lambda host, name: fleet.machines[host].rows[name].artifact in bad
    assert (await fleet.deploy(web(), artifact=B)).exit_code is ExitCode.FAILED
    result, been = await heals(fleet, 8)
    assert result.exit_code is ExitCode.DEGRADED
    served = {
        str(name.replica)
        for machine in fleet.machines.values()
        for name in machine.runs()
        if machine.rows[name].artifact == A
    }
    assert served == set(FOUR), "the old release serves on"
    assert not [action for action in result.plan.actions if isinstance(action, Start)]
    assert all(len(hosts) <= 2 for hosts in been.values())
