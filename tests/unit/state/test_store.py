"""What a run writes down is there for the next one, whole or not at all."""

import os
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetctl.clock import SystemClock
from fleetctl.errors import StateError, UsageError, YieldError
from fleetctl.model.instant import Instant
from fleetctl.model.job import JobSpec, Release
from fleetctl.model.memory import Cordon, Failure, HostMemory, Incident, JobMemory, Memory, Wish
from fleetctl.model.plan import Action, Held, Plan, Stage
from fleetctl.model.replica import InstanceName, ReplicaName
from fleetctl.model.snapshot import InstanceReport, Phase
from fleetctl.model.template import Template
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.state.identity import this_process
from fleetctl.state.store import Store
from tests.unit.state.scene import (
    DIGEST,
    SetClock,
    another_process,
    plan,
    release,
    rollout,
    wait_until_dead,
    wish,
)
from tests.unit.state.values import any_value

RUNNING = InstanceReport(InstanceName.parse("web.0@1"), 1, Phase.READY, ports=(("http", 20000),), ready_for_s=12.5)
HOST = HostMemory("192.0.2.1", 0, None, HostVerdict(Health.HEALTHY, "answered", Instant(900.0)), (RUNNING,))


@pytest.fixture
def lock(store):
    return store.lock("prod", "deploy")


def deploy(store, lock, generation, *releases, good=()):
    """Plans that wish the last of these releases; those in `good` proved good."""
    wishes = tuple(wish(made.number, job=made.job) for made in releases)
    store.write_plan(lock, "prod", plan(generation), releases=releases, wishes=wishes[-1:])
    for made in releases:
        if made.number in good:
            store.mark_good(lock, "prod", made.job, made.number)


def test_a_fleet_that_nobody_knows_has_an_empty_memory(store):
    assert store.memory("prod") == Memory(0)
    assert store.fleets() == ()
    assert store.inventory_path("prod") is None
    assert store.plan_of("prod", 1) is None


def test_a_plan_is_there_with_all_that_changed_by_it(store, lock, open_store):
    written = rollout(1)
    store.write_plan(
        lock,
        "prod",
        written,
        wishes=(wish(1),),
        releases=(release(1),),
        inventory=Path("/etc/fleet/prod.yml"),
        hosts={"h1": HOST},
    )
    again = open_store()
    memory = again.memory("prod")
    assert memory.generation == 1
    assert memory.jobs["web"].wish == wish(1)
    assert memory.jobs["web"].releases == {1: release(1)}
    assert memory.jobs["web"].newest_good() is None
    assert memory.hosts == {"h1": HOST}
    assert again.plan_of("prod", 1) == (written, (None, None, None))
    assert again.fleets() == ("prod",)
    assert again.inventory_path("prod") == Path("/etc/fleet/prod.yml")


def test_a_relative_inventory_is_kept_as_an_absolute_path_and_stays_until_another_comes(store, lock):
    store.write_plan(lock, "prod", plan(1), inventory=Path("prod.yml"))
    store.write_plan(lock, "prod", plan(2))
    assert store.inventory_path("prod") == Path.cwd() / "prod.yml"
    store.write_plan(lock, "prod", plan(3), inventory=Path("/elsewhere.yml"))
    assert store.inventory_path("prod") == Path("/elsewhere.yml")


@pytest.mark.parametrize("generation", [0, 1, 3])
def test_a_plan_that_is_not_the_next_generations_is_refused(store, lock, generation):
    store.write_plan(lock, "prod", plan(1))
    with pytest.raises(StateError, match=f"generation {generation} of prod can't follow 1"):
        store.write_plan(lock, "prod", plan(generation), wishes=(wish(1),), releases=(release(1),))
    assert store.memory("prod") == Memory(1)


def test_each_fleet_counts_its_own_generations(store, lock):
    store.write_plan(lock, "prod", plan(1))
    with store.lock("stage", "deploy") as other:
        store.write_plan(other, "stage", plan(1))
    assert store.fleets() == ("prod", "stage")


def test_where_a_part_can_not_be_written_nothing_of_the_plan_is(store, lock):
    spoilt = JobSpec("db", "app", (Template("{{ address }}{{ v }}", (("v", (1, 2)),)),))
    with pytest.raises(UsageError, match="job db"):
        store.write_plan(lock, "prod", plan(1), releases=(release(1), Release(1, spoilt)), wishes=(wish(1),))
    assert store.memory("prod") == Memory(0)
    assert store.plan_of("prod", 1) is None


def test_a_release_never_changes_and_a_wish_never_names_one_that_is_not_there(store, lock):
    deploy(store, lock, 1, release(1))
    with pytest.raises(StateError, match="contradicts others: UNIQUE"):
        store.write_plan(lock, "prod", plan(2), releases=(release(1, command=("other",)),))
    with pytest.raises(StateError, match="FOREIGN KEY"):
        store.write_plan(lock, "prod", plan(2), wishes=(wish(7),))
    assert store.memory("prod").jobs["web"].releases == {1: release(1)}


def test_a_changed_wish_replaces_the_old_one_and_leaves_other_jobs_alone(store, lock):
    deploy(store, lock, 1, release(1))
    deploy(store, lock, 2, release(1, job="db"))
    store.write_plan(lock, "prod", plan(3), wishes=(wish(1, stopped=True, replicas=5),))
    jobs = store.memory("prod").jobs
    assert jobs["web"].wish == wish(1, stopped=True, replicas=5)
    assert jobs["db"].wish == wish(1, job="db")


def test_a_good_release_stays_good_and_the_newest_good_is_told(store, lock):
    deploy(store, lock, 1, release(1), good={1})
    deploy(store, lock, 2, release(2), good={2})
    deploy(store, lock, 3, release(3))
    job = store.memory("prod").jobs["web"]
    assert job.good == {1, 2}
    assert job.newest_good() == release(2)
    with pytest.raises(StateError, match="release 9 of web is not in the store"):
        store.mark_good(lock, "prod", "web", 9)


def test_the_outcome_of_each_action_is_kept(store, lock):
    store.write_plan(lock, "prod", rollout(1))
    store.record_action(lock, 1, 1, "failed", "no space left\0 on /srv")
    store.record_action(lock, 1, 0, "unknown", "")
    store.record_action(lock, 1, 0, "done", "")
    assert store.plan_of("prod", 1)[1] == ("done", "failed", None)
    for generation, index in ((1, 3), (2, 0)):
        with pytest.raises(StateError, match=f"plan {generation} of prod has no action {index}"):
            store.record_action(lock, generation, index, "done", "")


def test_what_is_seen_of_some_hosts_leaves_the_others_as_they_were(store, lock):
    silent = replace(HOST, silent_runs=2, silent_since=Instant(950.0))
    store.record_observation(lock, "prod", {"h1": HOST, "h2": HOST})
    store.record_observation(lock, "prod", {"h2": silent})
    assert store.memory("prod").hosts == {"h1": HOST, "h2": silent}
    assert store.fleets() == ()  # it was looked at, nothing was ever wished there


def test_the_artifacts_that_are_needed_are_the_wished_the_newest_good_and_the_good_one_before(store, lock):
    digests = [letter * 64 for letter in "12345"]
    releases = [release(number, artifact=digest) for number, digest in enumerate(digests, start=1)]
    deploy(store, lock, 1, *releases, good={1, 2, 3})  # wishes the fifth
    with store.lock("stage", "deploy") as other:
        store.write_plan(other, "stage", plan(1), releases=(release(1, artifact=None),), wishes=(wish(1),))
    assert store.needed_artifacts() == {digests[1], digests[2], digests[4]}


def test_the_author_names_user_host_and_store_and_is_the_same_in_each_run(store, open_store, tmp_path):
    here = this_process()
    assert store.author.startswith(f"{here.user}@{here.host}:")
    assert open_store().author == store.author
    other = Store.open(tmp_path / "another", clock=SetClock())
    assert other.author != store.author
    other.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    stages=st.lists(st.lists(any_value(Action), min_size=1, max_size=3), max_size=3),
    held=st.lists(any_value(Held), max_size=2).map(tuple),
    spec=any_value(JobSpec),
    host=any_value(HostMemory),
)
def test_any_plan_and_all_that_comes_with_it_is_read_as_it_was_written(store, lock, stages, held, spec, host):
    generation = store.memory("prod").generation + 1
    past = replace(host, silent_since=None, verdict=None, turns=())
    written = Plan(generation, tuple(Stage(tuple(actions)) for actions in stages), held, {})
    made = Release(generation, replace(spec, name="web"), DIGEST)
    store.write_plan(lock, "prod", written, releases=(made,), wishes=(wish(generation),), hosts={"h1": past})
    read, _ = store.plan_of("prod", generation)
    assert read == written
    assert repr(read.held) == repr(written.held)
    memory = store.memory("prod")
    assert memory.jobs["web"].releases[generation] == made
    assert memory.hosts["h1"] == past


# Cordons, failures, incidents


def failure(at, *, job="web", release=1, host="h1", final=False):
    return Failure(ReplicaName(job, 0), release, host, Instant(at), final)


def test_a_cordon_is_kept_until_it_is_lifted(store, lock):
    first, second = Cordon("ann", 5.0), Cordon("bob", 6.0, "disk", drains=True)
    store.write_plan(lock, "prod", plan(1), cordons=(("h1", first), ("h2", first)))
    store.write_plan(lock, "prod", plan(2), cordons=(("h2", second),), uncordons=("h1", "h9"))
    assert store.memory("prod").cordons == {"h2": second}


def test_failures_of_the_last_hour_are_known_oldest_first_and_those_of_known_releases_alone(store, lock, clock):
    deploy(store, lock, 1, release(1))
    store.record_failures(lock, "prod", (failure(990.0), failure(980.0, host="h2"), failure(970.0, release=7)))
    clock.passes(1800)
    store.record_failures(lock, "prod", (failure(2790.0, final=True),))
    assert store.memory("prod").failures == (failure(980.0, host="h2"), failure(990.0), failure(2790.0, final=True))
    clock.passes(1801)
    assert store.memory("prod").failures == (failure(2790.0, final=True),)
    store.record_failures(lock, "prod", (failure(4500.0),))
    with store._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM failures").scalar() == 2, "what is old is dropped"


def test_a_deploy_forgives_the_failures_of_the_jobs_it_names(store, lock):
    deploy(store, lock, 1, release(1))
    deploy(store, lock, 2, release(1, job="db"))
    store.record_failures(lock, "prod", (failure(990.0), failure(995.0, job="db")))
    store.write_plan(lock, "prod", plan(3), forgive={"web"})
    assert store.memory("prod").failures == (failure(995.0, job="db"),)


def test_failures_of_a_fleet_are_bounded(store, lock, monkeypatch):
    monkeypatch.setattr("fleetctl.state.trouble.FAILURES_MAX", 3)
    deploy(store, lock, 1, release(1))
    for first in (900, 902, 904):
        store.record_failures(lock, "prod", (failure(first), failure(first + 1)))
    assert [one.at for one in store.memory("prod").failures] == [903, 904, 905]


def test_the_open_incidents_are_replaced_as_a_whole(store, lock, open_store):
    disk = Incident("h1", "host", "its disk fails", 5.0)
    crash = Incident("web", "job", "crashes", 6.0, told=True, members=("web.0",))
    store.put_incidents(lock, "prod", (crash, disk))
    assert store.memory("prod").incidents == (disk, crash)
    store.put_incidents(lock, "prod", (crash,))
    assert open_store().memory("prod").incidents == (crash,)
    assert store.memory("stage").incidents == ()


def test_what_happened_before_a_reboot_is_as_old_as_it_is(open_store, clock):
    before = open_store(here=replace(this_process(), boot="one"))
    lock = before.lock("prod", "heal")
    deploy(before, lock, 1, release(1))
    before.record_failures(lock, "prod", (failure(900.0),))
    before.record_observation(lock, "prod", {"h1": replace(HOST, turns=(Instant(940.0),))})
    clock.boottime, clock.walltime = 20.0, clock.walltime + 120.0  # 100 s down
    memory = open_store(here=replace(this_process(), boot="two")).memory("prod")
    assert memory.failures == (failure(-200.0),)
    assert memory.hosts["h1"].turns == (-160.0,)


# What is cheap because nothing changed


def written(store, work):
    """The transactions that `work` wrote."""
    seen = []
    store._database._watcher = lambda name, moment: seen.append(name) if moment == "after" else None
    work()
    return seen


def test_a_look_at_what_is_known_already_writes_nothing(store, lock, clock):
    incidents = (Incident("h1", "host", "its disk fails", 5.0),)
    hosts = {"h1": replace(HOST, behind=frozenset({"web", "db", "api"})), "h2": HOST}

    def look():
        store.record_observation(lock, "prod", hosts)
        store.put_incidents(lock, "prod", incidents)
        store.record_failures(lock, "prod", ())

    assert written(store, look) == ["record_observation", "put_incidents"]
    clock.passes(60)
    assert written(store, look) == []
    hosts["h2"] = replace(HOST, silent_runs=1)
    assert written(store, look) == ["record_observation"]
    assert store.memory("prod").hosts == hosts


def test_a_wall_clock_that_was_set_is_written_down_with_what_did_not_change(store, lock, clock):
    """Else an age would be wrong by as much after the next boot."""
    store.record_observation(lock, "prod", {"h1": HOST})
    clock.walltime += 3600
    assert written(store, lambda: store.record_observation(lock, "prod", {"h1": HOST})) == ["record_observation"]


def test_who_looks_with_a_lost_lock_learns_it_though_there_is_nothing_to_write(open_store, clock):
    store = open_store(here=replace(this_process(), boot="the one before"))
    lock = store.lock("prod", "heal")
    store.put_incidents(lock, "prod", ())
    open_store().lock("prod", "heal")
    with pytest.raises(YieldError):
        store.record_observation(lock, "prod", {})
    with pytest.raises(YieldError):
        store.put_incidents(lock, "prod", ())


# Forgetting a host, taking over, history


def test_a_forgotten_host_is_not_known_any_more_but_a_persons_cordon_is(store, lock):
    store.write_plan(lock, "prod", plan(1), hosts={"h1": HOST, "h2": HOST}, cordons=(("h1", Cordon("ann", 5.0)),))
    store.forget_host(lock, "prod", "h1")
    memory = store.memory("prod")
    assert (set(memory.hosts), set(memory.cordons)) == ({"h2"}, {"h1"})
    store.forget_host(lock, "prod", "h1", and_cordon=True)
    assert store.memory("prod").cordons == {}


def test_the_cordon_of_a_renamed_host_goes_over_to_its_new_name(store, lock):
    mine, others = Cordon("ann", 5.0), Cordon("bob", 6.0)
    store.write_plan(lock, "prod", plan(1), hosts={"old": HOST}, cordons=(("old", mine), ("a", mine), ("b", others)))
    store.rename_host(lock, "prod", "old", "new")
    store.rename_host(lock, "prod", "a", "b")
    assert store.memory("prod").cordons == {"new": mine, "b": others}


def test_a_take_over_replaces_wishes_and_unites_releases_and_those_of_the_hosts_win(store, lock):
    deploy(store, lock, 1, release(1), release(2), good={1})
    deploy(store, lock, 2, release(1, job="old"))
    store.record_failures(lock, "prod", (failure(990.0),))
    store.write_plan(lock, "prod", plan(3), cordons=(("h1", Cordon("ann", 5.0)),), hosts={"h1": HOST})
    theirs = JobMemory(
        Wish("web", 3, 5, owner="playbooks/web.yml"),
        {2: release(2, command=("./other",)), 3: release(3)},
        frozenset({2}),
    )
    cordons = {"h2": Cordon("bob", 6.0)}
    generation = 2**32 + 47
    silent = replace(HOST, silent_runs=2)
    store.take_over(lock, "prod", generation, {"web": theirs}, cordons, {"h3": silent})
    memory = store.memory("prod")
    assert memory.generation == generation
    assert set(memory.jobs) == {"web"}
    assert memory.jobs["web"].wish == theirs.wish
    assert memory.jobs["web"].releases == {1: release(1), **theirs.releases}
    assert memory.jobs["web"].good == {1, 2}
    assert (memory.cordons, memory.failures, memory.hosts) == (cordons, (), {"h1": HOST, "h3": silent})
    store.write_plan(lock, "prod", plan(generation + 1))


def test_a_take_over_that_leads_nowhere_newer_is_refused_and_changes_nothing(store, lock):
    deploy(store, lock, 1, release(1))
    with pytest.raises(StateError, match="can't be taken over at generation 1: 1 is known"):
        store.take_over(lock, "prod", 1, {}, {}, {})
    assert set(store.memory("prod").jobs) == {"web"}


def test_a_run_is_found_by_its_number_with_all_its_plans(store, lock):
    store.write_plan(lock, "prod", rollout(1))
    store.record_action(lock, 1, 0, "done", "")
    store.write_plan(lock, "prod", plan(2))
    lock.release(3, ("web.1 is held",))
    with store.lock("prod", "heal") as later:
        store.write_plan(later, "prod", plan(3))
    run = store.run_of("prod", lock.run)
    assert (run.command, run.exit_code, run.lines) == ("deploy", 3, ("web.1 is held",))
    assert store.plans_of_run("prod", lock.run) == ((rollout(1), ("done", None, None)), (plan(2), ()))
    assert store.run_of("prod", 99) is None
    assert store.run_of("stage", lock.run) is None
    assert store.plans_of_run("prod", 99) == ()


# kill -9


def dies(folder, transaction, moment):
    """A run that is killed at one moment of one of its transactions."""

    def on_commit(name, when):
        if (name, when) == (transaction, moment):
            os.kill(os.getpid(), 9)

    def work(_say):
        store = Store.open(folder, clock=SystemClock(), on_commit=on_commit)
        lock = store.lock("prod", "deploy")
        store.write_plan(lock, "prod", rollout(1), releases=(release(1),), wishes=(wish(1),), hosts={"h1": HOST})
        store.record_action(lock, 1, 0, "done", "")
        store.record_observation(lock, "prod", {"h2": HOST})
        store.mark_good(lock, "prod", "web", 1)
        lock.renew()
        lock.release(0)

    with another_process(work) as (pid, _):
        wait_until_dead(pid)


TRANSACTIONS = ("create", "lock", "write_plan", "record_action", "record_observation", "mark_good", "renew", "release")


@pytest.mark.parametrize("transaction", TRANSACTIONS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_killed_around_a_commit_leaves_all_of_it_or_nothing_and_the_next_goes_on(folder, transaction, moment):
    dies(folder, transaction, moment)
    store = Store.open(folder, clock=SystemClock())
    committed = TRANSACTIONS.index(transaction) + (moment == "after")

    def done(name):
        return TRANSACTIONS.index(name) < committed

    memory = store.memory("prod")
    assert memory.generation == done("write_plan")
    assert set(memory.jobs) == ({"web"} if done("write_plan") else set())
    assert set(memory.hosts) == {name for name, by in (("h1", "write_plan"), ("h2", "record_observation")) if done(by)}
    assert (memory.jobs["web"].good == {1}) == done("mark_good") if memory.jobs else not done("mark_good")
    if done("write_plan"):
        assert store.plan_of("prod", 1)[1] == ("done" if done("record_action") else None, None, None)
    assert [run.ended_wall is not None for run in store.runs("prod", 9)] == ([done("release")] if done("lock") else [])
    with store.lock("prod", "heal") as lock:
        store.write_plan(lock, "prod", plan(memory.generation + 1))
    store.close()


def test_a_commit_is_on_disk_before_it_returns(store):
    """What no test can do is cut the power: this is SQLite's own promise, where it is asked for it."""
    with store._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "truncate"


# A store that can't be used


def test_a_store_of_a_newer_fleetctl_is_refused_and_left_as_it_is(folder, store):
    store.close()
    with sqlite3.connect(folder / "store.sqlite") as database:
        database.execute("UPDATE meta SET value = '3' WHERE name = 'schema'")
    database.close()
    before = (folder / "store.sqlite").read_bytes()
    with pytest.raises(StateError, match=r"by a newer fleetctl \(schema 3; this one: 2\)") as told:
        Store.open(folder, clock=SetClock())
    assert told.value.hint == "update fleetctl here"
    assert (folder / "store.sqlite").read_bytes() == before


def test_a_file_that_is_no_store_is_told_and_left(folder):
    folder.mkdir(mode=0o700)
    (folder / "store.sqlite").write_text("the shopping list " * 100)
    with pytest.raises(
        StateError, match=r"store.sqlite can't be used: it is not a store of fleetctl, or damaged"
    ) as told:
        Store.open(folder, clock=SetClock())
    assert "backup" in told.value.hint
    assert (folder / "store.sqlite").read_text().startswith("the shopping list")


def test_a_damaged_store_is_told(folder, store, lock):
    for generation in range(1, 30):
        store.write_plan(lock, "prod", rollout(generation), hosts={f"h{generation}": HOST})
    store.close()
    whole = (folder / "store.sqlite").read_bytes()
    half = len(whole) // 8192 * 4096
    (folder / "store.sqlite").write_bytes(whole[:half] + b"\xa5" * (len(whole) - half))
    damaged = Store.open(folder, clock=SetClock())
    with pytest.raises(StateError, match="it is damaged"):
        damaged.memory("prod")
    damaged.close()


def test_a_store_that_another_process_keeps_locked_is_told_with_what_to_do(folder, store, monkeypatch):
    monkeypatch.setattr("fleetctl.state.database.BUSY_LIMIT_S", 0.2)
    other = sqlite3.connect(folder / "store.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = Store.open(folder, clock=SetClock())
    with pytest.raises(StateError, match="it stays locked by another fleetctl") as told:
        waiting.lock("prod", "heal")
    assert told.value.context == "writing (lock)"
    assert "Ctrl-Z" in told.value.hint
    other.close()
    waiting.lock("prod", "heal").release()
    waiting.close()


def told_by_another_user(folder):
    """What Store.open says to nobody, who is not root and owns nothing."""

    def work(say):
        os.setgroups([])
        os.setuid(65_534)
        try:
            Store.open(folder, clock=SystemClock()).lock("prod", "heal")
        except StateError as error:
            say(error.message)

    with another_process(work) as (_, hears):
        return hears.readline()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture
def shown_folder():
    """A state folder below one that everybody may enter, which a test's own folder is not."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        Store.open(Path(parent) / "state", clock=SetClock()).close()
        yield Path(parent) / "state"


@needs_root
def test_a_folder_that_may_not_be_entered_is_told(shown_folder):
    assert told_by_another_user(shown_folder) == f"the state folder {shown_folder} can't be used: Permission denied\n"


@needs_root
def test_a_store_that_may_be_read_but_not_written_is_told(shown_folder):
    shown_folder.chmod(0o755)
    for file in shown_folder.iterdir():
        file.chmod(0o644)
    assert "it can't be written" in told_by_another_user(shown_folder)


def test_a_full_disk_is_told_and_what_was_there_stays(folder, tmp_path):
    """On a file system of 256 KiB in a mount namespace of our own."""

    def work(say):
        if not mounted_small(folder):
            say("can't mount here")
            return
        store = Store.open(folder, clock=SystemClock())
        lock = store.lock("prod", "deploy")
        store.write_plan(lock, "prod", plan(1))
        big = replace(HOST, last_address="x" * 20_000)
        try:
            for number in range(100):
                store.record_observation(lock, "prod", {f"h{number}": big})
        except StateError as error:
            kept = len(store.memory("prod").hosts)
            say(f"{error.message} | {error.hint} | {store.memory('prod').generation} | {kept == number > 0}")

    with another_process(work) as (_, hears):
        told = hears.readline()
    if told.startswith("can't mount"):
        pytest.skip("mounting is not allowed here")
    message, hint, generation, kept = told.strip().split(" | ")
    assert "no space is left there" in message
    assert hint == "make room there"
    assert (generation, kept) == ("1", "True")


def mounted_small(folder):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    clone_newns, ms_rec, ms_private = 0x20000, 0x4000, 0x40000
    folder.mkdir(mode=0o700)
    return (
        libc.unshare(clone_newns) == 0
        and libc.mount(b"none", b"/", None, ms_rec | ms_private, None) == 0
        and libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=256k,mode=0700") == 0
    )
