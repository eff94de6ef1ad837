"""A run that slept acts on nothing it saw before: between look and claim it looks again, in mid-plan it ends."""

from __future__ import annotations

import asyncio

import pytest

from fleetctl.engine.events import PlanMade
from fleetctl.engine.pauses import Pauses
from fleetctl.engine.run import run
from fleetctl.engine.wishing import Build, Change
from fleetctl.errors import ExitCode, YieldError
from tests.unit.engine.modelled import B, ModelFleet, web
from tests.unit.engine.virtual import LoopClock, run_virtually


def sleep(seconds):
    """Of the whole machine: no timer rings meanwhile."""
    asyncio.get_running_loop()._jump.now += seconds


def test_the_longest_pause_is_known_as_soon_as_it_is_over():
    async def story():
        async with Pauses(LoopClock()) as pauses:
            await asyncio.sleep(100)
            worked = pauses.longest_s()
            sleep(40.0)
            return worked, pauses.longest_s()

    assert run_virtually(story()) == (1.0, 40.0)


@pytest.mark.parametrize(("slept_s", "moved"), [(31.0, False), (15.0, True)])
def test_a_host_that_came_back_while_we_slept_keeps_its_work(tmp_path, slept_s, moved):
    async def story():
        fleet = ModelFleet(tmp_path)
        await fleet.deploy(web())
        before, lost = fleet.running(), fleet.machines[fleet.hosts_of()["web.1"]]
        lost.power_off()

        def while_planning(event):
            if isinstance(event, PlanMade) and event.plan.actions:
                fleet.tell = lambda _event: None
                sleep(slept_s)
                lost.power_on()

        fleet.tell = while_planning
        result = await fleet.heal()
        assert result.exit_code in (ExitCode.AS_WISHED, ExitCode.UNREACHED)
        return {name: places[-1] for name, places in fleet.running().items()} != {
            name: places[-1] for name, places in before.items()
        }

    assert run_virtually(story()) is moved


def test_however_soon_the_lease_is_renewed_a_plan_made_before_a_sleep_is_not_gone_on_with(tmp_path):
    async def story():
        fleet = ModelFleet(tmp_path)
        await fleet.deploy(web())
        lock, ordered = fleet.store.lock("test", "a test's run"), []

        def sleeps():
            sleep(31.0)
            lock.renew()
            ordered.extend(fleet.orders)

        fleet.at(fleet.hosts_of()["web.1"], "start", "after", sleeps)
        deploy = run(fleet.means(fleet.store), lock, Change((Build(web(), B),)))
        with pytest.raises(YieldError, match="this machine slept while plan"):
            await deploy
        lock.release()
        assert fleet.orders == ordered
        assert (await fleet.deploy(web(), artifact=B)).exit_code is ExitCode.AS_WISHED
        assert sorted(fleet.running()) == [f"web.{index}" for index in range(4)]

    run_virtually(story())


def test_a_long_fetch_before_a_plan_is_no_sleep_of_the_plan(tmp_path):
    """The clock of pauses begins with the plan's own orders."""

    async def story():
        clock = LoopClock()
        pauses = Pauses(clock)
        await asyncio.sleep(100)
        async with pauses:
            return pauses.longest_s()

    assert run_virtually(story()) == 0.0
