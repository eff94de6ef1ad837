"""A story: one seed's fleet, what persons type and cron does, what goes wrong, and how all ends well or why not.

Days are made of acts: hours in which things go wrong, then calm, in which everything must come right by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleetctl.engine.wishing import Build, Change
from fleetctl.model.job import Digest, JobSpec, PortRequest, Probe, StopPolicy, UpdatePolicy
from fleetctl.model.memory import Cordon
from fleetctl.model.plan import HARMLESS
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.verdict import Sign
from tests.sim.controller import Controller, Ended
from tests.sim.ending import Ending, is_said
from tests.sim.faults import DAY_S, Faults
from tests.sim.observer import BrokenError, Observer, Word
from tests.sim.shuffled import shuffled_inputs
from tests.sim.world import LOCKED, ONLY_PEERS, UP, Ill, Run, World
from tests.unit.engine.modelled import GIB, KILLED, PAUSED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

ACT_S = 4 * 3600.0
CALM_S = 1800.0  # of each act: its end
BUSY_S = 600.0  # so long after anything happened cron looks every minute, else less often
QUIET_EVERY_S = 900.0
SWEEPS_MAX = 5
ODDITIES = 0.004  # of all messages
KILLED_RUNS, FROZEN_RUNS = 0.02, 0.01
FLAPPING_OVER_S = 720.0


@dataclass(frozen=True)
class Setting:
    """What a story is made from: the same one gives the same story."""

    seed: int
    hosts: int = 20
    days: float = 1.0
    until_s: float = float("inf")
    rough: float = 1.0  # so many times as many faults and commands as usual

    @property
    def command(self) -> str:
        return f"python -m tests.sim --hosts {self.hosts} --days {self.days:g} --seed {self.seed}" + (
            f" --rough {self.rough:g}" if self.rough != 1.0 else ""
        )


class Story:
    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting, self.dice = setting, random.Random(setting.seed)
        self.observer = Observer()
        self.world = World(folder, setting.hosts, random.Random(setting.seed + 1), self.observer)
        self.observer.world = self.world
        self.world.in_detail = setting.until_s < float("inf")
        self.driver = Controller(self.world, self.world.open_store("state", "ann"), "ann")
        self.stores = 1
        self.builds = 0
        self.cordoned: set[str] = set()
        self.runs = self.sweeps = self.killed = self.frozen = self.replans = 0
        self.reasons: dict[str, int] = {}
        self.faults = Faults(self.world, random.Random(setting.seed + 2), self._stir, setting.rough)
        self._stirred = asyncio.Event()
        self._busy_until = 0.0
        self._said = ""

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def _stir(self) -> None:
        self._busy_until = self.now + BUSY_S
        self._stirred.set()

    async def tell(self) -> None:
        """Raises BrokenError where an invariant does not hold."""
        self._stirred = asyncio.Event()
        with shuffled_inputs(random.Random(self.setting.seed + 3)):
            async with asyncio.timeout(min(self.setting.until_s, self.setting.days * DAY_S + 10 * DAY_S)):
                await self._begin()
                while self.now < self.setting.days * DAY_S:
                    await self._act()
                await self._end()

    # -- the acts

    async def _begin(self) -> None:
        count = self.setting.hosts
        http = {"ports": (PortRequest("http"),), "ready": Probe("http", "http", "/healthz")}
        fixed = {**http, "ports": (PortRequest("http", 8080),)}
        for name, replicas, cpu, more in (
            ("web", count * 6 // 10, 1200, http),
            ("api", count * 3 // 10, 2000, {**http, "ready": Probe("tcp", "http"), "spread": "zone"}),
            ("cache", count, 300, fixed),
            ("worker", count * 3 // 10, 800, {}),
        ):
            spec = JobSpec(
                name,
                "all",
                (f"./{name}",),
                replicas=max(1, replicas),
                resources=Resources(MilliCpu(cpu), Bytes(GIB // 2)),
                stop=StopPolicy(timeout_s=5.0),
                update=UpdatePolicy(self.dice.choice((1, 2, "25%")), min_healthy_s=2.0, deadline_s=60.0),
                **more,  # type: ignore[arg-type]
            )
            await self._deploy(Word(spec, self._build(), spec.replicas))

    async def _act(self) -> None:
        end = self.now + ACT_S
        self.world.chance_of_oddity = ODDITIES
        working = [asyncio.create_task(work) for work in (self._cron(), self._persons())]
        striking = asyncio.create_task(self.faults.strike_until(end - CALM_S))
        try:
            await asyncio.wait({*working, striking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.world.chance_of_oddity = 0.0
            for task in (*working, striking):
                task.cancel()
            ended = await asyncio.gather(*working, striking, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error
        await self._calm()
        await asyncio.sleep(max(0.0, end - self.now))

    async def _cron(self) -> None:
        while True:
            await self._run("heal", Change())
            left = 60.0 - self.now % 60.0
            if self.now < self._busy_until:
                await asyncio.sleep(left)
                continue
            self._stirred.clear()
            try:
                async with asyncio.timeout(QUIET_EVERY_S):
                    await self._stirred.wait()
                await asyncio.sleep(60.0 - self.now % 60.0)
            except TimeoutError:
                continue

    async def _persons(self) -> None:
        kinds, rates = zip(*PER_DAY, strict=True)
        while True:
            await asyncio.sleep(self.dice.expovariate(sum(rates) * self.setting.rough / DAY_S))
            (kind,) = self.dice.choices(kinds, rates)
            self._stir()
            await kind(self)

    # -- calm

    async def _calm(self) -> None:
        """Everything is mended, but perhaps for one thing left on purpose; then it has five sweeps to come right."""
        for host in self.world.machines.values():
            host.unwell.clear()
            host.stir()
        self.world.note("calm: all faults are over")
        await asyncio.sleep(self.dice.choice((35.0, 120.0)))  # a killed run's lease ends
        left, limit = self._leave_something(), None
        if left == "limit":
            limit = frozenset(self.dice.sample(sorted(self.world.machines), len(self.world.machines) // 2))
        ending, last = await self._sweep_until_settled(limit)
        if ending.unsettled() and self._something_flapped(last):
            await asyncio.sleep(FLAPPING_OVER_S)
            self.world.note("what flapped has been quiet for long enough")
            ending, last = await self._sweep_until_settled(limit)
        for replica, how in ending.unsettled().items():
            reason = ending.reason(replica)
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
            self.world.note(f"{replica} is {how}: {reason}")
            hosts = [host.spec.name for host, _ in ending.copies.get(replica, [])]
            if reason != "--limit" and not is_said(last.plan, replica, hosts):
                raise BrokenError(f"{replica} is {how} for {reason}, and nothing is said of it")
        for host in self.world.machines.values():
            if host.state != UP:
                host.power_on()
        await self._tidy()

    @staticmethod
    def _something_flapped(last: Ended) -> bool:
        """Whoever flapped is held suspect for a while longer: that is as promised."""
        verdicts = last.plan.verdicts.values() if last.plan is not None else ()
        return any(verdict.sign is Sign.FLAPPING for verdict in verdicts)

    async def _sweep_until_settled(self, limit: frozenset[str] | None) -> tuple[Ending, Ended]:
        last = Ended("never ran")
        for _ in range(SWEEPS_MAX):
            last = await self._run("heal", Change(limit=limit))
            ending = Ending(self.observer, self.cordoned, limit)
            if not ending.unsettled():
                break
            await asyncio.sleep(60.0 - self.now % 60.0)
        return ending, last

    def _leave_something(self) -> str:
        left = self.dice.choice(
            ("", "", "a host dead", "a host hangs", "a host reached by its peers", "most dead", "limit")
        )
        hosts = sorted(self.world.machines)
        if left == "a host dead":
            self.world.machines[self.dice.choice(hosts)].power_off()
        if left == "a host hangs":
            self.world.machines[self.dice.choice(hosts)].state = PAUSED
        if left == "a host reached by its peers":
            self.world.machines[self.dice.choice(hosts)].state = self.dice.choice((ONLY_PEERS, LOCKED))
        if left == "most dead":
            for name in self.dice.sample(hosts, len(hosts) * 6 // 10):
                self.world.machines[name].power_off()
        dead = sorted(host.spec.name for host in self.world.machines.values() if host.state == KILLED)
        self.world.note(f"left as it is: {left or 'nothing'} {' '.join(dead)}")
        return left

    async def _tidy(self) -> None:
        """A person puts right what persons did."""
        await asyncio.sleep(60.0)
        if self.cordoned and self.dice.random() < 0.7:
            await self._uncordon()
        for job, word in sorted(self.observer.words.items()):
            if word.stopped and self.dice.random() < 0.7:
                await self._start(job)
            elif (word.artifact, "") in self.world.ills:
                await self._deploy(replace(word, artifact=self._build()))

    async def _end(self) -> None:
        """The last word: everything is deployed once more, comes right, and stays as it is."""
        await asyncio.sleep(FLAPPING_OVER_S)
        if self.cordoned:
            await self._uncordon()
        await self._run("heal", Change())
        well = True
        for _, word in sorted(self.observer.words.items()):
            well = (await self._deploy(replace(word, artifact=self._build(), stopped=False))).went_well and well
        last = await self._run("heal", Change())
        unsettled = Ending(self.observer, set(), None).unsettled()
        room = {replica for replica in unsettled if Ending(self.observer, set(), None).reason(replica) != "no room"}
        if room:
            raise BrokenError(f"at the very end: {unsettled}")
        if well and not unsettled and not last.went_well:
            raise BrokenError(f"all is as wished, and the last heal says {last.how}")

    # -- what persons type

    def _build(self) -> Digest:
        self.builds += 1
        return Digest(hashlib.sha256(f"{self.setting.seed} {self.builds}".encode()).hexdigest())

    def _job(self) -> Word:
        return self.observer.words[self.dice.choice(sorted(self.observer.words))]

    def _within_reason(self, replicas: int) -> int:
        return min(len(self.world.machines), max(1, replicas))

    async def _a_deploy(self) -> None:
        word, artifact = self._job(), self._build()
        update, replicas = word.spec.update, word.replicas
        if self.dice.random() < 0.25:
            self.world.ills[artifact, ""] = self.dice.choice(list(Ill))
        elif self.dice.random() < 0.1:
            host = self.dice.choice(sorted(self.world.machines))
            self.world.ills[artifact, host] = self.dice.choice((Ill.CRASHES, Ill.NEVER_READY))
        if self.dice.random() < 0.3:
            update = replace(update, max_unavailable=self.dice.choice((0, 1, 2, "25%", "10%")))
        if self.dice.random() < 0.2:
            replicas = self._within_reason(replicas + self.dice.choice((-2, -1, 1, 3)))
        spec = replace(word.spec, update=update, replicas=replicas)
        limit = None
        if self.dice.random() < 0.1:
            limit = frozenset(self.dice.sample(sorted(self.world.machines), max(1, len(self.world.machines) // 3)))
        await self._deploy(Word(spec, artifact, replicas), limit=limit, allow=self.dice.choice((0, 0, 0, 2)))

    async def _deploy(self, word: Word, limit: frozenset[str] | None = None, allow: int = 0) -> Ended:
        name, word = word.spec.name, replace(word, replicas=word.spec.replicas)  # what was scaled by hand is over
        change = Change((Build(word.spec, word.artifact),), owner=f"{name}.yml", limit=limit, allow_unreachable=allow)
        ill = " and ".join(
            f"{ill.value}{' on ' + host if host else ''}"
            for (artifact, host), ill in self.world.ills.items()
            if artifact == word.artifact
        )
        what = f"deploy {name}: {word.replicas} replicas, max_unavailable {word.spec.update.max_unavailable}"
        what += f", a build that {ill}" if ill else ""
        what += f", --limit to {len(limit)} hosts" if limit else ""
        what += f", --allow-unreachable {allow}" if allow else ""
        return await self._command(
            what, change, word, said=lambda: self.observer.behind.add(name) if allow else None, rolls=frozenset({name})
        )

    async def _scale(self) -> None:
        word = self._job()
        replicas = self._within_reason(word.replicas + self.dice.choice((-3, -1, 1, 2, 5)))
        name = word.spec.name
        await self._command(
            f"scale {name} {replicas}", Change(scales=((name, replicas),)), replace(word, replicas=replicas)
        )

    async def _stop(self) -> None:
        word = self._job()
        name = word.spec.name
        await self._command(f"stop {name}", Change(stops=(name,)), replace(word, stopped=True))
        if self.dice.random() < 0.8:
            await asyncio.sleep(self.dice.uniform(60.0, 1800.0))
            await self._start(name)

    async def _start(self, name: str) -> None:
        word = replace(self.observer.words[name], stopped=False)
        await self._command(f"start {name}", Change(starts=(name,)), word)

    async def _restart(self) -> None:
        word = self._job()
        name = word.spec.name
        await self._command(f"restart {name}", Change(restarts=(name,)), word, rolls=frozenset({name}))

    async def _cordon(self, *, drains: bool = False) -> None:
        if len(self.cordoned) >= len(self.world.machines) // 5:
            return
        name = self.dice.choice(sorted(set(self.world.machines) - self.cordoned))
        what = "drain" if drains else "cordon"

        def said() -> None:
            self.cordoned.add(name)
            if drains:
                self.observer.draining.add(name)

        cordon = Cordon("ann", self.world.clock.wall(), drains=drains)
        await self._command(f"{what} {name}", Change(cordons=((name, cordon),)), said=said)

    async def _drain(self) -> None:
        await self._cordon(drains=True)

    async def _uncordon(self) -> None:
        names = tuple(sorted(self.cordoned))

        def said() -> None:
            self.cordoned.clear()
            self.observer.draining.clear()

        await self._command(f"uncordon {' '.join(names)}", Change(uncordons=names), said=said)

    async def _lose_store(self) -> None:
        """The folder is gone, kept copies and all. A person takes the fleet over from what its hosts keep."""
        self.world.note("the store is lost, and every kept copy with it")
        self.stores += 1
        self.driver = Controller(self.world, self.world.open_store(f"state{self.stores}", "ann"), "ann")
        self.world.kept.lost |= {word.artifact for word in self.observer.words.values()}
        await asyncio.sleep(self.dice.uniform(60.0, 600.0))
        await self._take_over()

    async def _be_raced(self) -> None:
        """Somebody else takes over, with a store of their own, while we go on; then one of both is left."""
        self.stores += 1
        rival = Controller(self.world, self.world.open_store(f"state{self.stores}", "bob"), "bob")
        refused = await self._run("heal", Change(), by=rival)
        if not refused.yielded and refused.result is not None and self.observer.starts:
            raise BrokenError(f"bob, with an empty store, was not refused: {refused.how}")
        await self._run("heal --take-over", Change(take_over=True), by=rival)
        for _ in range(self.dice.randint(1, 5)):
            await asyncio.sleep(self.dice.uniform(20.0, 90.0))
            await self._run("heal", Change(), by=rival)
        if self.dice.random() < 0.5:
            self.world.note("bob drives from now on")
            self.driver = rival
        await self._take_over()

    async def _take_over(self) -> None:
        for _ in range(20):
            ended = await self._run("heal --take-over", Change(take_over=True))
            if ended.result is not None:
                return
            await asyncio.sleep(60.0)

    # -- running

    async def _command(
        self,
        what: str,
        change: Change,
        word: Word | None = None,
        *,
        said: Callable[[], None] | None = None,
        rolls: frozenset[str] = frozenset(),
    ) -> Ended:
        def count() -> None:
            if word is not None:
                self.observer.words[word.spec.name] = word
            if said is not None:
                said()

        for _ in range(10):
            ended = await self._run(what, change, words=count, rolls=rolls)
            if not ended.how.startswith("LiveRunError"):
                break
            await asyncio.sleep(20.0)
        if ended.went_well and not self.world.chance_of_oddity:
            await self._stays(what)
        return ended

    async def _stays(self, what: str) -> None:
        """A full plan, carried out, replans to nothing."""
        self.replans += 1
        again = await self._run(f"heal right after {what}", Change())
        if again.orders:
            raise BrokenError(f"right after {what} there is more to do: {self.world.orders[-again.orders :]}")

    async def _run(
        self,
        what: str,
        change: Change,
        *,
        words: Callable[[], None] | None = None,
        rolls: frozenset[str] = frozenset(),
        by: Controller | None = None,
    ) -> Ended:
        work, driver = Run(what, rolls, change.allow_unreachable, words), by or self.driver
        if self.world.chance_of_oddity and self.dice.random() < (KILLED_RUNS if what == "heal" else 4 * KILLED_RUNS):
            work.kill_at = self.dice.randint(1, 8 * len(self.world.machines))
        elif self.world.chance_of_oddity and self.dice.random() < FROZEN_RUNS:
            work.freeze_at = self.dice.randint(1, 6 * len(self.world.machines))
            work.freeze_s = self.dice.choice((8.0, 35.0, 100.0))
        ended = await driver.run(work, change)
        self.runs += 1
        self.sweeps += ended.result.sweeps if ended.result is not None else 1
        self.killed += ended.how == "killed"
        self.frozen += work.frozen_until > 0
        self._note(what, driver, ended)
        return ended

    def _note(self, what: str, driver: Controller, ended: Ended) -> None:
        held = [h for h in (ended.plan.held if ended.plan else ()) if h.kind not in HARMLESS]
        said = f"{driver.name}: {what}: {ended.how}, {ended.orders} orders"
        key = said + " ".join(f"{h.kind.value} {h.subject}" for h in held)
        if key != self._said:
            self.world.note(said + "".join(f"; {h.kind.value}: {h.reason}" for h in held[:6]))
        self._said = key


PER_DAY: tuple[tuple[Callable[[Story], Awaitable[None]], float], ...] = (
    (Story._a_deploy, 8.0),
    (Story._scale, 3.0),
    (Story._stop, 1.0),
    (Story._restart, 2.0),
    (Story._cordon, 2.0),
    (Story._drain, 1.0),
    (Story._uncordon, 2.0),
    (Story._lose_store, 0.3),
    (Story._be_raced, 0.3),
)
