"""Runs of an older fleetctl at hosts some of which a newer one drives."""

import pytest

from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, UnansweredError
from fleetctl.model.plan import HeldKind
from fleetctl.model.verdict import Health
from tests.unit.engine.modelled import KILLED, NEWER, UP, ModelFleet, web
from tests.unit.engine.test_run import one_each, story


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


def upgrade(fleet, *hosts):
    for name in hosts:
        fleet.machines[name].state = NEWER
        fleet.machines[name].agent += 1


@story
async def test_the_others_are_healed_and_nothing_of_the_newer_ones_is_replaced(fleet):
    await fleet.deploy(web())
    before = fleet.running()
    victim, newer, *_ = sorted(fleet.hosts_of().values())
    upgrade(fleet, newer)
    fleet.machines[victim].state = KILLED
    healed = await fleet.heal()
    assert healed.exit_code is ExitCode.YIELDED
    moved = {replica for replica, where in fleet.running().items() if where != before[replica]}
    assert moved == {replica for replica, where in before.items() if where[0].endswith(f"@{victim}")}
    assert [held.subject for held in healed.plan.held if held.kind is HeldKind.NEWER] == [newer]
    assert healed.verdicts[newer].health is Health.HEALTHY


@story
async def test_heals_of_cron_at_newer_hosts_alone_do_nothing_and_write_no_plan(fleet):
    await fleet.deploy(web())
    running, generation = one_each(fleet), fleet.store.memory("test").generation
    upgrade(fleet, *fleet.machines)
    dialled, messages = len(fleet.dialled), len(fleet.messages)
    for _ in range(3):
        healed = await fleet.heal()
        assert (healed.exit_code, healed.sweeps, healed.results) == (ExitCode.YIELDED, 1, ())
        assert {held.kind for held in healed.plan.held} == {HeldKind.NEWER}
    assert len(fleet.dialled) - dialled == 3 * len(fleet.machines), "a refusal is final: one try each"
    assert (fleet.running(), fleet.store.memory("test").generation) == (running, generation)
    assert len(fleet.messages) - messages == 1, "a human was told once"
    for machine in fleet.machines.values():
        machine.state = UP
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert fleet.running() == running


@story
async def test_a_host_that_is_upgraded_in_the_middle_of_a_run_is_left_to_the_newer_one(fleet):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.0"]

    def upgraded():
        upgrade(fleet, host)
        raise UnansweredError(host, "the link broke")

    fleet.at(host, "stop", "before", upgraded)
    stopped = await fleet.run(Change(stops=("web",)))
    assert stopped.exit_code is ExitCode.YIELDED
    assert set(fleet.hosts_of().values()) == {host}
