"""Tells a human of incidents, through the command of the inventory's `notify`: which, `plan/incidents` decides.

At least once: an incident is written down, then told, then marked as told. Killed in between, the next run tells it
again under the same id; nothing is lost unsaid. What can't be told, for want of a command, is told once there is one.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, assert_never

from fleetctl.engine.events import Outcome
from fleetctl.engine.notify import Hook
from fleetctl.model.plan import AwaitReady, Start, Stop, Upload
from fleetctl.plan.incidents import incidents_after

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fleetctl.clock import Clock
    from fleetctl.engine.events import ActionResult
    from fleetctl.model.desired import Desired
    from fleetctl.model.host import Inventory
    from fleetctl.model.memory import Incident
    from fleetctl.model.plan import Action, Plan
    from fleetctl.plan.incidents import Message
    from fleetctl.state.store import RunLock, Store

VERSION = 1
LINES_MAX = 50
MEMBERS_MAX = 1000

Send = Callable[[str], bool]  # hands a message over, and says whether it could be


def hook_of(inventory: Inventory, state: Path) -> Hook | None:
    """The inventory's command, run in its folder; absent where it names none."""
    if inventory.notify is None:
        return None
    source = inventory.source.absolute()
    folder = source if source.is_dir() else source.parent
    return Hook(inventory.fleet, tuple(shlex.split(inventory.notify)), folder, state)


class Teller:
    """What one run tells. Without `send` incidents are only remembered.

    Both methods raise YieldError where the lock is lost, StateError where nothing can be written down.
    """

    def __init__(self, store: Store, lock: RunLock, send: Send | None, clock: Clock) -> None:
        self._store, self._lock, self._send, self._clock = store, lock, send, clock
        self._began_wall = clock.wall()
        self._incidents: tuple[Incident, ...] | None = None  # the open ones; only the holder of the lock changes them

    def plan_made(self, desired: Desired, plan: Plan, incidents: tuple[Incident, ...]) -> None:
        """Before it is carried out: a dead host is told though the run then waits for minutes. `incidents` are those
        that the store has: asked of the first plan alone."""
        if self._incidents is None:
            self._incidents = incidents
        self._tell(desired, plan, to_do=_lines(plan.actions), done=(), ended=False)

    def run_ended(self, desired: Desired, plan: Plan, results: tuple[ActionResult, ...]) -> None:
        """What is left of trouble, and what is over."""
        done = _lines(result.action for result in results if result.outcome is Outcome.DONE)
        self._tell(desired, plan, to_do=(), done=done, ended=True)

    def _tell(
        self, desired: Desired, plan: Plan, *, to_do: tuple[str, ...], done: tuple[str, ...], ended: bool
    ) -> None:
        before, wall = self._incidents or (), self._clock.wall()
        after = incidents_after(before, desired, plan, wall, began_wall=self._began_wall, ended=ended)
        over = {message.incident for message in after.messages if message.event == "end"}
        told: set[Incident] = set()
        if after.messages and self._send is not None:
            self._put(desired.fleet, (*after.incidents, *over))
            for message in after.messages:
                said = as_json(message, desired.fleet, self._lock.run, to_do=to_do, done=done)
                if self._send(json.dumps(said)):
                    told.add(message.incident)
        marked = [replace(one, told=True) if one in told else one for one in after.incidents]
        to_end = [] if self._send is None else sorted(over - told, key=lambda one: (one.kind, one.subject))
        self._put(desired.fleet, (*marked, *to_end))

    def _put(self, fleet: str, incidents: tuple[Incident, ...]) -> None:
        if set(incidents) != set(self._incidents or ()):
            self._store.put_incidents(self._lock, fleet, incidents)
        self._incidents = incidents


def as_json(message: Message, fleet: str, run: int, *, to_do: tuple[str, ...], done: tuple[str, ...]) -> dict[str, Any]:
    """What the command gets on its standard input. A change that breaks readers gets another version."""
    incident = message.incident
    since = _iso(incident.since_wall)
    return {
        "version": VERSION,
        "id": f"{fleet} {incident.kind} {incident.subject} {since} {message.event}",
        "event": message.event,
        "fleet": fleet,
        "subject": incident.subject,
        "kind": incident.kind,
        "what": incident.what,
        "since": since,
        "ended": None if message.ended_wall is None else _iso(message.ended_wall),
        "members": list(incident.members[:MEMBERS_MAX]),
        "run": run,
        "to_do": list(to_do),
        "done": list(done),
        "needs_human": message.needs_human,
    }


def _lines(actions: Iterable[Action]) -> tuple[str, ...]:
    """What is started and stopped, with the reasons; uploads and gates only serve that."""
    lines = [line for action in actions if (line := _line(action))]
    more = [f"and {len(lines) - LINES_MAX} more"] if len(lines) > LINES_MAX else []
    return (*lines[:LINES_MAX], *more)


def _line(action: Action) -> str:
    match action:
        case Start():
            return f"start {action.instance} on {action.host}: {action.reason}"
        case Stop():
            return f"stop {action.instance} on {action.host}: {action.reason}"
        case Upload() | AwaitReady():
            return ""
        case _:
            assert_never(action)


def _iso(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds")
