"""A fleet that somebody else drove last: who it was is told, and --take-over goes on from what the hosts keep."""

import asyncio
import shutil
from dataclasses import replace

import pytest

from fleetctl.engine.read import view
from fleetctl.engine.take_over import told
from fleetctl.engine.wishing import Build, Change
from fleetctl.errors import DrivenElsewhereError, ExitCode, FleetctlError, UsageError, YieldError
from fleetctl.model.memory import Cordon, Memory
from fleetctl.model.plan import HeldKind
from fleetctl.model.replica import Generation
from fleetctl.model.snapshot import Guard
from fleetctl.plan.ownership import GENERATION_MAX, LEAP, Driver
from fleetctl.state import handover
from fleetctl.state.handover import Kept, opened
from fleetctl.state.identity import this_process
from fleetctl.state.store import Store
from tests.unit.engine.modelled import CUT, ONLY_PEERS, REFUSED, UP, A, B, KilledError, ModelFleet, web
from tests.unit.engine.test_run import FOUR, killed, one_each, story
from tests.unit.engine.virtual import LoopClock

TAKE_OVER = Change(take_over=True)


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


@pytest.fixture
def another(tmp_path):
    """Opens a store in a folder of its own, as a process of that user on that machine."""

    def opener(name="other", **changes):
        process = replace(this_process(), **changes)
        return Store.open(tmp_path / name, clock=LoopClock(), process=process)

    return opener


# -- what is told


@story
async def test_an_empty_store_is_told_who_drove_last_before_anything_is_touched(fleet, another):
    await fleet.deploy(web())
    count = len(fleet.orders)
    other = another()
    with pytest.raises(DrivenElsewhereError) as caught:
        await fleet.run(Change(), store=other)
    here = this_process()
    assert caught.value.exit_code is ExitCode.YIELDED
    assert caught.value.message == (
        f"fleet test was driven last by {here.user}@{here.host} (generation 1; this store knows nothing of it)"
    )
    folder = fleet.folder / "state"
    assert caught.value.hint == f"set FLEETCTL_STATE={folder}; if that store is lost: fleetctl heal --take-over"
    assert fleet.orders_since(count) == []
    assert other.memory("test").jobs == {}


def hint_for(author, driver="root@ops1:abcd", state="/root/.local/state/fleetctl", at=0.0, generation=12):
    kept = Kept(2, 47, handover.Driver("root", "ops1", state), (), {}, {}) if state else None
    found = Driver(Guard(Generation(47), driver, at), ("h1",))
    return told("prod", author, found, Memory(Generation(generation)), kept)


def test_another_user_of_the_same_machine_is_told_what_to_set():
    error = hint_for("ann@ops1:1234", at=1_795_442_700.0)
    assert error.message.startswith("fleet prod was driven last by root@ops1 at 2026-11-2")
    assert error.message.endswith("(generation 47; this store knows 12)")
    assert error.hint == (
        "run it as root, or with FLEETCTL_STATE=/root/.local/state/fleetctl; "
        "if that store is lost: fleetctl heal --take-over"
    )


def test_who_drives_from_another_machine_is_sent_there():
    assert hint_for("root@desk:1234").hint == "drive it from ops1, or take over with: fleetctl heal --take-over"


def test_without_what_the_hosts_keep_the_folder_is_left_out():
    assert (
        hint_for("ann@ops1:1234", state="").hint == "run it as root; if that store is lost: fleetctl heal --take-over"
    )


@pytest.mark.parametrize("at", [float("1e300"), -5.0, 0.0])
def test_a_time_that_is_none_is_left_out(at):
    assert "driven last by root@ops1 (generation 47" in hint_for("ann@ops1:1234", at=at).message


@story
async def test_another_user_of_the_same_store_is_no_stranger(fleet):
    await fleet.deploy(web())
    process = replace(this_process(), user="somebody else")
    same = Store.open(fleet.folder / "state", clock=LoopClock(), process=process)
    assert (await fleet.run(Change(), store=same)).exit_code is ExitCode.AS_WISHED
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED


@story
async def test_a_command_that_only_looks_shows_what_is_there_and_who_drives(fleet, another):
    await fleet.deploy(web())
    seen = await view(fleet.means(another()), Change())
    assert isinstance(seen.driven_elsewhere, DrivenElsewhereError)
    assert {held.kind for held in seen.plan.held} == {HeldKind.UNWISHED}
    assert (
        sorted(str(row.name.replica) for host in seen.snapshot.reachable().values() for row in host.report.instances)
        == FOUR
    )
    assert (await view(fleet.means(fleet.store), Change())).driven_elsewhere is None


# -- taking over


@story
async def test_with_the_store_lost_and_a_host_dead_all_replicas_run_on_the_living_hosts(fleet, another):
    await fleet.deploy(web())
    await fleet.deploy(web(), artifact=B)
    lost = fleet.hosts_of()["web.1"]
    kept = {name: where for name, where in one_each(fleet).items() if lost not in where[0]}
    fleet.machines[lost].power_off()
    other = another(user="ann")
    assert (await fleet.run(TAKE_OVER, store=other)).exit_code is ExitCode.UNREACHED
    running = one_each(fleet)
    assert kept.items() <= running.items(), "what ran is not touched"
    artifacts = {machine.rows[name].artifact for machine in fleet.machines.values() for name in machine.runs()}
    assert artifacts == {B}
    memory = other.memory("test")
    assert memory.generation > LEAP
    assert memory.jobs["web"].wish == fleet.store.memory("test").jobs["web"].wish
    assert memory.jobs["web"].good == {1, 2}, "what proved good after the last claim is known too"


@story
async def test_a_take_over_of_a_fleet_that_is_well_orders_nothing_but_its_claim(fleet, another):
    await fleet.deploy(web())
    before, count, other = one_each(fleet), len(fleet.orders), another()
    assert (await fleet.run(TAKE_OVER, store=other)).exit_code is ExitCode.AS_WISHED
    assert {verb for _, verb, _ in fleet.orders_since(count)} == {"claim"}
    assert one_each(fleet) == before
    count = len(fleet.orders)
    assert (await fleet.run(Change(), store=other)).exit_code is ExitCode.AS_WISHED
    assert fleet.orders_since(count) == []


@story
async def test_the_former_driver_is_refused_and_can_take_over_in_turn(fleet, another):
    await fleet.deploy(web())
    await fleet.run(TAKE_OVER, store=another("first", user="ann"))
    with pytest.raises(DrivenElsewhereError, match=r"driven last by ann@.*; this store knows 1\)"):
        await fleet.heal()
    assert (await fleet.run(TAKE_OVER)).exit_code is ExitCode.AS_WISHED
    assert fleet.store.memory("test").generation > 2 * LEAP
    with pytest.raises(DrivenElsewhereError):
        await fleet.run(Change(), store=another("first", user="ann"))
    assert sorted(fleet.running()) == FOUR


@story
async def test_a_driver_who_is_taken_over_in_mid_deploy_is_refused_at_its_next_order(fleet, another):
    await fleet.deploy(web())
    host = fleet.hosts_of()["web.1"]
    taken = []

    def takes_over():
        taken.append(asyncio.create_task(fleet.run(TAKE_OVER, store=another(user="bob"))))

    fleet.at(host, "start", "after", takes_over)
    with pytest.raises(YieldError, match="bob@") as caught:
        await fleet.deploy(web(), artifact=B)
    assert "--take-over" in caught.value.hint
    assert (await taken[0]).exit_code is ExitCode.DEGRADED, "a heal does not go on with a rollout"
    ours = fleet.store.memory("test").generation
    assert all(machine.guard[0] > LEAP > ours for machine in fleet.machines.values())


@story
async def test_an_older_store_takes_on_what_the_hosts_know_since(fleet, tmp_path):
    await fleet.deploy(web())
    shutil.copytree(fleet.folder / "state", tmp_path / "backup")
    await fleet.deploy(web(replicas=3), web(name="api", replicas=1), artifact=B)
    older = Store.open(tmp_path / "backup", clock=LoopClock())
    before = fleet.running()
    with pytest.raises(DrivenElsewhereError, match="an older copy of theirs, knows 1"):
        await fleet.run(Change(), store=older)
    assert (await fleet.run(TAKE_OVER, store=older)).exit_code is ExitCode.AS_WISHED
    assert fleet.running() == before
    jobs = older.memory("test").jobs
    assert (sorted(jobs), jobs["web"].wish.replicas, sorted(jobs["web"].releases)) == (["api", "web"], 3, [1, 2])


@story
async def test_where_nobody_else_drives_take_over_changes_nothing_and_the_run_goes_on(fleet):
    await fleet.deploy(web())
    fleet.machines[fleet.hosts_of()["web.1"]].power_off()
    assert (await fleet.run(TAKE_OVER)).exit_code is ExitCode.UNREACHED
    assert sorted(fleet.running()) == FOUR
    assert fleet.store.memory("test").generation < 10


@story
async def test_what_a_person_said_goes_over_too(fleet, another):
    await fleet.deploy(web())
    cordon = Cordon("ann", 5.0, "disk")
    await fleet.run(Change(cordons=(("h1", cordon),), stops=("web",)))
    other = another()
    assert (await fleet.run(TAKE_OVER, store=other)).exit_code is ExitCode.AS_WISHED
    assert other.memory("test").cordons == {"h1": cordon}
    assert other.memory("test").jobs["web"].wish.stopped
    assert fleet.running() == {}


@story
async def test_a_deploy_that_takes_over_obeys_the_owners_that_the_hosts_know(fleet, another):
    await fleet.run(Change((Build(web(), A),), owner="team/web.yml"))
    other = another()
    deploy = Change((Build(web(), B),), owner="mine/site.yml", take_over=True)
    with pytest.raises(UsageError, match=r"this job is team/web\.yml's"):
        await fleet.run(deploy, store=other)
    assert (await fleet.run(replace(deploy, adopt=True), store=other)).exit_code is ExitCode.AS_WISHED
    assert other.memory("test").jobs["web"].wish.owner == "mine/site.yml"


@story
async def test_a_host_that_was_away_obeys_the_new_driver_once_it_is_back(fleet, another):
    await fleet.deploy(web())
    away = fleet.machines[next(name for name in fleet.machines if name not in fleet.hosts_of().values())]
    away.state = CUT
    other = another()
    await fleet.run(TAKE_OVER, store=other)
    away.state = UP
    assert away.guard[0] == 1
    await fleet.run(Change(), store=other)
    assert away.guard == (other.memory("test").generation, other.author)


@pytest.mark.parametrize("state", [ONLY_PEERS, REFUSED])
@story
async def test_what_runs_on_a_suspect_host_is_not_started_again_by_who_takes_over(fleet, another, state):
    """Its work is known from what the other hosts keep."""
    await fleet.deploy(web())
    before, host = one_each(fleet), fleet.hosts_of()["web.1"]
    fleet.machines[host].state = state
    other = another()
    assert (await fleet.run(TAKE_OVER, store=other)).exit_code is ExitCode.DEGRADED
    assert one_each(fleet) == before
    assert [str(row.name) for row in other.memory("test").hosts[host].instances] == ["web.1@1"]


@story
async def test_a_take_over_killed_before_its_claim_is_finished_by_the_next_heal(fleet, another):
    await fleet.deploy(web())
    other = another()

    def dies():
        raise KilledError

    fleet.at("h1", "claim", "before", dies)
    await killed(fleet.run(TAKE_OVER, store=other))
    assert fleet.machines["h1"].guard[0] == 1
    await asyncio.sleep(31)
    assert (await fleet.run(Change(), store=other)).exit_code is ExitCode.AS_WISHED
    assert {machine.guard[1] for machine in fleet.machines.values()} == {other.author}


@story
async def test_a_wish_that_was_written_down_but_never_claimed_is_claimed_by_the_next_heal(fleet):
    """Else a take-over would bring back the wish before it."""
    await fleet.deploy(web())

    def dies():
        raise KilledError

    for name in fleet.machines:
        fleet.at(name, "claim", "before", dies)
    await killed(fleet.run(Change(cordons=(("h1", Cordon("ann", 5.0)),))))
    fleet.faults.clear()
    await asyncio.sleep(31)
    assert (await fleet.heal()).exit_code is ExitCode.AS_WISHED
    assert all("h1" in opened(machine.wishes)["cordons"] for machine in fleet.machines.values())
    count = len(fleet.orders)
    await fleet.heal()
    assert fleet.orders_since(count) == []


# -- what can't be taken over


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        (None, "h1: it keeps no wishes"),
        ({"generation": 1, "jobs": []}, "left there by another version of fleetctl"),
        ({"version": 2, "jobs": "all"}, "its wishes are damaged"),
    ],
)
@story
async def test_hosts_that_do_not_keep_enough_are_told_and_the_store_stays_as_it_is(fleet, another, wishes, why):
    await fleet.deploy(web())
    for machine in fleet.machines.values():
        machine.wishes = wishes
    count, other = len(fleet.orders), another()
    with pytest.raises(FleetctlError, match=why) as caught:
        await fleet.run(TAKE_OVER, store=other)
    assert caught.value.exit_code is ExitCode.FAILED
    assert (fleet.orders_since(count), other.memory("test")) == ([], Memory(Generation(0)))


@story
async def test_a_host_whose_copy_is_damaged_is_passed_over(fleet, another):
    await fleet.deploy(web())
    fleet.machines["h1"].wishes = {"version": 2}
    other = another()
    assert (await fleet.run(TAKE_OVER, store=other)).exit_code is ExitCode.AS_WISHED
    assert set(other.memory("test").jobs) == {"web"}


@story
async def test_the_newest_guard_decides_whose_wishes_are_taken(fleet, another):
    """h5 was away while the fleet was changed: what it keeps is old."""
    await fleet.deploy(web(replicas=2))
    away = fleet.machines["h5"]
    away.state = CUT
    await fleet.deploy(web(replicas=3))
    away.state = UP
    for name in ("h1", "h2", "h3"):
        fleet.machines[name].state = CUT
    other = another()
    await fleet.run(replace(TAKE_OVER, force=True), store=other)
    assert other.memory("test").jobs["web"].wish.replicas == 3


@story
async def test_a_generation_that_no_fleetctl_gave_is_told(fleet, another):
    await fleet.deploy(web())
    fleet.machines["h3"].guard = (GENERATION_MAX + 1, "root@ops1:abcd")
    with pytest.raises(UsageError, match="h3 says that it has seen generation"):
        await fleet.run(TAKE_OVER, store=another())


@story
async def test_a_lost_artifact_is_fetched_back_after_a_take_over(fleet, another, tmp_path):
    from fleetctl.state.artifacts import KeptArtifacts, digest_of

    build = tmp_path / "build"
    build.write_text("a program")
    build.chmod(0o755)
    (tmp_path / "contents").mkdir()
    shutil.copy2(build, tmp_path / "contents" / "build")
    digest = digest_of(build)
    fleet.contents[digest] = tmp_path / "contents"
    await fleet.deploy(web(), artifact=digest)
    fleet.machines[fleet.hosts_of()["web.1"]].power_off()
    for machine in fleet.machines.values():  # so that the copy has to come from one host and go to another
        if not machine.rows:
            machine.artifacts.clear()
    fleet.kept = KeptArtifacts(tmp_path / "of another user")
    (tmp_path / "of another user").mkdir(mode=0o700)
    assert (await fleet.run(TAKE_OVER, store=another())).exit_code is ExitCode.UNREACHED
    one_each(fleet)
