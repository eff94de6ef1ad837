"""`hosts --forget`: what is gone for good, and what was made anew under an old name."""

from dataclasses import replace

import pytest

from fleetctl.engine.forget import forget
from fleetctl.engine.wishing import Change
from fleetctl.errors import DrivenElsewhereError, ExitCode, UsageError
from fleetctl.model.memory import Cordon
from fleetctl.state.store import Store
from tests.unit.engine.modelled import KILLED, ONLY_PEERS, ModelFleet, web
from tests.unit.engine.test_run import FOUR, one_each, story
from tests.unit.engine.virtual import LoopClock


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


async def forgotten(fleet, host, *, force=False, store=None):
    store = store or fleet.store
    with store.lock("test", "hosts --forget") as lock:
        return await forget(fleet.means(store), lock, host, force=force)


def take_out(fleet, name):
    fleet.inventory = replace(fleet.inventory, hosts=tuple(host for host in fleet.inventory.hosts if host.name != name))


@story
async def test_a_host_that_nobody_knows_is_told_with_those_that_are_known(fleet):
    await fleet.deploy(web())
    with pytest.raises(UsageError, match="h9: nothing is remembered of that host") as caught:
        await forgotten(fleet, "h9")
    assert caught.value.hint == "remembered are: h1, h2, h3, h4, h5"


@story
async def test_a_reinstalled_host_is_known_anew_and_what_was_only_there_is_started_again(fleet):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    machine = fleet.machines[host]
    machine.rows.clear()
    machine.artifacts.clear()
    machine.root_id, machine.belongs_to, machine.guard, machine.wishes = "made anew", None, (0, ""), None
    machine.serial, machine.boot = 1, 1
    count = len(fleet.orders)
    assert await forgotten(fleet, host) == f"{host} is forgotten; a heal starts what is missing now: web.1"
    assert fleet.orders_since(count) == [], "forgetting touches no host"
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    one_each(fleet)
    assert fleet.store.memory("test").hosts[host].host_id == "made anew"


@story
async def test_a_host_taken_out_of_the_inventory_is_not_forgotten_while_work_runs_there(fleet):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    take_out(fleet, host)
    with pytest.raises(UsageError, match=f"{host} answers, and runs web.1@1") as caught:
        await forgotten(fleet, host)
    assert f"hosts --forget {host} --force" in caught.value.hint
    assert host in fleet.store.memory("test").hosts


@pytest.mark.parametrize("state", [ONLY_PEERS, KILLED])
@story
async def test_a_silent_host_is_forgotten_only_where_it_is_known_to_be_dead(fleet, state):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    fleet.machines[host].state = state
    if state == KILLED:
        assert "a heal starts what is missing now: web.1" in await forgotten(fleet, host)
        return
    with pytest.raises(UsageError, match=rf"{host} may still run web.1@1 .*a second time elsewhere"):
        await forgotten(fleet, host)
    await forgotten(fleet, host, force=True)
    assert host not in fleet.store.memory("test").hosts


@story
async def test_an_emptied_host_is_forgotten_with_what_a_person_said_of_it(fleet):
    await fleet.deploy(web())
    host = next(name for name in fleet.machines if name not in fleet.hosts_of().values())
    await fleet.run(Change(cordons=((host, Cordon("ann", 5.0)),)))
    take_out(fleet, host)
    assert await forgotten(fleet, host) == f"{host} is forgotten"
    memory = fleet.store.memory("test")
    assert (host in memory.hosts, memory.cordons) == (False, {})
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert sorted(fleet.running()) == FOUR


@story
async def test_a_host_that_answers_is_known_again_at_the_next_look_and_nothing_is_missing(fleet):
    await fleet.deploy(web())
    before, host, count = one_each(fleet), fleet.hosts_of()["web.1"], len(fleet.orders)
    assert await forgotten(fleet, host) == f"{host} is forgotten"
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert (one_each(fleet), fleet.orders_since(count)) == (before, [])


@story
async def test_a_host_that_stays_in_the_inventory_stays_cordoned(fleet):
    await fleet.deploy(web())
    await fleet.run(Change(cordons=(("h5", Cordon("ann", 5.0)),)))
    await forgotten(fleet, "h5")
    assert set(fleet.store.memory("test").cordons) == {"h5"}


@story
async def test_an_older_store_forgets_nothing(fleet, tmp_path):
    await fleet.deploy(web())
    other = Store.open(tmp_path / "other", clock=LoopClock())
    with other.lock("test", "a look") as lock:
        other.record_observation(lock, "test", {"h1": fleet.store.memory("test").hosts["h1"]})
    with pytest.raises(DrivenElsewhereError):
        await forgotten(fleet, "h1", store=other)
