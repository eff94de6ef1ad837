"""Cordons, failures and incidents as rows of the store's tables. Whoever calls owns the transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

from fleetctl.model.memory import Cordon, Failure, Incident
from fleetctl.state.records import dump, load
from fleetctl.state.tables import cordons, failures, incidents
from fleetctl.state.timebase import Timebase, translated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy import Connection, Row

    from fleetctl.model.instant import Instant
    from fleetctl.model.memory import JobMemory

FAILURES_KEPT_S = 3600.0  # the longest window that a rule looks at, twelve times
FAILURES_MAX = 10_000  # of a fleet: a thousand replicas that crash at their longest backoff make no more in an hour


def cordons_of(connection: Connection, fleet: str) -> dict[str, Cordon]:
    found = connection.execute(select(cordons).where(cordons.c.fleet == fleet).order_by(cordons.c.host))
    return {row.host: load(Cordon, row.cordon, what=f"the cordon of {row.host}") for row in found}


def put_cordons(connection: Connection, fleet: str, put: Iterable[tuple[str, Cordon]], lift: Iterable[str]) -> None:
    """Those put replace older ones; those lifted are gone, whether or not they were there."""
    placed = dict(put)
    for host in (*placed, *lift):
        connection.execute(delete(cordons).where(cordons.c.fleet == fleet, cordons.c.host == host))
    for host, cordon in placed.items():
        connection.execute(insert(cordons).values(fleet=fleet, host=host, cordon=dump(Cordon, cordon)))


def clear_cordons(connection: Connection, fleet: str) -> None:
    connection.execute(delete(cordons).where(cordons.c.fleet == fleet))


def failures_of(
    connection: Connection, fleet: str, jobs: Mapping[str, JobMemory], here: Timebase, now: Instant
) -> tuple[Failure, ...]:
    """Those of the last hour of releases in `jobs`, oldest first."""
    found = (_failure(row, here, now) for row in _failures(connection, fleet))
    recent = [
        failure
        for failure in found
        if failure.at > now - FAILURES_KEPT_S
        and failure.replica.job in jobs
        and failure.release in jobs[failure.replica.job].releases
    ]
    return tuple(sorted(recent, key=lambda failure: (failure.at, failure.replica, failure.host)))


def add_failures(connection: Connection, fleet: str, new: Collection[Failure], here: Timebase, now: Instant) -> None:
    """Drops what is older than an hour, and the oldest where there are too many."""
    rows = _failures(connection, fleet)
    old = [row.number for row in rows if _failure(row, here, now).at <= now - FAILURES_KEPT_S]
    kept = [row.number for row in rows if row.number not in set(old)]
    old += kept[: max(0, len(kept) + len(new) - FAILURES_MAX)]
    if old:
        connection.execute(delete(failures).where(failures.c.fleet == fleet, failures.c.number.in_(old)))
    first = 1 + (connection.scalar(select(func.max(failures.c.number)).where(failures.c.fleet == fleet)) or 0)
    made = [
        {
            "fleet": fleet,
            "number": number,
            "job": failure.replica.job,
            "failure": dump(Failure, failure),
            "boot": here.boot,
            "wall_at_zero": here.wall_at_zero,
        }
        for number, failure in enumerate(list(new)[-FAILURES_MAX:], start=first)
    ]
    if made:
        connection.execute(insert(failures), made)


def forgive(connection: Connection, fleet: str, jobs: Collection[str]) -> None:
    """Forgets the failures of these jobs."""
    if jobs:
        connection.execute(delete(failures).where(failures.c.fleet == fleet, failures.c.job.in_(sorted(jobs))))


def clear_failures(connection: Connection, fleet: str) -> None:
    connection.execute(delete(failures).where(failures.c.fleet == fleet))


def incidents_of(connection: Connection, fleet: str) -> tuple[Incident, ...]:
    """By kind, then by subject."""
    order = (incidents.c.kind, incidents.c.subject)
    found = connection.execute(select(incidents).where(incidents.c.fleet == fleet).order_by(*order))
    return tuple(load(Incident, row.incident, what=f"the incident of {row.subject}") for row in found)


def replace_incidents(connection: Connection, fleet: str, opened: Iterable[Incident]) -> None:
    connection.execute(delete(incidents).where(incidents.c.fleet == fleet))
    for one in opened:
        row = {"fleet": fleet, "kind": one.kind, "subject": one.subject, "incident": dump(Incident, one)}
        connection.execute(insert(incidents).values(**row))


def _failures(connection: Connection, fleet: str) -> list[Row[Any]]:
    wanted = select(failures).where(failures.c.fleet == fleet).order_by(failures.c.number)
    return list(connection.execute(wanted))


def _failure(row: Row[Any], here: Timebase, now: Instant) -> Failure:
    failure = load(Failure, row.failure, what=f"a failure of {row.job}")
    return replace(failure, at=translated(failure.at, Timebase(row.boot, row.wall_at_zero), here, now))
