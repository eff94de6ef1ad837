"""One controller of the simulator: a store of its own, and the real engine's runs on it, which may be killed or stopped
for a while at any moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetctl.engine.events import ActionEnded, HostSeen, PlanMade
from fleetctl.engine.links import Links
from fleetctl.engine.run import Means, RunResult, run
from fleetctl.errors import ExitCode, FleetctlError, YieldError
from fleetctl.model.snapshot import Unreachable
from tests.sim.observer import BrokenError
from tests.sim.world import RUN, Run, World
from tests.unit.engine.modelled import KilledError

if TYPE_CHECKING:
    from fleetctl.engine.wishing import Change
    from fleetctl.model.plan import Plan
    from fleetctl.state.store import RunLock, Store


@dataclass(frozen=True)
class Ended:
    """How a run ended: `how` in words, its result where it came to one."""

    how: str
    result: RunResult | None = None
    error: FleetctlError | None = None
    orders: int = 0

    @property
    def yielded(self) -> bool:
        return isinstance(self.error, YieldError)

    @property
    def plan(self) -> Plan | None:
        return self.result.plan if self.result is not None else None

    @property
    def went_well(self) -> bool:
        return self.result is not None and self.result.exit_code in (ExitCode.AS_WISHED, ExitCode.UNREACHED)


class Controller:
    def __init__(self, world: World, store: Store, name: str) -> None:
        self.world, self.store, self.name = world, store, name

    async def run(self, work: Run, change: Change) -> Ended:
        """One command. What it may raise is a defect: of the product or of the simulator."""
        try:
            result = await asyncio.create_task(self._work(work, change))
        except FleetctlError as error:
            if "its own rules" in error.message:
                raise BrokenError(error.message) from error
            return Ended(f"{type(error).__name__}: {error.message}", error=error, orders=work.orders)
        except KilledError:
            return Ended("killed", orders=work.orders)
        except BaseExceptionGroup as group:
            _, rest = group.split(KilledError)
            if rest is not None:
                raise
            return Ended("killed", orders=work.orders)
        return Ended(result.exit_code.name, result, orders=work.orders)

    async def _work(self, work: Run, change: Change) -> RunResult:
        RUN.set(work)
        work.idle_from = work.looked_from = self.world.clock.now()
        lock = self.store.lock("sim", work.name)
        try:
            result = await run(self._means(work), _Lock(lock, work), change)  # type: ignore[arg-type]
            work.moment()
        except Exception:
            lock.release()
            raise
        lock.release(int(result.exit_code))  # not after a KilledError: the dead release nothing
        return result

    def _means(self, work: Run) -> Means:
        world = self.world

        def tell(event: Any) -> None:
            match event:
                case HostSeen(host, Unreachable()):
                    work.seen_ready.pop(host, None)
                case PlanMade():
                    work.looked_from = work.idle_from
                    world.observer.planned(self.store.author, event.plan.generation, bool(event.plan.actions))
                case ActionEnded(result):
                    work.idle_from = world.clock.now()
                    if result.outcome.value != "done":
                        world.note(f"  {type(result.action).__name__} on {result.action.host}: {result.detail}")
                case _:
                    pass

        names = {"all": tuple(world.machines)}
        eligible = lambda pattern: names.get(pattern, tuple(pattern.split(":")))  # noqa: E731
        return Means(
            world.inventory, eligible, self.store, world.kept, Links(world.dial, world.redial), world.clock, tell
        )


class _Lock:
    """A run's lock. While the run is stopped nothing renews it."""

    def __init__(self, lock: RunLock, work: Run) -> None:
        self._lock, self._work = lock, work

    def renew(self) -> None:
        if asyncio.get_running_loop().time() >= self._work.frozen_until:
            self._lock.renew()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)
