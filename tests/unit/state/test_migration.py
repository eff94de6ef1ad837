"""A store that an older fleetctl wrote opens, with all that was in it, as one of today."""

import os
import sqlite3
import threading

import pytest

from fleetctl.clock import SystemClock
from fleetctl.errors import StateError
from fleetctl.model.instant import Instant
from fleetctl.model.memory import Cordon, HostMemory, Wish
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.state.identity import this_process
from fleetctl.state.store import Store
from fleetctl.state.tables import SCHEMA
from tests.unit.state.scene import DIGEST, another_process, plan, release, wait_until_dead

# As fleetctl with schema 1 made them.
SCHEMA_1 = """
CREATE TABLE meta (name VARCHAR NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name));
CREATE TABLE fleets (fleet VARCHAR NOT NULL, generation BIGINT NOT NULL, inventory TEXT, PRIMARY KEY (fleet));
CREATE TABLE locks (
    fleet VARCHAR NOT NULL, token VARCHAR NOT NULL, run INTEGER NOT NULL, holder TEXT NOT NULL, command TEXT NOT NULL,
    since_wall FLOAT NOT NULL, ends_wall FLOAT NOT NULL, ends_boottime FLOAT NOT NULL, PRIMARY KEY (fleet));
CREATE TABLE runs (
    run INTEGER NOT NULL, fleet VARCHAR NOT NULL, command TEXT NOT NULL, driver TEXT NOT NULL,
    started_wall FLOAT NOT NULL, ended_wall FLOAT, exit_code INTEGER, lines TEXT NOT NULL, PRIMARY KEY (run));
CREATE INDEX ix_runs_fleet ON runs (fleet);
CREATE TABLE releases (
    fleet VARCHAR NOT NULL, job VARCHAR NOT NULL, number INTEGER NOT NULL, spec TEXT NOT NULL, artifact VARCHAR,
    made_wall FLOAT NOT NULL, good BOOLEAN NOT NULL, PRIMARY KEY (fleet, job, number));
CREATE TABLE wishes (
    fleet VARCHAR NOT NULL, job VARCHAR NOT NULL, release INTEGER NOT NULL, replicas INTEGER NOT NULL,
    stopped BOOLEAN NOT NULL, PRIMARY KEY (fleet, job),
    FOREIGN KEY(fleet, job, release) REFERENCES releases (fleet, job, number));
CREATE TABLE hosts (
    fleet VARCHAR NOT NULL, host VARCHAR NOT NULL, memory TEXT NOT NULL, boot VARCHAR NOT NULL,
    wall_at_zero FLOAT NOT NULL, PRIMARY KEY (fleet, host));
CREATE TABLE plans (
    fleet VARCHAR NOT NULL, generation BIGINT NOT NULL, run INTEGER NOT NULL, written_wall FLOAT NOT NULL,
    held TEXT NOT NULL, verdicts TEXT NOT NULL, boot VARCHAR NOT NULL, wall_at_zero FLOAT NOT NULL,
    PRIMARY KEY (fleet, generation));
CREATE TABLE actions (
    fleet VARCHAR NOT NULL, generation BIGINT NOT NULL, position INTEGER NOT NULL, stage INTEGER NOT NULL,
    kind VARCHAR NOT NULL, action TEXT NOT NULL, outcome VARCHAR, detail TEXT NOT NULL, ended_wall FLOAT,
    PRIMARY KEY (fleet, generation, position),
    FOREIGN KEY(fleet, generation) REFERENCES plans (fleet, generation));
"""
SPEC = '{"name":"web","hosts":"app","command":["./web"]}'
HOST = """{"last_address":"192.0.2.1","silent_runs":0,"silent_since":null,"verdict":{"health":"healthy",
"evidence":"answered","since":900.0},"instances":[]}"""


@pytest.fixture
def old_store(folder):
    """What a deploy left in a store of schema 1."""
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "store.sqlite") as database:
        database.executescript(SCHEMA_1)
        database.execute("INSERT INTO meta VALUES ('schema', '1'), ('id', 'deadbeef')")
        database.execute("INSERT INTO fleets VALUES ('prod', 12, '/etc/fleet/prod.yml')")
        database.execute("INSERT INTO releases VALUES ('prod', 'web', 1, ?, ?, 1.0, 1)", (SPEC, DIGEST))
        database.execute("INSERT INTO wishes VALUES ('prod', 'web', 1, 3, 0)")
        boot = this_process().boot
        database.execute("INSERT INTO hosts VALUES ('prod', 'h1', ?, ?, 5.0)", (HOST, boot))
    database.close()
    return folder


def schema_of(folder):
    with sqlite3.connect(folder / "store.sqlite") as database:
        (schema,) = database.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    database.close()
    return int(schema)


def columns_of(folder):
    with sqlite3.connect(folder / "store.sqlite") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for table in tables:
            rows = database.execute(f"PRAGMA table_info({table})").fetchall()
            found[table] = {(name, kind, bool(must), key) for _, name, kind, must, _, key in rows}
    database.close()
    return found


def test_an_old_store_opens_with_all_that_was_in_it(old_store, open_store):
    store = open_store()
    memory = store.memory("prod")
    assert memory.generation == 12
    assert memory.jobs["web"].wish == Wish("web", 1, 3)
    assert memory.jobs["web"].newest_good() == release(1)
    assert memory.hosts == {
        "h1": HostMemory("192.0.2.1", verdict=HostVerdict(Health.HEALTHY, "answered", Instant(900.0)))
    }
    assert (memory.cordons, memory.failures, memory.incidents) == ({}, (), ())
    assert store.author.endswith(":deadbeef")
    assert schema_of(old_store) == SCHEMA == 2


def test_it_takes_what_today_writes(old_store, open_store):
    store = open_store()
    cordon = Cordon("ann", 5.0, "disk", drains=True)
    with store.lock("prod", "drain") as lock:
        wishes = (Wish("web", 1, 4, owner="playbooks/web.yml", orphan=True, scaled=True),)
        store.write_plan(lock, "prod", plan(13), wishes=wishes, cordons=(("h1", cordon),))
    memory = open_store().memory("prod")
    assert memory.jobs["web"].wish == wishes[0]
    assert memory.cordons == {"h1": cordon}


def test_a_migrated_store_has_the_tables_of_a_new_one(old_store, open_store, tmp_path):
    open_store()
    Store.open(tmp_path / "new", clock=SystemClock()).close()
    assert columns_of(old_store) == columns_of(tmp_path / "new")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_while_it_migrates_leaves_the_old_store_or_the_new_one(old_store, open_store, moment):
    def on_commit(name, when):
        if (name, when) == ("migrate", moment):
            os.kill(os.getpid(), 9)

    with another_process(lambda _: Store.open(old_store, clock=SystemClock(), on_commit=on_commit)) as (pid, _):
        wait_until_dead(pid)
    assert schema_of(old_store) == (1 if moment == "before" else 2)
    assert open_store().memory("prod").generation == 12


def test_of_two_processes_that_open_it_at_once_one_migrates_and_both_go_on(old_store, folder):
    """The second one has seen schema 1 and waits for the first, which is about to commit."""

    opened = []

    def second():
        store = Store.open(folder, clock=SystemClock())
        opened.append(store.memory("prod").generation)
        store.close()

    heard, go = os.pipe()

    def first(say):
        def on_commit(name, when):
            if (name, when) == ("migrate", "before"):
                say("migrating")
                os.read(heard, 1)

        Store.open(old_store, clock=SystemClock(), on_commit=on_commit)
        say("open")

    with another_process(first) as (_, hears):
        assert hears.readline() == "migrating\n"
        other = threading.Thread(target=second)
        other.start()
        os.write(go, b"!")
        assert hears.readline() == "open\n"
        other.join()
    assert opened == [12]
    os.close(heard)
    os.close(go)
    assert schema_of(folder) == 2


def test_a_store_that_can_not_be_migrated_stays_as_it_is(old_store):
    with sqlite3.connect(old_store / "store.sqlite") as database:
        database.execute("CREATE TABLE incidents (something INTEGER)")
    database.close()
    with pytest.raises(StateError, match="incidents already exists"):
        Store.open(old_store, clock=SystemClock())
    assert schema_of(old_store) == 1
    assert "cordons" not in columns_of(old_store), "nothing of it was done"
