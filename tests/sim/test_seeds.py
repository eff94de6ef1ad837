"""The real engine on a modelled fleet under seeded faults: hosts die, are cut off and come back, messages and answers
are lost, fleetctl is killed; at the end all is as wished, and nothing that lived was ever started a second time."""

import asyncio
import random

import pytest

from fleetctl.errors import ExitCode, FleetctlError
from fleetctl.model.job import PortRequest
from fleetctl.model.resources import MilliCpu, Resources
from tests.unit.engine.modelled import (
    CUT,
    KILLED,
    LOCKED,
    ONLY_PEERS,
    PAUSED,
    REFUSED,
    UP,
    A,
    B,
    C,
    KilledError,
    ModelFleet,
    web,
)
from tests.unit.engine.virtual import run_virtually

STEPS = 12
DEAD = (KILLED, CUT, PAUSED)  # what a witness can't tell from dead
VERBS = ("observe", "claim", "adopt", "start", "wait", "stop", "probe", "neighbours")


class Story:
    """One seed's fleet and what is wished of it."""

    def __init__(self, folder, seed):
        self.dice = random.Random(seed)
        self.fleet = ModelFleet(folder, count=self.dice.choice((1, 2, 3, 5, 8)))
        self.spec, self.artifact, self.stopped = web(), A, False
        self.log = []

    async def tell(self):
        for _ in range(STEPS):
            self.dice.choice((self.change, self.heal, self.heal, self.harm, self.harm, self.mend, self.fault))()
            await self.nothing_that_lives_is_started_elsewhere()
            assert "its own rules" not in str(self.log[-1]), "the planner's plan was refused by the checker"
            await asyncio.sleep(self.dice.choice((1, 20, 90)))
        await self.all_is_well_in_the_end()

    # -- what happens

    def change(self):
        self.spec = web(
            replicas=self.dice.choice((1, 2, 4, 6)),
            max_unavailable=self.dice.choice((0, 1, 2, "50%", "10%")),
            ports=(PortRequest("http", self.dice.choice((None, None, 8080))),),
            resources=Resources(MilliCpu(self.dice.choice((0, 0, 1000, 3000)))),
        )
        self.artifact = self.dice.choice((A, B, C))
        self.fleet.never_ready = set(self.dice.sample((A, B, C), self.dice.choice((0, 0, 1))))
        self.command = self.dice.choice((self.deploy, self.deploy, self.deploy, self.stop))

    def heal(self):
        self.command = self.run_heal

    def harm(self):
        machine = self.dice.choice(list(self.fleet.machines.values()))
        if machine.state == UP:
            machine.state = self.dice.choice((*DEAD, REFUSED, ONLY_PEERS, LOCKED))
            self.log.append((machine.spec.name, machine.state))
        self.command = self.dice.choice((self.run_heal, self.deploy))

    def mend(self):
        for machine in self.fleet.machines.values():
            if self.dice.random() < 0.5:
                machine.power_on()
        self.log.append("mended")
        self.command = self.run_heal

    def fault(self):
        host, verb = self.dice.choice(list(self.fleet.machines)), self.dice.choice(VERBS)
        moment = self.dice.choice(("before", "after"))
        planted = self.dice.choice((self.fleet.lose, self.fleet.kill_us, self.cut_there, self.restart_there))
        planted(host, verb, moment)
        self.log.append((planted.__name__, host, verb, moment))
        self.command = self.dice.choice((self.run_heal, self.deploy))

    def cut_there(self, host, verb, moment):
        state = self.dice.choice(DEAD)
        self.fleet.at(host, verb, moment, lambda: setattr(self.fleet.machines[host], "state", state))

    def restart_there(self, host, verb, moment):
        """Its agent is killed, or the whole machine goes down and comes back."""
        machine = self.fleet.machines[host]

        def reboot():
            machine.power_off()
            machine.power_on()

        self.fleet.at(host, verb, moment, self.dice.choice((machine.kill_agent, reboot)))

    # -- commands

    async def deploy(self):
        self.stopped = False
        await self.run("deploy", self.fleet.deploy(self.spec, artifact=self.artifact))

    async def run_heal(self):
        await self.run("heal", self.fleet.heal())

    async def stop(self):
        await self.run("stop", self.fleet.stop("web"))

    async def run(self, name, command):
        try:
            result = await command
        except FleetctlError as error:
            self.log.append((name, error.message))
        except KilledError:
            await self.killed(name)
        except BaseExceptionGroup as group:
            _, rest = group.split(KilledError)
            if rest is not None:
                raise
            await self.killed(name)
        else:
            self.log.append((name, result.exit_code.name))

    async def killed(self, name):
        self.log.append((name, "killed"))
        await asyncio.sleep(31)  # the lease of a holder that can't be asked is over

    # -- what must hold

    def kept_by_suspects(self):
        """Replicas that run on hosts alone which anybody can tell from dead ones, though we can't ask them."""
        return {
            replica
            for replica, places in self.fleet.running().items()
            if all(self.fleet.machines[place.rsplit("@", 1)[1]].state in (ONLY_PEERS, LOCKED) for place in places)
        }

    async def nothing_that_lives_is_started_elsewhere(self):
        kept, count = self.kept_by_suspects(), len(self.fleet.orders)
        await self.command()
        started = {what.split("@")[0] for _, verb, what in self.fleet.orders_since(count) if verb == "start"}
        assert not kept & started

    async def all_is_well_in_the_end(self):
        self.fleet.faults.clear()
        self.fleet.never_ready = set()
        self.spec = web(replicas=self.dice.choice((1, 2, 4)))
        for machine in self.fleet.machines.values():
            machine.power_on()
        await asyncio.sleep(660)  # what came and went is held suspect for ten minutes
        await self.run_heal()
        await self.deploy()
        assert self.log[-1] == ("deploy", ExitCode.AS_WISHED.name)
        running = self.fleet.running()
        assert sorted(running) == [f"web.{index}" for index in range(self.spec.replicas)], running
        assert all(len(places) == 1 for places in running.values()), running
        count = len(self.fleet.orders)
        assert (await self.fleet.heal()).exit_code is ExitCode.AS_WISHED
        assert self.fleet.orders_since(count) == []


def tell(folder, seed):
    story = Story(folder / str(seed), seed)
    try:
        run_virtually(story.tell())
    except BaseException as error:
        error.add_note(f"seed {seed}: " + "; ".join(map(str, story.log)))
        raise


@pytest.mark.parametrize("seed", range(20))
def test_all_is_well_in_the_end(tmp_path, seed):
    tell(tmp_path, seed)


@pytest.mark.soak
def test_all_is_well_in_the_end_a_thousand_times(tmp_path):
    for seed in range(20, 1020):
        tell(tmp_path, seed)
