"""Model values as rows of the store's tables: one function for each kind. Whoever calls owns the transaction."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import and_, delete, insert, select, update

from fleetctl.errors import StateError
from fleetctl.model.job import Digest, JobSpec, Release
from fleetctl.model.memory import HostMemory, JobMemory, Wish
from fleetctl.model.plan import Held, Plan, Stage
from fleetctl.model.replica import Generation
from fleetctl.model.verdict import HostVerdict
from fleetctl.state.records import ACTION_KINDS, dump, dump_spec, load, load_mapping, load_tuple
from fleetctl.state.tables import actions, fleets, hosts, plans, releases, wishes
from fleetctl.state.timebase import Timebase, translated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sqlalchemy import Connection, Row, Table

    from fleetctl.model.instant import Instant

OutcomeText = Literal["done", "failed", "unknown"]
CLOCK_SLACK_S = 1.0  # what the wall clock is set by in a day of NTP is far less


def put(connection: Connection, table: Table, key: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Sets `values` in the row of `key`, which is made where it is absent. In words that every database understands."""
    row = and_(*(table.c[name] == value for name, value in key.items()))
    if not connection.execute(update(table).where(row).values(**values)).rowcount:
        connection.execute(insert(table).values(**key, **values))


def generation_of(connection: Connection, fleet: str) -> Generation:
    """Zero before the first plan."""
    return Generation(connection.scalar(select(fleets.c.generation).where(fleets.c.fleet == fleet)) or 0)


def leap_to(connection: Connection, fleet: str, generation: Generation) -> None:
    """Raises StateError where the fleet is there already."""
    stored = generation_of(connection, fleet)
    if generation <= stored:
        raise StateError(
            f"{fleet} can't be taken over at generation {generation}: {stored} is known",
            hint="this is a defect of fleetctl: nothing was changed; run the command again",
        )
    put(connection, fleets, {"fleet": fleet}, {"generation": generation})


def raise_generation(connection: Connection, fleet: str, generation: Generation, inventory: Path | None) -> None:
    """Raises StateError where `generation` is not the next one."""
    stored = generation_of(connection, fleet)
    if generation != stored + 1:
        raise StateError(
            f"a plan for generation {generation} of {fleet} can't follow {stored}",
            context="writing the plan down",
            hint="this is a defect of fleetctl: nothing was changed; run the command again",
        )
    kept = {} if inventory is None else {"inventory": str(inventory.absolute())}
    put(connection, fleets, {"fleet": fleet}, {"generation": generation, **kept})


def jobs_of(connection: Connection, fleet: str) -> dict[str, JobMemory]:
    known: defaultdict[str, dict[int, Release]] = defaultdict(dict)
    good: defaultdict[str, set[int]] = defaultdict(set)
    for row in connection.execute(select(releases).where(releases.c.fleet == fleet).order_by(releases.c.number)):
        spec = load(JobSpec, row.spec, what=f"release {row.number} of {row.job}")
        known[row.job][row.number] = Release(row.number, spec, None if row.artifact is None else Digest(row.artifact))
        if row.good:
            good[row.job].add(row.number)
    wished = connection.execute(select(wishes).where(wishes.c.fleet == fleet).order_by(wishes.c.job))
    return {
        row.job: JobMemory(
            Wish(row.job, row.release, row.replicas, row.stopped, row.owner, row.orphan, row.scaled),
            known[row.job],
            frozenset(good[row.job]),
        )
        for row in wished
    }


def add_release(connection: Connection, fleet: str, release: Release, wall: float) -> None:
    """Raises UsageError where its spec can't be kept exactly."""
    row = {"fleet": fleet, "job": release.job, "number": release.number, "spec": dump_spec(release.spec)}
    connection.execute(insert(releases).values(**row, artifact=release.artifact, made_wall=wall, good=False))


def unite_releases(connection: Connection, fleet: str, job: JobMemory, wall: float) -> None:
    """Adds these releases to what is known of the job; where both have a number, these win."""
    for number, release in job.releases.items():
        key = {"fleet": fleet, "job": release.job, "number": number}
        made = {"spec": dump_spec(release.spec), "artifact": release.artifact, "made_wall": wall}
        put(connection, releases, key, {**made, "good": number in job.good})


def put_wish(connection: Connection, fleet: str, wish: Wish) -> None:
    values = {
        "release": wish.release,
        "replicas": wish.replicas,
        "stopped": wish.stopped,
        "owner": wish.owner,
        "orphan": wish.orphan,
        "scaled": wish.scaled,
    }
    put(connection, wishes, {"fleet": fleet, "job": wish.job}, values)


def hosts_of(connection: Connection, fleet: str, here: Timebase, now: Instant) -> dict[str, HostMemory]:
    found = connection.execute(select(hosts).where(hosts.c.fleet == fleet).order_by(hosts.c.host))
    return {row.host: _host(row, here, now) for row in found}


def changed_hosts(
    connection: Connection, fleet: str, seen: Mapping[str, HostMemory], here: Timebase
) -> dict[str, HostMemory]:
    """Those of `seen` that are not what is stored, or are stored by another clock."""
    stored = {row.host: row for row in connection.execute(select(hosts).where(hosts.c.fleet == fleet))}
    return {name: host for name, host in seen.items() if name not in stored or not _says(stored[name], host, here)}


def _says(row: Row[Any], host: HostMemory, here: Timebase) -> bool:
    same_clock = row.boot == here.boot != "" and abs(row.wall_at_zero - here.wall_at_zero) < CLOCK_SLACK_S
    if not same_clock:
        return False
    return row.memory == dump(HostMemory, host) or bool(load(HostMemory, row.memory, what=f"host {row.host}") == host)


def put_hosts(connection: Connection, fleet: str, seen: Mapping[str, HostMemory], here: Timebase) -> None:
    for name, host in seen.items():
        values = {"memory": dump(HostMemory, host), "boot": here.boot, "wall_at_zero": here.wall_at_zero}
        put(connection, hosts, {"fleet": fleet, "host": name}, values)


def forget_host(connection: Connection, fleet: str, host: str) -> None:
    connection.execute(delete(hosts).where(hosts.c.fleet == fleet, hosts.c.host == host))


def add_plan(connection: Connection, fleet: str, plan: Plan, *, run: int, wall: float, here: Timebase) -> None:
    key = {"fleet": fleet, "generation": plan.generation}
    row = insert(plans).values(
        **key,
        run=run,
        written_wall=wall,
        held=dump(tuple[Held, ...], plan.held),
        verdicts=dump(dict[str, HostVerdict], dict(plan.verdicts)),
        behind=dump(dict[str, frozenset[str]], dict(plan.behind)),
        boot=here.boot,
        wall_at_zero=here.wall_at_zero,
    )
    connection.execute(row)
    staged = [(number, action) for number, stage in enumerate(plan.stages) for action in stage.actions]
    if staged:
        steps = [
            {
                **key,
                "position": position,
                "stage": stage,
                "kind": type(action).__name__,
                "action": dump(type(action), action),
                "detail": "",
            }
            for position, (stage, action) in enumerate(staged)
        ]
        connection.execute(insert(actions), steps)


def generations_of(connection: Connection, fleet: str, run: int) -> tuple[Generation, ...]:
    """Of the plans that a run wrote down, in their order."""
    wanted = select(plans.c.generation).where(plans.c.fleet == fleet, plans.c.run == run).order_by(plans.c.generation)
    return tuple(Generation(number) for number in connection.scalars(wanted))


def plan_of(
    connection: Connection, fleet: str, generation: Generation, here: Timebase, now: Instant
) -> tuple[Plan, tuple[OutcomeText | None, ...]] | None:
    """A plan with what became of each of its actions. Its empty stages are not kept."""
    what = f"plan {generation} of {fleet}"
    row = connection.execute(
        select(plans).where(plans.c.fleet == fleet, plans.c.generation == generation)
    ).one_or_none()
    if row is None:
        return None
    steps = connection.execute(
        select(actions).where(actions.c.fleet == fleet, actions.c.generation == generation).order_by(actions.c.position)
    ).all()
    stages = tuple(
        Stage(tuple(load(ACTION_KINDS[step.kind], step.action, what=what) for step in stage))
        for _, stage in groupby(steps, key=lambda step: step.stage)
    )
    written = Timebase(row.boot, row.wall_at_zero)
    verdicts = {
        host: replace(verdict, since=translated(verdict.since, written, here, now))
        for host, verdict in load_mapping(HostVerdict, row.verdicts, what=what).items()
    }
    behind = load_mapping(frozenset[str], row.behind, what=what)
    plan = Plan(generation, stages, load_tuple(Held, row.held, what=what), verdicts, behind)
    return plan, tuple(step.outcome for step in steps)


def _host(row: Row[Any], here: Timebase, now: Instant) -> HostMemory:
    known = load(HostMemory, row.memory, what=f"host {row.host}")
    written = Timebase(row.boot, row.wall_at_zero)
    since, verdict = known.silent_since, known.verdict
    return replace(
        known,
        silent_since=None if since is None else translated(since, written, here, now),
        verdict=None if verdict is None else replace(verdict, since=translated(verdict.since, written, here, now)),
        turns=tuple(translated(turn, written, here, now) for turn in known.turns),
    )
