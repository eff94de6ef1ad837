"""`heal --watch` in virtual time: when rounds begin, what ends it, and a host that is lost between two of them."""

import asyncio
import gc
import weakref

import pytest

from fleetctl.engine.watch import BACK_OFF_MAX_S, watch
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, LiveRunError, StaleOrderError, StateError, UsageError
from fleetctl.model.snapshot import Phase
from fleetctl.model.verdict import Health
from tests.unit.engine.modelled import CUT, KILLED, PAUSED, UP, ModelFleet, web
from tests.unit.engine.virtual import LoopClock, run_virtually

GOOD, FAILED = ExitCode.AS_WISHED, ExitCode.FAILED
MIDDLE = 0.5  # of the jitter: none


class Watched:
    """A watch whose rounds end as told, each after a second; it is interrupted where the story has no more."""

    def __init__(self, *rounds, interval_s=10.0, random=lambda: MIDDLE):
        self.rounds, self.interval_s, self.random = list(rounds), interval_s, random
        self.at, self.told = [], []

    def play(self):
        with pytest.raises(asyncio.CancelledError):
            run_virtually(self.watch())
        return [round(later - earlier - 1.0, 6) for earlier, later in zip(self.at, self.at[1:], strict=False)]

    async def watch(self):
        await watch(
            self._one_round,
            interval_s=self.interval_s,
            clock=LoopClock(),
            random=self.random,
            tell_error=self.told.append,
        )

    async def _one_round(self):
        self.at.append(asyncio.get_running_loop().time())
        if not self.rounds:
            raise asyncio.CancelledError
        await asyncio.sleep(1.0)
        ended = self.rounds.pop(0)
        if isinstance(ended, Exception):
            raise ended
        return ended


def test_a_round_begins_an_interval_after_the_end_of_the_one_before():
    assert Watched(GOOD, ExitCode.DEGRADED, ExitCode.UNREACHED).play() == [10.0, 10.0, 10.0]


def test_the_interval_is_jittered_by_a_tenth_up_or_down():
    numbers = [0.0, 1.0, 0.25]
    assert Watched(GOOD, GOOD, GOOD, random=lambda: numbers.pop(0)).play() == [9.0, 11.0, 9.5]


def test_after_errors_it_backs_off_and_after_a_good_round_it_is_back_at_the_interval():
    broken = StateError("the disk is full")
    watched = Watched(FAILED, broken, ValueError("a defect"), GOOD, FAILED, GOOD)
    assert watched.play() == [20.0, 40.0, 80.0, 10.0, 20.0, 10.0]
    assert [str(error) for error in watched.told] == ["the disk is full", "a defect"]


@pytest.mark.parametrize(("interval_s", "longest_s"), [(1.0, 30.0), (10.0, BACK_OFF_MAX_S), (600.0, 600.0)])
def test_the_back_off_ends_at_five_minutes_or_thirty_intervals(interval_s, longest_s):
    assert Watched(*[FAILED] * 12, interval_s=interval_s).play()[-1] == longest_s


def test_a_live_run_is_waited_out_at_the_interval_without_a_word():
    watched = Watched(LiveRunError("held"), LiveRunError("held"), GOOD)
    assert watched.play() == [10.0, 10.0, 10.0]
    assert watched.told == []


def test_who_drives_instead_of_us_is_told_and_waited_out():
    stale = StaleOrderError("h1", 48, "bob@lap:77")
    watched = Watched(GOOD, stale, GOOD)
    assert watched.play() == [10.0, 10.0, 10.0]
    assert watched.told == [stale]


def test_what_is_wrong_in_the_first_round_ends_it_and_later_it_may_be_mended():
    with pytest.raises(UsageError, match="unknown key"):
        run_virtually(Watched(UsageError("unknown key")).watch())
    watched = Watched(GOOD, UsageError("unknown key"), UsageError("unknown key"), GOOD)
    assert watched.play() == [10.0, 20.0, 40.0, 10.0]
    assert len(watched.told) == 2


# on the modelled fleet


@pytest.fixture
def fleet(tmp_path):
    return ModelFleet(tmp_path)


async def watching(fleet, interval_s=1.0):
    async def one_round():
        return (await fleet.run(Change())).exit_code

    def refuse(error):
        raise AssertionError from error

    await watch(one_round, interval_s=interval_s, clock=LoopClock(), random=lambda: 1.0, tell_error=refuse)


async def ended(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def ready(fleet):
    """The replicas that are ready where somebody could use them."""
    hosts = [machine for machine in fleet.machines.values() if machine.state == UP]
    return sorted({str(name.replica) for host in hosts for name in host.runs() if host.row(name).phase is Phase.READY})


@pytest.mark.parametrize("fault", [KILLED, CUT, PAUSED])
def test_a_host_lost_between_two_rounds_is_replaced_within_the_interval_and_three_tries(fleet, fault):
    async def story():
        await fleet.deploy(web())
        task = asyncio.create_task(watching(fleet))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(10.0)
        fleet.machines["h1"].state = fault
        begun = loop.time()
        assert len(ready(fleet)) == 3
        while len(ready(fleet)) < 4:
            await asyncio.sleep(0.05)
            assert loop.time() - begun < 15.0
        await ended(task)
        return loop.time() - begun

    # 1.1 s of interval, tries at 0, 2 and 4 s that take 2 or 3 s, then start and readiness
    assert run_virtually(story()) < 1.1 + 4.0 + 3.0 + 1.0


def test_the_lock_is_free_between_two_rounds(fleet):
    async def story():
        await fleet.deploy(web())
        task = asyncio.create_task(watching(fleet, interval_s=5.0))
        await asyncio.sleep(7.0)
        assert (await fleet.stop("web")).exit_code is GOOD
        assert ready(fleet) == []
        await asyncio.sleep(20.0)
        await ended(task)
        assert ready(fleet) == [], "the watch saw the new wish"
        fleet.store.lock("test", "after it").release()

    run_virtually(story())


def test_a_watch_that_is_interrupted_in_the_middle_of_a_round_is_over_at_once(fleet):
    async def story():
        await fleet.deploy(web())
        fleet.machines["h1"].state = CUT
        task = asyncio.create_task(watching(fleet))
        await asyncio.sleep(3.0)
        task.cancel()
        begun = asyncio.get_running_loop().time()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - begun < 0.1

    run_virtually(story())


def test_memory_does_not_grow_over_rounds(fleet):
    async def story():
        await fleet.deploy(web())
        fleet.machines["h1"].state = PAUSED
        counts = []

        async def one_round():
            result = await fleet.run(Change())
            assert result.verdicts["h1"].health is not Health.HEALTHY
            for record in (fleet.told, fleet.dialled, fleet.orders):
                record.clear()
            if len(counts) == 60:
                raise asyncio.CancelledError
            gc.collect()
            counts.append(sum(type(each) is not weakref.ref for each in gc.get_objects()))  # those come and go
            return result.exit_code

        with pytest.raises(asyncio.CancelledError):
            await watch(one_round, interval_s=1.0, clock=LoopClock(), random=lambda: MIDDLE, tell_error=print)
        assert counts[-1] - counts[20] < 40, "less than an object a round"

    run_virtually(story())
