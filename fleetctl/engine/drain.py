"""A drain: runs, one after the other, until nothing of ours is on a host, or until its deadline.

Each try is a run of its own, so that others get the run lock in between. What a drain wishes is written down with the
first: whatever is left undone here, the next heals do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.engine.run import RunResult
from fleetctl.errors import LiveRunError
from fleetctl.model.plan import HeldKind
from fleetctl.model.snapshot import Reachable
from fleetctl.model.verdict import Health

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fleetctl.clock import Clock
    from fleetctl.model.plan import Held
    from fleetctl.model.snapshot import InstanceReport

TRY_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Drained:
    """How a drain ended: with the last try's result, and what blocked that. Nothing blocks: it is done."""

    result: RunResult
    blocked_by: tuple[str, ...]


async def drain(
    host: str,
    one_run: Callable[[], Awaitable[RunResult]],
    *,
    clock: Clock,
    deadline_s: float,
    tell_blocked: Callable[[tuple[str, ...]], None],
    goes_on: Callable[[], bool],
) -> Drained:
    """Tries until nothing is left on `host`, or until no further try would begin within `deadline_s`: the first is
    always made. `tell_blocked` hears what blocks it, each time that this changes; `goes_on` is asked before each
    further try whether the drain is still wished.

    Raises what a run raises; LiveRunError only in the first try, later another's run is waited out.
    """
    ends = clock.now() + deadline_s
    ended = _judge(host, await one_run())
    told: tuple[str, ...] = ()
    while ended.blocked_by:
        if ended.blocked_by != told:
            tell_blocked(ended.blocked_by)
            told = ended.blocked_by
        if clock.now() + TRY_EVERY_S > ends:
            break
        await clock.sleep(TRY_EVERY_S)
        if not goes_on():
            break
        try:
            ended = _judge(host, await one_run())
        except LiveRunError:
            continue
    return ended


def _judge(host: str, result: RunResult) -> Drained:
    return Drained(result, blocks(host, result))


def blocks(host: str, result: RunResult) -> tuple[str, ...]:
    """Why something of ours is still on `host`, or may be, after this run; nothing where it is empty.

    A host that is lost has nothing that could be moved: it is drained once nothing of it is held back elsewhere.
    """
    seen, verdict = result.snapshot.hosts.get(host), result.verdicts.get(host)
    rows = _rows(host, result)
    if isinstance(seen, Reachable) and not rows:
        return ()
    if held := _held(host, rows, result.plan.held):
        return tuple(f"{note.subject}: {note.kind.value}: {note.reason}" for note in held)
    if verdict is not None and verdict.health is Health.LOST:
        return ()
    if verdict is not None and verdict.health is not Health.HEALTHY:
        return (f"{host} is {verdict.health.value}: {verdict.evidence}",)
    return tuple(f"{row.name} is still there: {row.phase.value}" for row in rows) or (f"{host} was not looked at",)


def _held(host: str, rows: tuple[InstanceReport, ...], held: tuple[Held, ...]) -> list[Held]:
    """What is held back of the host itself; else of the fleet, of what runs there, or of jobs that nobody wishes."""
    if of_host := sorted(note for note in held if note.subject == host):
        return of_host
    names = {name for row in rows for name in (str(row.name), str(row.name.replica))}
    jobs = {row.name.job for row in rows}
    return sorted(
        note
        for note in held
        if note.subject in names
        or note.kind is HeldKind.TOO_MUCH_LOST
        or (note.kind is HeldKind.UNWISHED and note.subject in jobs)
    )


def _rows(host: str, result: RunResult) -> tuple[InstanceReport, ...]:
    """What holds room there, under a root that is not another fleet's."""
    seen = result.snapshot.hosts.get(host)
    if not isinstance(seen, Reachable) or not seen.report.is_open_to(result.desired.fleet):
        return ()
    return tuple(sorted((row for row in seen.report.instances if row.phase.holds_room), key=lambda row: row.name))
