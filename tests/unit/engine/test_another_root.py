"""A known name under which another root answers: a reinstalled machine, another one, or another fleet's. What ran on
the old root may run on, wherever that is; the new one gets no order and no claim, and says nothing of who drives."""

from __future__ import annotations

import shutil

import pytest

from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode
from fleetctl.model.verdict import Health, Sign
from fleetctl.state.store import Store
from tests.unit.engine.modelled import B, ModelFleet, web
from tests.unit.engine.test_run import story
from tests.unit.engine.virtual import LoopClock


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


def reinstalled(machine, *, guard=(0, ""), belongs_to=None):
    machine.root_id, machine.guard, machine.belongs_to = "a new id", guard, belongs_to
    machine.rows, machine.artifacts, machine.tried, machine.wishes = {}, set(), {}, None
    machine.serial += 1


@story
async def test_it_is_not_claimed_and_gets_no_order(fleet):
    await fleet.deploy(web())
    reinstalled(fleet.machines["h2"])
    count = len(fleet.orders)
    result = await fleet.deploy(web(), artifact=B)
    assert (result.exit_code, result.verdicts["h2"].sign) == (ExitCode.DEGRADED, Sign.IDENTITY)
    assert "h2" not in {host for host, _, _ in fleet.orders_since(count)}
    assert (fleet.machines["h2"].belongs_to, fleet.machines["h2"].wishes) == (None, None)


@story
async def test_who_drove_it_drove_nothing_of_ours(fleet):
    """A machine of another fleet of the same name, given this one's address: to take that over would be a disaster."""
    await fleet.deploy(web())
    reinstalled(fleet.machines["h2"], guard=(999, "bob@other:1"), belongs_to="test")
    count = len(fleet.orders)
    result = await fleet.heal()
    assert (result.exit_code, result.sweeps) == (ExitCode.DEGRADED, 1)
    assert fleet.orders_since(count) == []


@story
async def test_another_drivers_older_guard_there_owes_no_claim(fleet):
    await fleet.deploy(web())
    await fleet.deploy(web(), artifact=B)
    reinstalled(fleet.machines["h2"], guard=(1, "bob@other:1"), belongs_to="test")
    count = len(fleet.orders)
    assert (await fleet.heal()).sweeps == 1
    assert fleet.orders_since(count) == []


@pytest.mark.parametrize("has_id", [True, False])
@story
async def test_what_ran_there_is_not_started_elsewhere_though_the_root_is_another_fleets_by_now(fleet, has_id):
    machine = fleet.machines["h2"]
    if not has_id:
        machine.root_id = ""
    await fleet.deploy(web())
    lost = [name for name, host in fleet.hosts_of().items() if host == "h2"]
    reinstalled(machine, guard=(999, "bob@other:1"), belongs_to="other")
    if not has_id:
        machine.root_id = ""
    for _ in range(3):
        result = await fleet.heal()
        assert (result.exit_code, result.verdicts["h2"].health) == (ExitCode.DEGRADED, Health.SUSPECT)
    assert lost
    assert not set(lost) & set(fleet.running())
    (held,) = [held for held in result.plan.held if held.subject == "h2"]
    assert "belongs to the fleet 'other'" in held.reason
    assert f"{lost[0]}@1 there left alone, and not replaced" in held.reason


@story
async def test_who_takes_over_with_an_older_store_believes_the_hosts_about_who_is_who(fleet, tmp_path):
    await fleet.deploy(web())
    shutil.copytree(fleet.folder / "state", tmp_path / "backup")
    reinstalled(fleet.machines["h2"])
    lock = fleet.store.lock("test", "hosts --forget h2")
    fleet.store.forget_host(lock, "test", "h2")
    lock.release()
    await fleet.heal()
    before = fleet.running()
    older = Store.open(tmp_path / "backup", clock=LoopClock())
    result = await fleet.run(Change(take_over=True), store=older)
    assert (result.exit_code, result.verdicts["h2"].health) == (ExitCode.AS_WISHED, Health.HEALTHY)
    assert fleet.running() == before
