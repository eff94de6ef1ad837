"""What fleetctl remembers: releases, wishes, plans, hosts, runs. Each method is one transaction of a few milliseconds.

It writes down and reads back; it decides nothing about the fleet, and speaks to no host.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import delete, insert, inspect, select, update

from fleetctl.errors import StateError
from fleetctl.model.memory import Memory
from fleetctl.state import rows, trouble
from fleetctl.state.database import Database
from fleetctl.state.handover import Driver
from fleetctl.state.identity import this_process
from fleetctl.state.lock import RunLock
from fleetctl.state.migration import migrate
from fleetctl.state.records import cut, load_tuple
from fleetctl.state.tables import METADATA, SCHEMA, actions, fleets, meta, releases, runs
from fleetctl.state.tables import wishes as wish_rows
from fleetctl.state.timebase import Timebase

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy import Connection, Row

    from fleetctl.clock import Clock
    from fleetctl.model.job import Digest, Release
    from fleetctl.model.memory import Cordon, Failure, HostMemory, Incident, JobMemory, Wish
    from fleetctl.model.plan import Plan
    from fleetctl.model.replica import Generation
    from fleetctl.state.database import Watcher
    from fleetctl.state.identity import Process
    from fleetctl.state.rows import OutcomeText

__all__ = ["RunLock", "RunRecord", "Store"]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One command that held the run lock. `ended_wall` is absent while it runs, and for ever if it was killed."""

    run: int
    fleet: str
    command: str
    driver: str
    started_wall: float
    ended_wall: float | None
    exit_code: int | None
    lines: tuple[str, ...]


class Store:
    """The memory of one controller, on disk. What a method has written is there after kill -9 and a power cut."""

    def __init__(self, database: Database, clock: Clock, process: Process, store_id: str) -> None:
        self._database = database
        self._clock = clock
        self._process = process
        self._store_id = store_id

    @classmethod
    def open(
        cls, folder: Path, *, clock: Clock, on_commit: Watcher | None = None, process: Process | None = None
    ) -> Self:
        """Makes the store where there is none. Raises StateError where it can't be used or is of a newer fleetctl.

        `on_commit` is told the name of each writing transaction, right before it commits and right after.
        """
        database = Database.in_folder(folder, on_commit)
        try:
            return cls(database, clock, process or this_process(), _store_id(database))
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        self._database.close()

    @property
    def author(self) -> str:
        """Names this controller, in the guards of hosts: `ann@desk:3f2a…`."""
        return f"{self._process.user}@{self._process.host}:{self._store_id}"

    @property
    def driver(self) -> Driver:
        """The same for people, with where this store is."""
        return Driver(self._process.user, self._process.host, str(self._database.path.parent.absolute()))

    # Which fleets, and what is known of them

    def fleets(self) -> tuple[str, ...]:
        """The fleets that were ever given a plan, sorted."""
        with self._database.reading() as connection:
            return tuple(connection.scalars(select(fleets.c.fleet).order_by(fleets.c.fleet)))

    def inventory_path(self, fleet: str) -> Path | None:
        """The absolute path that came with the last plan that had one."""
        with self._database.reading() as connection:
            path = connection.scalar(select(fleets.c.inventory).where(fleets.c.fleet == fleet))
        return None if path is None else Path(path)

    def memory(self, fleet: str) -> Memory:
        """All that deciding needs of earlier runs, with instants in this boot's time. Empty for an unknown fleet."""
        here, now = self._timebase(), self._clock.now()
        with self._database.reading() as connection:
            jobs = rows.jobs_of(connection, fleet)
            return Memory(
                rows.generation_of(connection, fleet),
                rows.hosts_of(connection, fleet, here, now),
                jobs,
                cordons=trouble.cordons_of(connection, fleet),
                failures=trouble.failures_of(connection, fleet, jobs, here, now),
                incidents=trouble.incidents_of(connection, fleet),
            )

    def needed_artifacts(self) -> frozenset[Digest]:
        """Of all fleets: the artifacts of each job's wished release, its newest good one, and the good one before."""
        with self._database.reading() as connection:
            known = connection.scalars(select(fleets.c.fleet)).all()
            jobs = [job for fleet in known for job in rows.jobs_of(connection, fleet).values()]
        needed = (
            job.releases[number].artifact for job in jobs for number in (job.wish.release, *sorted(job.good)[-2:])
        )
        return frozenset(digest for digest in needed if digest is not None)

    # Changing it, as the holder of the run lock

    def lock(self, fleet: str, command: str) -> RunLock:
        """Begins a run. Raises LiveRunError, naming who, while another run holds the lock of this fleet."""
        return RunLock.take(self._database, self._clock, self._process, fleet, command)

    def write_plan(
        self,
        lock: RunLock,
        fleet: str,
        plan: Plan,
        *,
        wishes: tuple[Wish, ...] = (),
        releases: tuple[Release, ...] = (),
        inventory: Path | None = None,
        hosts: Mapping[str, HostMemory] | None = None,
        cordons: Iterable[tuple[str, Cordon]] = (),
        uncordons: Iterable[str] = (),
        forgive: Collection[str] = frozenset(),
    ) -> None:
        """Takes the plan's generation and writes down the plan with all that changes by it, or nothing of it.

        `hosts` is what is to be expected there from now on. An `inventory` is kept as the fleet's; without one the
        kept one stays. A changed wish alone comes with a plan without actions. The failures of the jobs in `forgive`
        are forgotten. Raises YieldError where the lock is lost, StateError where the plan is not the next
        generation's, UsageError where a release can't be kept exactly.
        """
        here, wall = self._timebase(), self._clock.wall()
        with self._database.writing("write_plan") as connection:
            lock.check(connection, fleet)
            rows.raise_generation(connection, fleet, plan.generation, inventory)
            for release in releases:
                rows.add_release(connection, fleet, release, wall)
            for wish in wishes:
                rows.put_wish(connection, fleet, wish)
            rows.add_plan(connection, fleet, plan, run=lock.run, wall=wall, here=here)
            rows.put_hosts(connection, fleet, hosts or {}, here)
            trouble.put_cordons(connection, fleet, cordons, uncordons)
            trouble.forgive(connection, fleet, forgive)

    def keep_inventory(self, lock: RunLock, fleet: str, inventory: Path) -> None:
        """The path of a deploy that changed nothing else. Does nothing where the fleet never had a plan."""
        with self._database.writing("keep_inventory") as connection:
            lock.check(connection, fleet)
            row = update(fleets).where(fleets.c.fleet == fleet)
            connection.execute(row.values(inventory=str(inventory.absolute())))

    def record_action(
        self, lock: RunLock, generation: Generation, index: int, outcome: OutcomeText, detail: str
    ) -> None:
        """What became of the action at `index` of the plan's actions. Told even where the lock is lost by now."""
        step = (actions.c.fleet == lock.fleet, actions.c.generation == generation, actions.c.position == index)
        ended = {"outcome": outcome, "detail": cut(detail), "ended_wall": self._clock.wall()}
        with self._database.writing("record_action") as connection:
            if not connection.execute(update(actions).where(*step).values(**ended)).rowcount:
                raise StateError(f"plan {generation} of {lock.fleet} has no action {index} that could be {outcome}")

    def record_observation(self, lock: RunLock, fleet: str, hosts: Mapping[str, HostMemory]) -> None:
        """What is now known of these hosts; others stay as they were.

        What was known already costs one look and no write. Raises YieldError where the lock is lost.
        """
        here = self._timebase()
        with self._database.reading() as connection:
            lock.check(connection, fleet)
            changed = rows.changed_hosts(connection, fleet, hosts, here)
        if changed:
            with self._database.writing("record_observation") as connection:
                lock.check(connection, fleet)
                rows.put_hosts(connection, fleet, changed, here)

    def forget_host(self, lock: RunLock, fleet: str, host: str, *, and_cordon: bool = False) -> None:
        """Nothing is known of that host any more; with `and_cordon` not even a person's word on it.

        Raises YieldError where the lock is lost.
        """
        with self._database.writing("forget_host") as connection:
            lock.check(connection, fleet)
            rows.forget_host(connection, fleet, host)
            trouble.put_cordons(connection, fleet, (), (host,) if and_cordon else ())

    def rename_host(self, lock: RunLock, fleet: str, old: str, new: str) -> None:
        """Nothing is known of the old name any more; a person's cordon goes over to the new one.

        Raises YieldError where the lock is lost.
        """
        with self._database.writing("rename_host") as connection:
            lock.check(connection, fleet)
            rows.forget_host(connection, fleet, old)
            cordoned = trouble.cordons_of(connection, fleet)
            if old in cordoned:
                moved = () if new in cordoned else ((new, cordoned[old]),)
                trouble.put_cordons(connection, fleet, moved, (old,))

    def record_failures(self, lock: RunLock, fleet: str, failures: Collection[Failure]) -> None:
        """Adds them to those of the last hour; what is older is dropped. Raises YieldError where the lock is lost."""
        if not failures:
            return
        here, now = self._timebase(), self._clock.now()
        with self._database.writing("record_failures") as connection:
            lock.check(connection, fleet)
            trouble.add_failures(connection, fleet, failures, here, now)

    def put_incidents(self, lock: RunLock, fleet: str, incidents: Iterable[Incident]) -> None:
        """The open ones from now on; nothing is written where they are the same. Raises YieldError where the lock is
        lost."""
        wanted = tuple(sorted(incidents, key=lambda one: (one.kind, one.subject)))
        with self._database.reading() as connection:
            lock.check(connection, fleet)
            same = trouble.incidents_of(connection, fleet) == wanted
        if not same:
            with self._database.writing("put_incidents") as connection:
                lock.check(connection, fleet)
                trouble.replace_incidents(connection, fleet, wanted)

    def take_over(
        self,
        lock: RunLock,
        fleet: str,
        generation: Generation,
        jobs: Mapping[str, JobMemory],
        cordons: Mapping[str, Cordon],
        hosts: Mapping[str, HostMemory],
    ) -> None:
        """Makes what the hosts keep ours, all of it or nothing: their wishes and cordons replace those here, their
        releases are added, and theirs win.

        `hosts` is what they know of those that can't be asked; of others what is remembered stays. Failures are
        forgotten, for a number may be another release now. Raises StateError where `generation` is not newer than all
        that is known, YieldError where the lock is lost.
        """
        here, wall = self._timebase(), self._clock.wall()
        with self._database.writing("take_over") as connection:
            lock.check(connection, fleet)
            rows.leap_to(connection, fleet, generation)
            connection.execute(delete(wish_rows).where(wish_rows.c.fleet == fleet))
            for job in jobs.values():
                rows.unite_releases(connection, fleet, job, wall)
                rows.put_wish(connection, fleet, job.wish)
            trouble.clear_cordons(connection, fleet)
            trouble.put_cordons(connection, fleet, cordons.items(), ())
            trouble.clear_failures(connection, fleet)
            rows.put_hosts(connection, fleet, hosts, here)

    def mark_good(self, lock: RunLock, fleet: str, job: str, release: int) -> None:
        """All replicas of this release were ready for min_healthy together: heal may start it from now on."""
        row = (releases.c.fleet == fleet, releases.c.job == job, releases.c.number == release)
        with self._database.writing("mark_good") as connection:
            lock.check(connection, fleet)
            if not connection.execute(update(releases).where(*row).values(good=True)).rowcount:
                raise StateError(f"release {release} of {job} is not in the store: it can't be good")

    # History

    def plan_of(self, fleet: str, generation: Generation) -> tuple[Plan, tuple[OutcomeText | None, ...]] | None:
        """A plan as it was written down, and the outcome of each of its actions so far; absent if there is none."""
        here, now = self._timebase(), self._clock.now()
        with self._database.reading() as connection:
            return rows.plan_of(connection, fleet, generation, here, now)

    def plans_of_run(self, fleet: str, run: int) -> tuple[tuple[Plan, tuple[OutcomeText | None, ...]], ...]:
        """The plans that a run wrote down, in their order, each with the outcomes of its actions so far."""
        here, now = self._timebase(), self._clock.now()
        with self._database.reading() as connection:
            found = [
                rows.plan_of(connection, fleet, generation, here, now)
                for generation in rows.generations_of(connection, fleet, run)
            ]
        return tuple(plan for plan in found if plan is not None)

    def runs(self, fleet: str, newest: int) -> tuple[RunRecord, ...]:
        """The newest runs of a fleet, newest first."""
        wanted = select(runs).where(runs.c.fleet == fleet).order_by(runs.c.run.desc()).limit(newest)
        with self._database.reading() as connection:
            return tuple(_run_record(row) for row in connection.execute(wanted))

    def run_of(self, fleet: str, number: int) -> RunRecord | None:
        """One run of a fleet, absent if it had none of that number."""
        wanted = select(runs).where(runs.c.fleet == fleet, runs.c.run == number)
        with self._database.reading() as connection:
            row = connection.execute(wanted).one_or_none()
        return None if row is None else _run_record(row)

    def _timebase(self) -> Timebase:
        return Timebase.now(self._clock, self._process.boot)


def _run_record(row: Row[Any]) -> RunRecord:
    return RunRecord(
        run=row.run,
        fleet=row.fleet,
        command=row.command,
        driver=row.driver,
        started_wall=row.started_wall,
        ended_wall=row.ended_wall,
        exit_code=row.exit_code,
        lines=load_tuple(str, row.lines, what=f"run {row.run}"),
    )


def _store_id(database: Database) -> str:
    """The id of the store. Its tables are made where there are none, and brought up to date where they are older.

    Raises StateError for a newer schema.
    """
    with database.reading() as connection:
        known = _meta(connection) if inspect(connection).has_table(meta.name) else {}
    if not known:
        with database.writing("create") as connection:
            METADATA.create_all(connection)
            known = _meta(connection)  # another process may have been faster
            if not known:
                known = {"schema": str(SCHEMA), "id": secrets.token_hex(8)}
                connection.execute(insert(meta), [{"name": name, "value": value} for name, value in known.items()])
    if not known.get("schema", "").isdecimal() or "id" not in known:
        raise StateError(f"{database.path} is not a store of fleetctl", hint="restore the state folder from a backup")
    if int(known["schema"]) < SCHEMA:
        with database.writing("migrate") as connection:
            schema = migrate(connection, int(_meta(connection)["schema"]))  # another process may have been faster
            connection.execute(update(meta).where(meta.c.name == "schema").values(value=str(schema)))
            known = _meta(connection)
    if int(known["schema"]) != SCHEMA:
        raise StateError(
            f"the store {database.path} was written by a newer fleetctl (schema {known['schema']}; this one: {SCHEMA})",
            hint="update fleetctl here",
        )
    return known["id"]


def _meta(connection: Connection) -> dict[str, str]:
    return {row.name: row.value for row in connection.execute(select(meta))}
