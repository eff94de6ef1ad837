"""What befalls the modelled fleet by itself: each fault is one coroutine that does it, lets it last, and undoes it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.sim.world import LOCKED, ONLY_PEERS, ONLY_US, REFUSED, UP, Host, World
from tests.unit.engine.modelled import CUT, KILLED, PAUSED

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable

    Fault = Callable[["Faults"], Awaitable[None]]

DAY_S = 86400.0
VERBS = ("observe", "claim", "adopt", "start", "wait", "stop", "probe", "neighbours")


class Faults:
    """Strikes at random, at the rates below. `stir` is called at each change, so that cron looks sooner."""

    def __init__(self, world: World, dice: random.Random, stir: Callable[[], None], rough: float) -> None:
        self.world, self.dice, self._stir, self._rough = world, dice, stir, rough
        self.count = 0

    async def strike_until(self, end: float) -> None:
        """Faults at random until then; all are undone when this ends."""
        loop = asyncio.get_running_loop()
        kinds = [(kind, rate * len(self.world.machines)) for kind, rate in PER_HOST_DAY] + list(PER_DAY)
        a_day = sum(rate for _, rate in kinds) * self._rough
        tasks: list[asyncio.Task[None]] = []
        try:
            while (pause_s := self.dice.expovariate(a_day / DAY_S)) < end - loop.time():
                await asyncio.sleep(pause_s)
                (kind,) = self.dice.choices([kind for kind, _ in kinds], [rate for _, rate in kinds])
                tasks.append(asyncio.create_task(kind(self)))
            await asyncio.sleep(max(0.0, end - loop.time()))
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self.world.faults.clear()
            for error in ended:
                if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                    raise error

    def say(self, text: str) -> None:
        self.count += 1
        self.world.note(text)
        self._stir()

    @asynccontextmanager
    async def lasting(self, shortest_s: float, longest_s: float) -> AsyncIterator[None]:
        """Does nothing for some time; what is in the block is done however that ends."""
        try:
            await asyncio.sleep(self.dice.uniform(shortest_s, longest_s))
        finally:
            self._stir()
            yield

    def a_host(self) -> Host:
        """One that is well, or any."""
        hosts = [host for host in self.world.machines.values() if host.state == UP]
        return self.dice.choice(hosts or list(self.world.machines.values()))

    async def become(self, state: str) -> None:
        host = self.a_host()
        host.state = state
        self.say(f"{host.spec.name}: {state}")
        longest_s = self.dice.choice((90.0, 900.0, 7200.0))
        async with self.lasting(20.0, longest_s):
            if host.state == state:
                host.state = UP
                self.say(f"{host.spec.name} is back ({state})")

    # -- one host

    async def dies(self) -> None:
        host = self.a_host()
        await self.off([host], self.dice.choice((120.0, 1800.0, 7200.0)))

    async def off(self, hosts: list[Host], longest_s: float) -> None:
        hosts = [host for host in hosts if host.state != KILLED]
        for host in hosts:
            host.power_off()
        self.say(f"power lost: {', '.join(host.spec.name for host in hosts)}")
        async with self.lasting(20.0, longest_s):
            for host in hosts:
                if host.state == KILLED:
                    host.power_on()
            self.say(f"power again: {', '.join(host.spec.name for host in hosts)}")

    async def hangs(self) -> None:
        await self.become(PAUSED)

    async def is_cut_off(self) -> None:
        await self.become(CUT)

    async def is_reached_by_peers_alone(self) -> None:
        await self.become(ONLY_PEERS)

    async def is_reached_by_us_alone(self) -> None:
        await self.become(ONLY_US)

    async def loses_its_sshd(self) -> None:
        await self.become(REFUSED)

    async def lets_nobody_in(self) -> None:
        await self.become(LOCKED)

    async def flaps(self) -> None:
        host, state = self.a_host(), self.dice.choice((CUT, PAUSED, REFUSED))
        self.say(f"{host.spec.name} begins to flap ({state})")
        try:
            for _ in range(self.dice.randint(3, 8)):
                host.state = state if host.state == UP else UP
                self._stir()
                await asyncio.sleep(self.dice.uniform(40.0, 200.0))
        finally:
            if host.state == state:
                host.state = UP
            self.say(f"{host.spec.name} has done with flapping")

    async def is_slow(self) -> None:
        host = self.a_host()
        host.slow_s = self.dice.choice((0.3, 1.5, 4.0))
        self.say(f"{host.spec.name} is slow: {host.slow_s} s a message")
        async with self.lasting(60.0, 3600.0):
            host.slow_s = 0.0
            self.say(f"{host.spec.name} is quick again")

    async def fills_its_disk(self) -> None:
        host = self.a_host()
        host.full = True
        self.say(f"{host.spec.name}: its disk is full")
        async with self.lasting(60.0, 3600.0):
            host.full = False
            self.say(f"{host.spec.name} has room on its disk")

    async def loses_its_agent(self) -> None:
        host = self.a_host()
        host.kill_agent()
        self.say(f"{host.spec.name}: kill -9 of its agent")

    async def has_a_wrong_clock(self) -> None:
        host = self.a_host()
        host.wall_off_s = self.dice.choice((-86400.0, 86400.0, 300.0))
        self.say(f"{host.spec.name}: its clock is off by {host.wall_off_s:.0f} s")
        async with self.lasting(300.0, 3600.0):
            host.wall_off_s = 0.0
            self.say(f"{host.spec.name}: its clock is right again")

    async def has_an_unwell_program(self) -> None:
        host = self.a_host()
        names = sorted(name for name in host.rows if host.serves(name))
        if names:
            name = self.dice.choice(names)
            host.unwell[name] = host.now() + self.dice.uniform(10.0, 600.0)
            host.stir()
            self.say(f"{name} on {host.spec.name} is not ready for {host.unwell[name] - host.now():.0f} s")

    async def changes_in_mid_sentence(self) -> None:
        """At the next message of a kind, right before or after it."""
        host, verb = self.a_host(), self.dice.choice(VERBS)
        moment = self.dice.choice(("before", "after"))
        what = self.dice.choice((PAUSED, CUT, REFUSED, "reboots", "loses its agent", "the link breaks"))
        name = host.spec.name

        def befall() -> None:
            self.say(f"{name} {what} right {moment} {verb}")
            if what == "reboots":
                host.power_off()
                host.power_on()
            elif what == "loses its agent":
                host.kill_agent()
            elif what != "the link breaks":
                host.state = what

        if what == "the link breaks":
            self.world.lose(name, verb, moment)
        else:
            self.world.at(name, verb, moment, befall)
        async with self.lasting(300.0, 3600.0):
            self.world.faults.pop((name, verb, moment), None)
            if host.state == what:
                host.state = UP
                self.say(f"{name} is back ({what})")

    # -- many at once

    async def a_zone_loses_power(self) -> None:
        zone = self.dice.choice("abc")
        await self.off([host for host in self.world.machines.values() if host.spec.zone == zone], 1800.0)

    async def most_lose_power(self) -> None:
        hosts = list(self.world.machines.values())
        await self.off(self.dice.sample(hosts, int(len(hosts) * self.dice.uniform(0.56, 1.0))), 1800.0)

    async def the_bastion_is_down(self) -> None:
        self.world.down_jumps.add("10.9.9.1")
        self.world.jumps_since = self.world.clock.now()
        self.say("the bastion is down")
        async with self.lasting(60.0, 3600.0):
            self.world.down_jumps.clear()
            self.world.jumps_since = self.world.clock.now()
            self.say("the bastion is up again")

    async def all_clocks_jump(self) -> None:
        by_s = self.dice.choice((-86400.0, 86400.0))
        for host in self.world.machines.values():
            host.wall_off_s += by_s
        self.say(f"the clocks of all hosts jump by {by_s:.0f} s")
        async with self.lasting(300.0, 7200.0):
            for host in self.world.machines.values():
                host.wall_off_s = 0.0
            self.say("the clocks of all hosts are right again")

    async def our_clock_jumps(self) -> None:
        self.world.clock.wall_off_s = self.dice.choice((-86400.0, 86400.0))
        self.say(f"our clock jumps by {self.world.clock.wall_off_s:.0f} s")
        async with self.lasting(300.0, 7200.0):
            self.world.clock.wall_off_s = 0.0
            self.say("our clock is right again")


PER_HOST_DAY: tuple[tuple[Fault, float], ...] = (
    (Faults.dies, 0.08),
    (Faults.hangs, 0.05),
    (Faults.is_cut_off, 0.05),
    (Faults.is_reached_by_peers_alone, 0.05),
    (Faults.is_reached_by_us_alone, 0.03),
    (Faults.loses_its_sshd, 0.05),
    (Faults.lets_nobody_in, 0.03),
    (Faults.flaps, 0.03),
    (Faults.is_slow, 0.04),
    (Faults.fills_its_disk, 0.03),
    (Faults.loses_its_agent, 0.04),
    (Faults.has_a_wrong_clock, 0.02),
    (Faults.has_an_unwell_program, 0.10),
    (Faults.changes_in_mid_sentence, 0.15),
)
PER_DAY: tuple[tuple[Fault, float], ...] = (
    (Faults.a_zone_loses_power, 0.4),
    (Faults.most_lose_power, 0.3),
    (Faults.the_bastion_is_down, 0.5),
    (Faults.all_clocks_jump, 0.3),
    (Faults.our_clock_jumps, 0.3),
)
