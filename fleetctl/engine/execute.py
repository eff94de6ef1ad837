"""Carry out a finished plan, stage by stage. Execution has no opinions: whoever decides is in `plan`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from fleetctl.engine.events import ActionBegan, ActionEnded, ActionResult, Outcome, Tell, Uploading
from fleetctl.engine.links import Links
from fleetctl.engine.orders import spec_of
from fleetctl.errors import FleetctlError, UnansweredError, WaitError, YieldError
from fleetctl.model.desired import Desired
from fleetctl.model.job import Digest
from fleetctl.model.plan import AwaitReady, Start, Stop, Upload
from fleetctl.model.replica import Generation
from fleetctl.model.unreachable import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.engine.links import HostLink
    from fleetctl.model.host import HostSpec
    from fleetctl.model.plan import Action, Plan

ORDER_LIMIT_S = 30.0  # an order is one fsync and one fork: a host that needs longer does not answer
UPLOAD_LIMIT_S = 3600.0
STOP_SLACK_S = 15.0  # the sweep after the kill, on a host under load


@dataclass(frozen=True, slots=True)
class Orders:
    """What every order of one plan has in common, and what must hold right before each is sent."""

    desired: Desired
    generation: Generation  # the plan's: what a host's guard is raised to
    author: str
    links: Links
    kept: Callable[[Digest], Path]  # the kept copy of an artifact; raises StateError where it is gone
    assert_held: Callable[[], None]  # raises YieldError once the run lock may be lost
    record: Callable[[int, ActionResult], None]
    tell: Tell

    def host(self, name: str) -> HostSpec:
        return next(host for host in self.desired.hosts if host.name == name)


async def execute(plan: Plan, orders: Orders) -> tuple[ActionResult, ...]:
    """The results of every action that was begun. A stage that did not fully succeed is the last.

    Raises YieldError where a host says that somebody else drives, StateError where a result can't be written down;
    the other actions of the same stage end first.
    """
    results: list[ActionResult] = []
    number = 0
    for stage in plan.stages:
        ends: list[FleetctlError] = []
        async with asyncio.TaskGroup() as group:
            begun = [
                group.create_task(_attempt(number + offset, action, orders, ends))
                for offset, action in enumerate(stage.actions)
            ]
        number += len(stage.actions)
        results += [task.result() for task in begun]
        if ends:
            raise min(ends, key=lambda end: not isinstance(end, YieldError))
        if any(task.result().outcome is not Outcome.DONE for task in begun):
            break
    return tuple(results)


async def _attempt(number: int, action: Action, orders: Orders, ends: list[FleetctlError]) -> ActionResult:
    """The action's end as a value: one host's failure never ends its siblings. What ends the run goes to `ends`."""
    orders.tell(ActionBegan(action))
    try:
        async with asyncio.timeout(_limit_s(action)):
            detail = await orders.links.ask(orders.host(action.host), lambda link: _perform(action, link, orders))
        result = ActionResult(action, Outcome.DONE, detail)
    except YieldError as error:
        ends.append(error)
        result = ActionResult(action, Outcome.FAILED, error.message, error.hint)
    except WaitError as error:
        result = ActionResult(action, Outcome.FAILED, error.reason, error.hint, error.log)
    except (UnansweredError, UnreachableError) as error:
        result = ActionResult(action, Outcome.UNKNOWN, error.reason, error.hint)
    except FleetctlError as error:
        result = ActionResult(action, Outcome.FAILED, error.message, error.hint)
    except TimeoutError:
        result = ActionResult(action, Outcome.UNKNOWN, f"no answer in {_limit_s(action):.0f} s")
    try:
        orders.record(number, result)
    except FleetctlError as error:
        ends.append(error)
    orders.tell(ActionEnded(result))
    return result


def _limit_s(action: Action) -> float:
    match action:
        case Upload():
            return UPLOAD_LIMIT_S
        case Start():
            return ORDER_LIMIT_S
        case AwaitReady():
            return action.timeout_s + ORDER_LIMIT_S
        case Stop():
            return action.timeout_s + STOP_SLACK_S + ORDER_LIMIT_S
        case _:
            assert_never(action)


async def _perform(action: Action, link: HostLink, orders: Orders) -> str:
    """Do it, and say what came of it. May be called again for the same action: every order bears repeating."""
    orders.assert_held()
    order: Mapping[str, Any] = {"generation": orders.generation, "author": orders.author}
    match action:
        case Upload():
            await link.upload(
                **order,
                digest=action.artifact,
                source=orders.kept(action.artifact),
                progress=lambda sent, total: orders.tell(Uploading(action.host, action.artifact, sent, total)),
            )
            return ""
        case Start():
            await link.start(**order, instance=action.instance, spec=spec_of(action, orders.desired))
            return ""
        case AwaitReady():
            row = await link.wait(action.instance, until="ready", for_s=action.for_s, timeout_s=action.timeout_s)
            return f"ready for {row.ready_for_s or 0:.0f} s"
        case Stop():
            await link.stop(**order, instance=action.instance, reason=action.reason)
            row = await link.wait(
                action.instance, until="stopped", for_s=0.0, timeout_s=action.timeout_s + STOP_SLACK_S
            )
            return row.last_exit or ""
        case _:
            assert_never(action)
