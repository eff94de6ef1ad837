"""The run lock: a lease on one fleet. At most one run changes a fleet, and nobody ever removes a lock by hand."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlalchemy import delete, insert, select, update

from fleetctl.errors import LiveRunError, StateError, YieldError
from fleetctl.model.instant import Instant
from fleetctl.state.identity import Process, is_gone
from fleetctl.state.records import cut, dump, load, printable
from fleetctl.state.tables import locks, runs

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy import Connection, Row

    from fleetctl.clock import Clock
    from fleetctl.state.database import Database

LEASE_S = 30.0
MARGIN_S = 5.0  # with less left nothing is sent: an order may be that long under way
QUIET_RUNS_KEPT = 10_000  # a week of cron's every minute


class RunLock:
    """This run's lease. It can be lost to another run at any time once it has run out: ask before each order."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        fleet: str,
        token: str,
        run: int,
        ends: Instant,
        may_be_followed: bool,
    ) -> None:
        self.fleet = fleet
        self.run = run
        self.may_be_followed = may_be_followed  # by late orders of the run before, which sleeps or was cut off
        self._database = database
        self._clock = clock
        self._token = token
        self._ends = ends
        self._released = False

    @classmethod
    def take(cls, database: Database, clock: Clock, holder: Process, fleet: str, command: str) -> Self:
        """Begins a run. Raises LiveRunError, naming the holder, while another run holds the lease and may be alive."""
        token, may_be_followed = secrets.token_hex(16), False
        now, wall = clock.now(), clock.wall()
        with database.writing("lock") as connection:
            held = connection.execute(select(locks).where(locks.c.fleet == fleet).with_for_update()).one_or_none()
            if held is not None:
                may_be_followed = _outlived(held, holder, now, wall)
                connection.execute(delete(locks).where(locks.c.fleet == fleet))
            begun = insert(runs).values(
                fleet=fleet, command=printable(command), driver=str(holder), started_wall=wall, lines="[]"
            )
            run = connection.execute(begun.returning(runs.c.run)).scalar_one()
            lease = insert(locks).values(
                fleet=fleet,
                token=token,
                run=run,
                holder=dump(Process, holder),
                command=printable(command),
                since_wall=wall,
                ends_wall=wall + LEASE_S,
                ends_boottime=now + LEASE_S,
            )
            connection.execute(lease)
        ends = Instant(now + LEASE_S)
        return cls(database, clock, fleet=fleet, token=token, run=run, ends=ends, may_be_followed=may_be_followed)

    def seconds_left(self) -> float:
        """Of the lease, in time that also passes while this machine sleeps. Negative once it is over."""
        return self._ends - self._clock.now()

    def assert_held(self) -> None:
        """Raises YieldError where so little is left that an order might arrive in another run's time."""
        if (left := self.seconds_left()) < MARGIN_S:
            raise YieldError(
                f"the run lock of {self.fleet} is ours for {max(left, 0.0):.0f} s only: nothing more is sent",
                hint="this machine slept or its disk hangs; the next run goes on from here",
            )

    def renew(self) -> None:
        """Thirty seconds from now. Raises YieldError where another run has taken the lease since."""
        now, wall = self._clock.now(), self._clock.wall()
        with self._database.writing("renew") as connection:
            self.check(connection, self.fleet)
            longer = update(locks).where(locks.c.token == self._token)
            connection.execute(longer.values(ends_wall=wall + LEASE_S, ends_boottime=now + LEASE_S))
        self._ends = Instant(now + LEASE_S)

    def check(self, connection: Connection, fleet: str) -> None:
        """Raises YieldError where, as this transaction sees it, the lease of this fleet is not ours."""
        if fleet != self.fleet:
            raise StateError(f"the run lock of {self.fleet} does not cover {fleet}")
        held = connection.execute(select(locks).where(locks.c.fleet == self.fleet).with_for_update()).one_or_none()
        if held is not None and held.token == self._token:
            return
        self._ends = Instant(float("-inf"))
        if held is None:
            raise YieldError(f"the run lock of {self.fleet} was let go", hint="the next run goes on from here")
        raise YieldError(f"the run lock of {self.fleet} was lost: {_told(held)}", hint="that run goes on from here")

    def release(self, exit_code: int | None = None, lines: tuple[str, ...] = ()) -> None:
        """Ends the run, with what it said; the next may begin. Does nothing the second time."""
        if self._released:
            return
        with self._database.writing("release") as connection:
            ended = update(runs).where(runs.c.run == self.run)
            said = dump(tuple[str, ...], tuple(cut(line) for line in lines))
            connection.execute(ended.values(ended_wall=self._clock.wall(), exit_code=exit_code, lines=said))
            connection.execute(delete(locks).where(locks.c.fleet == self.fleet, locks.c.token == self._token))
            quiet = (runs.c.fleet == self.fleet, runs.c.lines == "[]", runs.c.ended_wall.is_not(None))
            heals = delete(runs).where(*quiet, runs.c.command.like("heal%"))  # what a person typed is kept
            connection.execute(heals.where(runs.c.run < self.run - QUIET_RUNS_KEPT))
        self._ends = Instant(float("-inf"))
        self._released = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _outlived(held: Row[tuple[object, ...]], here: Process, now: Instant, wall: float) -> bool:
    """Whether the holder, whose lease is over, may go on all the same. Raises LiveRunError while it is not over."""
    holder = load(Process, held.holder, what="the run lock")
    if is_gone(holder, here):
        return False
    same_clock = holder.boot != "" and holder.boot == here.boot
    left = held.ends_boottime - now if same_clock else held.ends_wall - wall
    if left > 0:
        raise LiveRunError(
            f"the run lock of {held.fleet} is {_told(held)}; unless renewed, its lease ends in {left:.0f} s",
            hint="wait for that run to end: nothing needs to be removed by hand",
        )
    return True


def _told(held: Row[tuple[object, ...]]) -> str:
    holder = load(Process, held.holder, what="the run lock")
    since = datetime.fromtimestamp(held.since_wall).astimezone()
    return f"held by {holder} since {since:%Y-%m-%d %H:%M:%S}, running {held.command!r}"
