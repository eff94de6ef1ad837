"""Whole runs of the engine on a modelled fleet, in virtual time: what happens between look, claim, order and gate."""

import asyncio
from dataclasses import replace
from functools import wraps

import pytest

from fleetctl.engine.events import ActionEnded
from fleetctl.engine.forget import forget
from fleetctl.engine.wishing import Build, Change
from fleetctl.errors import (
    DrivenElsewhereError,
    ExitCode,
    FleetctlError,
    StaleOrderError,
    StateError,
    UnansweredError,
    UsageError,
    YieldError,
)
from fleetctl.model.job import PortRequest, Probe
from fleetctl.model.memory import Cordon
from fleetctl.model.plan import Stop
from fleetctl.model.template import Template
from fleetctl.model.verdict import Health
from fleetctl.state.handover import unpack
from fleetctl.state.store import Store
from tests.unit.engine.modelled import (
    CUT,
    KILLED,
    LOCKED,
    ONLY_PEERS,
    PAUSED,
    REFUSED,
    UP,
    A,
    B,
    C,
    KilledError,
    ModelFleet,
    web,
)
from tests.unit.engine.virtual import LoopClock, run_virtually

FOUR = ["web.0", "web.1", "web.2", "web.3"]


def story(test):
    """A test as one coroutine in virtual time."""

    @wraps(test)
    def told(**arguments):
        run_virtually(test(**arguments))

    return told


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


async def killed(command):
    """The command was killed, and nothing but that ended it."""
    with pytest.raises((KilledError, BaseExceptionGroup)) as caught:
        await command
    killing = caught.value
    assert isinstance(killing, KilledError) or killing.subgroup(KilledError) is not None


def one_each(fleet):
    """Every replica runs exactly once."""
    running = fleet.running()
    assert sorted(running) == FOUR, running
    assert all(len(where) == 1 for where in running.values()), running
    return running


@story
async def test_a_deploy_starts_all_and_a_second_one_orders_nothing(fleet):
    assert (await fleet.deploy(web())).exit_code is ExitCode.AS_WISHED
    before = one_each(fleet)
    count = len(fleet.orders)
    assert (await fleet.deploy(web())).exit_code is ExitCode.AS_WISHED
    assert (one_each(fleet), fleet.orders_since(count)) == (before, [])


@story
async def test_a_changed_job_is_replaced_one_by_one_and_never_more_than_one_is_missing(fleet):
    await fleet.deploy(web())
    assert (await fleet.deploy(web(), artifact=B)).exit_code is ExitCode.AS_WISHED
    one_each(fleet)
    artifacts = {machine.rows[name].artifact for machine in fleet.machines.values() for name in machine.runs()}
    assert artifacts == {B}


@pytest.mark.parametrize("fault", [KILLED, PAUSED, CUT])
@story
async def test_a_lost_hosts_work_runs_elsewhere_and_what_comes_back_is_stopped(fleet, fault):
    await fleet.deploy(web())
    victim = fleet.hosts_of()["web.1"]
    others = {name: where for name, where in one_each(fleet).items() if victim not in where[0]}
    fleet.machines[victim].state = fault
    assert (await fleet.heal()).exit_code is ExitCode.UNREACHED
    assert sorted(fleet.epochs()) == FOUR
    fleet.machines[victim].power_on() if fault == KILLED else setattr(fleet.machines[victim], "state", UP)
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert others.items() <= one_each(fleet).items()


@pytest.mark.parametrize("fault", [ONLY_PEERS, REFUSED])
@story
async def test_a_host_that_lives_keeps_its_work_through_three_heals(fleet, fault):
    await fleet.deploy(web())
    before, count = one_each(fleet), len(fleet.orders)
    fleet.machines[fleet.hosts_of()["web.1"]].state = fault
    for _ in range(3):
        assert (await fleet.heal()).exit_code is ExitCode.DEGRADED
    assert (one_each(fleet), fleet.orders_since(count)) == (before, [])


@story
async def test_three_of_five_killed_move_nothing_unless_forced(fleet):
    await fleet.deploy(web())
    count = len(fleet.orders)
    for name in ("h1", "h2", "h3"):
        fleet.machines[name].power_off()
    for _ in range(3):
        assert (await fleet.heal()).exit_code is ExitCode.DEGRADED
    assert fleet.orders_since(count) == []
    assert (await fleet.heal(force=True)).exit_code is ExitCode.DEGRADED, "what so many have in common is for a human"
    assert sorted(fleet.running()) == FOUR


@story
async def test_a_host_that_was_started_again_before_any_heal_keeps_its_epochs(fleet):
    await fleet.deploy(web())
    before = one_each(fleet)
    machine = fleet.machines[fleet.hosts_of()["web.1"]]
    machine.power_off()
    machine.power_on()
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert one_each(fleet) == before


@story
async def test_a_build_that_never_gets_ready_stops_the_rollout_and_heal_brings_the_old_release_back(fleet):
    await fleet.deploy(web())
    fleet.never_ready.add(B)
    result = await fleet.deploy(web(), artifact=B)
    assert result.exit_code is ExitCode.FAILED
    assert result.failures[0].log == ("its last words",)
    old = [
        (name, host)
        for host, machine in fleet.machines.items()
        for name in machine.runs()
        if machine.rows[name].artifact == A
    ]
    assert len({name.replica for name, _ in old}) >= 3
    lost = next(host for name, host in old if len(fleet.machines[host].runs()) == 1)
    replica = next(name.replica for name, host in old if host == lost)
    fleet.machines[lost].power_off()
    await fleet.heal()
    again = [
        machine.rows[name].artifact
        for machine in fleet.machines.values()
        for name in machine.runs()
        if name.replica == replica
    ]
    assert again == [A]


# -- between the steps of one run


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("verb", ["claim", "adopt", "start", "wait", "stop"])
@story
async def test_a_run_that_is_killed_at_any_message_is_gone_on_with(fleet, verb, moment):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    fleet.kill_us(host, verb, moment)
    await killed(fleet.deploy(web(max_unavailable=4), artifact=B))
    assert not fleet.faults, "it was killed there"
    await asyncio.sleep(31)  # the lease of a holder that can't be asked is over
    assert (await fleet.deploy(web(max_unavailable=4), artifact=B)).exit_code is ExitCode.AS_WISHED
    one_each(fleet)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("verb", ["claim", "adopt", "start", "wait", "stop"])
@story
async def test_a_message_or_an_answer_that_is_lost_is_asked_again(fleet, verb, moment):
    await fleet.deploy(web())
    fleet.lose(fleet.hosts_of()["web.1"], verb, moment)
    assert (await fleet.deploy(web(), artifact=B)).exit_code is ExitCode.AS_WISHED
    one_each(fleet)


@pytest.mark.parametrize("verb", ["claim", "adopt", "start", "wait", "stop"])
@story
async def test_a_host_that_dies_in_mid_deploy_is_replaced_in_the_same_run(fleet, verb):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    fleet.at(host, verb, "before", fleet.machines[host].power_off)
    await fleet.deploy(web(max_unavailable=2), artifact=B)
    assert sorted(fleet.running()) == FOUR
    fleet.machines[host].power_on()
    await fleet.heal()
    one_each(fleet)


@story
async def test_a_host_that_changed_between_look_and_claim_is_looked_at_again(fleet):
    machine = fleet.machines["h1"]
    fleet.at("h1", "claim", "before", lambda: setattr(machine, "serial", machine.serial + 1))
    assert (await fleet.deploy(web())).exit_code is ExitCode.AS_WISHED
    one_each(fleet)


@story
async def test_a_host_that_keeps_changing_ends_the_run_with_its_name(fleet):
    machine = fleet.machines["h1"]

    def changes_again():
        machine.serial += 1
        fleet.at("h1", "claim", "before", changes_again)

    changes_again()
    with pytest.raises(FleetctlError, match="h1 could not be claimed, 3 times in a row") as caught:
        await fleet.deploy(web())
    assert caught.value.exit_code is ExitCode.FAILED
    assert not [order for order in fleet.orders if order[1] == "start"]


@story
async def test_an_order_that_another_driver_overtook_ends_the_run(fleet):
    await fleet.deploy(web())
    machine = fleet.machines[fleet.hosts_of()["web.1"]]
    fleet.at(machine.spec.name, "start", "before", lambda: setattr(machine, "guard", (999, "bob@other:1")))
    with pytest.raises(YieldError, match="bob@other") as caught:
        await fleet.deploy(web(max_unavailable=4), artifact=B)
    assert caught.value.exit_code is ExitCode.YIELDED


@story
async def test_a_second_store_is_refused_before_any_order(fleet, tmp_path):
    await fleet.deploy(web())
    count = len(fleet.orders)
    other = Store.open(tmp_path / "other", clock=LoopClock())
    with pytest.raises(DrivenElsewhereError, match=r"driven last by .*this store knows nothing of it"):
        await fleet.run((await _wish(web())), store=other)
    assert fleet.orders_since(count) == []


async def _wish(spec, artifact=C):
    return Change((Build(spec, artifact),))


@story
async def test_a_job_stopped_while_its_host_is_suspect_ends_there_when_it_comes_back(fleet):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    fleet.machines[host].state = ONLY_PEERS
    assert (await fleet.stop("web")).exit_code is ExitCode.DEGRADED
    assert list(fleet.hosts_of().values()) == [host] * len(fleet.hosts_of())
    fleet.machines[host].state = UP
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert fleet.running() == {}


@story
async def test_fewer_replicas_while_a_host_is_lost_end_there_when_it_comes_back(fleet):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.3"]
    fleet.machines[host].state = CUT
    await fleet.deploy(web(replicas=3))
    fleet.machines[host].state = UP
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert sorted(fleet.running()) == FOUR[:3]


@story
async def test_a_wish_is_kept_though_no_host_can_be_reached(fleet):
    await fleet.deploy(web())
    for machine in fleet.machines.values():
        machine.state = CUT
    assert (await fleet.stop("web")).exit_code is ExitCode.DEGRADED
    for machine in fleet.machines.values():
        machine.state = UP
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert fleet.running() == {}


@story
async def test_a_changed_wish_alone_is_claimed_and_the_same_one_again_is_not(fleet):
    await fleet.deploy(web())
    change, count = Change(cordons=(("h1", Cordon("ann", 5.0)),)), len(fleet.orders)
    assert (await fleet.run(change)).exit_code is ExitCode.AS_WISHED
    assert [verb for _, verb, _ in fleet.orders_since(count)] == ["claim"] * 5
    assert all("h1" in unpack(machine.wishes).cordons for machine in fleet.machines.values())
    count = len(fleet.orders)
    await fleet.run(change)
    assert fleet.orders_since(count) == []


# -- one bad host never stops the others


@story
async def test_a_link_that_breaks_under_several_waits_at_once_is_opened_once_more_for_all(tmp_path):
    fleet = ModelFleet(tmp_path, count=1)
    machine = fleet.machines["h1"]

    def agent_is_killed():
        machine.agent += 1

    fleet.at("h1", "wait", "before", lambda: asyncio.get_running_loop().call_later(0.2, agent_is_killed))
    result = await fleet.deploy(web())
    assert (result.exit_code, result.failures) == (ExitCode.AS_WISHED, ())
    assert len(fleet.dialled) == 2


@story
async def test_a_host_whose_root_is_another_fleets_is_left_alone_and_the_others_are_driven(fleet):
    await fleet.deploy(web())
    machine = fleet.machines["h5"]
    machine.belongs_to, machine.guard = "other", (999, "bob@other:1")
    count = len(fleet.orders)
    result = await fleet.deploy(web(), artifact=B)
    assert result.exit_code is ExitCode.DEGRADED
    assert not [order for order in fleet.orders_since(count) if order[0] == "h5"]
    assert any("'other'" in held.reason for held in result.plan.held)
    assert "h5" not in {host for name, host in fleet.hosts_of().items() if machine.rows == {}}


@story
async def test_a_host_that_can_not_write_down_a_claim_is_left_alone_and_the_others_are_healed(fleet):
    await fleet.deploy(web())
    hosts = fleet.hosts_of()
    full, lost = hosts["web.0"], hosts["web.1"]
    fleet.full_disks.add(full)
    fleet.machines[lost].state = CUT
    result = await fleet.heal()
    assert result.exit_code is ExitCode.DEGRADED
    assert "No space left" in result.verdicts[full].evidence
    fleet.machines[lost].power_off()
    assert sorted(fleet.running()) == FOUR


@story
async def test_a_host_that_answers_all_but_claims_is_left_alone_and_the_others_are_healed(fleet):
    await fleet.deploy(web())
    hosts = fleet.hosts_of()
    mute, lost = hosts["web.0"], hosts["web.1"]

    def says_nothing():
        fleet.at(mute, "claim", "before", says_nothing)
        raise UnansweredError(mute, "no answer to the claim in 10 s")

    fleet.at(mute, "claim", "before", says_nothing)
    fleet.machines[lost].power_off()
    result = await fleet.heal()
    assert result.exit_code is ExitCode.DEGRADED
    assert "no answer to the claim" in result.verdicts[mute].evidence
    assert sorted(fleet.running()) == FOUR


@story
async def test_a_store_that_can_not_be_written_ends_the_run_only_after_the_stage(fleet, monkeypatch):
    def fails(*_):
        raise StateError("the store can't be used: no space is left there")

    monkeypatch.setattr(fleet.store, "record_action", fails)
    with pytest.raises(StateError, match="no space is left"):
        await fleet.deploy(web())
    uploads = [order for order in fleet.orders if order[1] == "adopt"]
    assert len(uploads) == 4, "no upload was cut off by the failure of the record of another"
    assert not [order for order in fleet.orders if order[1] == "start"]


@story
async def test_a_template_that_fails_for_one_placement_is_refused_before_anything_is_touched(fleet):
    await fleet.deploy(web())
    before, count = one_each(fleet), len(fleet.orders)
    bad = web(command=("./web", Template("{{ 1 // (replica.index - 2) }}")))
    with pytest.raises(UsageError, match=r"web.2.*can't be rendered"):
        await fleet.deploy(bad, artifact=B)
    assert (one_each(fleet), fleet.orders_since(count)) == (before, [])


@story
async def test_a_lost_copy_of_one_jobs_artifact_keeps_no_other_job_from_being_healed(tmp_path):
    fleet = ModelFleet(tmp_path, count=30)
    await fleet.deploy(web(name="api", replicas=1), artifact=B)
    fleet.machines[fleet.hosts_of("api")["api.0"]].power_off()
    fleet.kept.lost.add(B)
    result = await fleet.deploy(web())
    assert sorted(fleet.running()) == FOUR
    assert [failure.detail for failure in result.failures] == [
        "no copy of artifact bbbbbbbbbbbb is kept, and no reachable host has it either"
    ]


@story
async def test_two_names_for_one_root_are_refused_before_anything_is_touched(fleet):
    fleet.machines["h2"].root_id = fleet.machines["h1"].root_id
    with pytest.raises(UsageError, match=r"h1 and h2 .* same root"):
        await fleet.deploy(web())
    assert fleet.orders == []


# -- what is remembered


@pytest.mark.parametrize("we_die_too", [False, True])
@story
async def test_what_was_just_started_on_a_host_that_falls_silent_is_not_started_elsewhere(fleet, we_die_too):
    await fleet.deploy(web(replicas=1, hosts="h1"))  # so that every host has its witnesses

    def falls_silent():
        fleet.machines["h2"].state = ONLY_PEERS
        if we_die_too:
            raise KilledError

    fleet.at("h2", "start", "after", falls_silent)
    new = web(name="api", replicas=1, hosts="h2:h3", max_unavailable=1)
    fleet.machines["h3"].state = LOCKED
    if we_die_too:
        await killed(fleet.deploy(new))
        await asyncio.sleep(31)
    else:
        assert (await fleet.deploy(new)).exit_code is ExitCode.FAILED
    fleet.machines["h3"].state = UP
    for _ in range(3):
        assert (await fleet.heal()).exit_code is ExitCode.DEGRADED
    assert fleet.hosts_of("api") == {"api.0": "h2"}
    fleet.machines["h2"].state = UP
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert fleet.hosts_of("api") == {"api.0": "h2"}


@story
async def test_what_was_being_stopped_proves_nothing_by_its_silence(fleet):
    """fleetctl is killed once a stop was ordered; then that host's sshd is gone, and what else is there lives on."""
    db = web(name="db", replicas=1, hosts="h1", ready=None, ports=())
    await fleet.deploy(db)
    first = web(replicas=1, hosts="h1")
    await fleet.deploy(first)
    fleet.kill_us("h1", "stop", "after")
    await killed(fleet.stop("web"))
    await asyncio.sleep(31)
    fleet.machines["h1"].state = REFUSED
    result = await fleet.heal()
    assert result.verdicts["h1"].health is Health.SUSPECT
    assert result.exit_code is ExitCode.DEGRADED


@story
async def test_a_host_with_another_name_is_no_second_host(fleet):
    await fleet.deploy(web())
    before, old = one_each(fleet), fleet.hosts_of()["web.1"]
    machine = fleet.machines["renamed"] = fleet.machines.pop(old)
    machine.spec = replace(machine.spec, name="renamed")
    specs = tuple(each.spec for each in fleet.machines.values())
    fleet.inventory = replace(fleet.inventory, hosts=specs)
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert sorted(fleet.running()) == sorted(before)
    await fleet.deploy(web(), artifact=B)
    machine.rows = {name: row for name, row in machine.rows.items() if row.phase.wants_to_run}  # the host tidied up
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED


@story
async def test_a_renamed_host_stays_cordoned_and_its_old_name_is_not_known_any_more(fleet):
    await fleet.deploy(web())
    old = next(name for name in fleet.machines if name not in fleet.hosts_of().values())
    await fleet.run(Change(cordons=((old, Cordon("ann", 5.0)),)))
    machine = fleet.machines["renamed"] = fleet.machines.pop(old)
    machine.spec = replace(machine.spec, name="renamed")
    fleet.inventory = replace(fleet.inventory, hosts=tuple(each.spec for each in fleet.machines.values()))
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    memory = fleet.store.memory("test")
    assert (old in memory.hosts, "renamed" in memory.hosts, set(memory.cordons)) == (False, True, {"renamed"})


@story
async def test_a_heal_of_an_unchanged_fleet_writes_nothing_but_that_it_ran(fleet):
    """It is done every second, over a hundred hosts."""
    await fleet.deploy(web())
    await fleet.heal()
    written = []
    fleet.store._database._watcher = lambda name, moment: written.append(name) if moment == "after" else None
    for _ in range(3):
        await asyncio.sleep(60)
        assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert written == ["lock", "release"] * 3


@story
async def test_after_a_run_that_outlived_its_lease_the_hosts_are_claimed_once_though_nothing_is_to_do(fleet):
    """It may only sleep: what it was about to order is refused from then on."""
    await fleet.deploy(web())
    machine = fleet.machines["h1"]
    late = {"generation": machine.guard[0], "author": machine.guard[1], "reason": "late"}
    fleet.store.lock("test", "a run that is stopped")
    await asyncio.sleep(31)
    count = len(fleet.orders)
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert [verb for _, verb, _ in fleet.orders_since(count)] == ["claim"] * 5
    name = next(iter(machine.rows))
    with pytest.raises(StaleOrderError):
        await (await fleet.redial(machine.spec)).stop(instance=name, **late)
    count = len(fleet.orders)
    await fleet.heal()
    assert fleet.orders_since(count) == []


@story
async def test_a_host_taken_out_of_the_inventory_is_drained_and_known_until_it_is_forgotten(fleet):
    await fleet.deploy(web())
    gone = fleet.hosts_of()["web.1"]
    stay = {name: where for name, where in one_each(fleet).items() if gone not in where[0]}
    fleet.inventory = replace(fleet.inventory, hosts=tuple(host for host in fleet.inventory.hosts if host.name != gone))
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert stay.items() <= one_each(fleet).items()
    assert gone not in fleet.hosts_of().values()
    assert gone in fleet.store.memory("test").hosts
    with fleet.store.lock("test", "hosts --forget") as lock:
        await forget(fleet.means(fleet.store), lock, gone)
    fleet.dialled.clear()
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert gone not in fleet.dialled


@story
async def test_a_silent_host_taken_out_of_the_inventory_is_suspect_as_before_and_its_work_stays(fleet):
    await fleet.deploy(web())
    gone, before, count = fleet.hosts_of()["web.1"], one_each(fleet), len(fleet.orders)
    fleet.machines[gone].state = ONLY_PEERS
    fleet.inventory = replace(fleet.inventory, hosts=tuple(host for host in fleet.inventory.hosts if host.name != gone))
    result = await fleet.heal()
    assert (result.exit_code, result.verdicts[gone].health) == (ExitCode.DEGRADED, Health.SUSPECT)
    assert (one_each(fleet), fleet.orders_since(count)) == (before, [])


@story
async def test_only_silence_counts_as_silence(tmp_path):
    """A host that let nobody log in lived: two such runs do not make the first silent one the third."""
    fleet = ModelFleet(tmp_path, count=2)
    for machine in fleet.machines.values():
        machine.tries_neighbours = False
    await fleet.deploy(web(replicas=2))
    machine = fleet.machines[fleet.hosts_of()["web.0"]]
    machine.state = LOCKED
    for _ in range(2):
        await fleet.heal()
        await asyncio.sleep(60)
    machine.state = CUT
    assert (await fleet.heal()).verdicts[machine.spec.name].health is Health.SUSPECT


@story
async def test_a_slow_ready_probe_does_not_hide_that_a_host_is_dead(fleet):
    await fleet.deploy(web(ready=Probe("http", "http", timeout_s=6.0)))
    fleet.machines[fleet.hosts_of()["web.1"]].power_off()
    assert (await fleet.heal()).exit_code is ExitCode.UNREACHED
    assert sorted(fleet.running()) == FOUR


@story
async def test_the_last_deploys_inventory_is_kept_even_if_nothing_changed_and_no_heals(fleet):
    await fleet.deploy(web())
    first = fleet.inventory
    fleet.inventory = replace(first, source=first.source.with_name("moved.yml"))
    await fleet.deploy(web())
    assert fleet.store.inventory_path("test") == first.source.with_name("moved.yml")
    fleet.inventory = replace(first, source=first.source.with_name("of a heal.yml"))
    fleet.machines[fleet.hosts_of()["web.1"]].power_off()
    await fleet.heal()
    assert fleet.store.inventory_path("test") == first.source.with_name("moved.yml")


# -- how a run ends


@story
async def test_a_host_that_changes_now_and_then_is_looked_at_again_as_often(fleet):
    """Three refused claims in a row end a run; three in all its sweeps do not."""
    machine = fleet.machines["h5"]
    claims = 0

    def changes_at_every_other_claim():
        nonlocal claims
        claims += 1
        machine.serial += claims % 2
        fleet.at("h5", "claim", "before", changes_at_every_other_claim)

    changes_at_every_other_claim()
    refused = []

    def refuses_three_starts(_host, name):
        if name.replica.index or len(refused) == 3:
            return False
        refused.append(name)
        return True

    fleet.refuses_start = refuses_three_starts
    await fleet.deploy(web())
    assert claims == 9, "four plans, each claimed twice; and once more, to leave there what proved good"
    one_each(fleet)


@story
async def test_what_can_not_be_kept_any_more_in_mid_run_is_no_wrong_usage(tmp_path):
    fleet = ModelFleet(tmp_path, count=2)
    spec = web(replicas=1, ports=(PortRequest("http", 8080),), max_unavailable=0)
    await fleet.deploy(spec)
    (other,) = set(fleet.machines) - set(fleet.hosts_of().values())
    fleet.at(other, "start", "before", fleet.machines[other].power_off)
    result = await fleet.deploy(spec, artifact=B)
    assert result.exit_code is ExitCode.FAILED
    assert len(fleet.hosts_of()) == 1


@story
async def test_a_run_that_gives_up_with_work_left_does_not_say_all_is_well(fleet, monkeypatch):
    await fleet.deploy(web())
    monkeypatch.setattr("fleetctl.engine.run.SWEEPS_MAX", 1)
    stops = []

    def tell(event):
        if isinstance(event, ActionEnded) and isinstance(event.result.action, Stop):
            stops.append(event.result.action)
            if len(stops) == 4:
                fleet.machines[fleet.hosts_of()["web.0"]].power_off()

    fleet.tell = tell
    result = await fleet.deploy(web(max_unavailable=4), artifact=B)
    assert len(result.results) == 16, "all that was planned was done"
    assert result.exit_code is ExitCode.FAILED


@story
async def test_a_machine_that_slept_sends_nothing_more(fleet):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]

    def sleeps_while_another_takes_the_lock():
        asyncio.get_running_loop()._jump.now += 40.0  # no timer rings meanwhile
        ordered.extend(fleet.orders)
        others.append(fleet.store.lock("test", "another run"))

    others, ordered = [], []
    fleet.at(host, "start", "after", sleeps_while_another_takes_the_lock)
    with pytest.raises(YieldError, match="run lock"):
        await fleet.deploy(web(), artifact=B)
    assert fleet.orders == ordered
    others[0].release()
    assert (await fleet.deploy(web(), artifact=B)).exit_code is ExitCode.AS_WISHED
    one_each(fleet)


@pytest.mark.parametrize("verb", ["observe", "claim", "adopt", "start", "wait", "stop"])
@story
async def test_ctrl_c_leaves_no_task_and_the_next_run_goes_on(fleet, verb):
    await fleet.deploy(web())
    work = asyncio.create_task(fleet.deploy(web(), artifact=B))
    fleet.at(fleet.hosts_of()["web.1"], verb, "after", work.cancel)
    with pytest.raises(asyncio.CancelledError):
        await work
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await asyncio.sleep(31)
    assert (await fleet.deploy(web(), artifact=B)).exit_code is ExitCode.AS_WISHED
    one_each(fleet)


@story
async def test_a_heal_beside_a_run_yields(fleet):
    work = asyncio.create_task(fleet.deploy(web()))
    await asyncio.sleep(0.5)
    with pytest.raises(YieldError, match="held by"):
        await fleet.heal()
    assert (await work).exit_code is ExitCode.AS_WISHED


@story
async def test_a_start_that_arrives_late_after_its_stop_starts_nothing(fleet):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    machine = fleet.machines[host]
    name = next(iter(machine.runs()))
    late = {"generation": machine.guard[0], "author": machine.guard[1], "instance": name, "spec": machine.specs[name]}
    await fleet.stop("web")
    link = await fleet.redial(machine.spec)
    with pytest.raises(StaleOrderError):
        await link.start(**late)
    assert fleet.running() == {}
