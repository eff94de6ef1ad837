"""`fleetctl heal --watch` for real: a process of its own, over embedded hosts."""

import asyncio
import signal
from contextlib import asynccontextmanager, closing

import pytest

from fleetctl.clock import SystemClock
from fleetctl.state.store import Store
from tests.ssh.test_cli import Ended, User, user_of  # noqa: F401 (a fixture)

SOON_S = 60.0  # far more than it takes, on two busy cores


class Watch:
    """One watch, and what it said so far."""

    def __init__(self, process):
        self.process, self.lines = process, []
        self.more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))
            self.more.set()

    async def said(self, beginning):
        """The first line that begins so, once it is there."""
        async with asyncio.timeout(SOON_S):
            while True:
                self.more.clear()
                if found := [line for line in self.lines if line.startswith(beginning)]:
                    return found[0]
                await self.more.wait()

    async def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        error = await self.process.stderr.read()
        await self._reading
        return Ended(await self.process.wait(), "\n".join(self.lines), error.decode())


@asynccontextmanager
async def watching(user, *argv):
    watch = Watch(await user.start("heal", "--watch", "--interval", "1s", *argv))
    try:
        yield watch
    finally:
        if watch.process.returncode is None:
            watch.process.kill()
            await watch.process.wait()


async def until(holds):
    async with asyncio.timeout(SOON_S):
        while not holds():
            await asyncio.sleep(0.05)


def replace(path, text):
    """At once: whoever reads it has the old text or the new."""
    (path.parent / "new").write_text(text)
    (path.parent / "new").rename(path)


async def rounds(user, more):
    """Waits until so many more rounds have ended."""
    first = newest(user).run
    await until(lambda: newest(user).run > first + more)


def newest(user):
    """The newest run, as the store knows it."""
    with closing(Store.open(user.home / ".local" / "state" / "fleetctl", clock=SystemClock())) as store:
        return store.runs("demo", 1)[0]


async def test_a_host_that_dies_while_watched_is_replaced_and_told_when_it_is_back(user_of):  # noqa: F811
    async with user_of(4) as user:
        assert (await user.deploy()).exit == 0
        async with watching(user) as watch:
            await rounds(user, 2)
            assert watch.lines == []
            await user.fleet.host("h2").kill()
            before = newest(user).run
            assert "refused" in await watch.said("found: h2 is lost")
            assert newest(user).run <= before + 1, "by the round that was under way, or the next"
            await watch.said("ready: web.1@2 on h4")
            await watch.said("demo: 3 actions done; as wished, but some hosts could not be reached")
            told = list(watch.lines)
            await rounds(user, 1)
            assert watch.lines == told, "it is told once"
            ended = await watch.end()
        assert (ended.exit, ended.err) == (130, "interrupted; the next run goes on from there\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_the_middle_of_a_round_and_the_lock_is_free(user_of, number):  # noqa: F811
    async with user_of(3) as user:
        assert (await user.deploy()).exit == 0
        user.fleet.host("h2").hang()
        async with watching(user) as watch:
            await until(lambda: newest(user).ended_wall is None and newest(user).command == "heal --watch")
            ended = await watch.end(number)
        assert (ended.exit, ended.out) == (130, "")
        assert ended.err == "interrupted; the next run goes on from there\n"
        assert (newest(user).command, newest(user).exit_code) == ("heal --watch", 130)


async def test_another_command_takes_the_lock_between_two_rounds(user_of):  # noqa: F811
    async with user_of(2) as user:
        assert (await user.deploy()).exit == 0
        async with watching(user) as watch:
            await rounds(user, 1)
            async with asyncio.timeout(SOON_S):
                while (stopped := await user.run("stop", "web")).exit == 5:
                    pass  # it came in the middle of a round
            assert stopped.exit == 0, stopped
            await rounds(user, 2)
            assert (await watch.end()).out == "", "it leaves alone what was stopped"


async def test_an_inventory_that_breaks_while_watched_is_told_and_waited_for(user_of):  # noqa: F811
    async with user_of(2) as user:
        assert (await user.deploy()).exit == 0
        inventory = user.fleet.inventory_path
        text = inventory.read_text()
        async with watching(user, "-i", str(inventory)) as watch:
            await rounds(user, 1)
            replace(inventory, "all: [")
            async with asyncio.timeout(SOON_S):
                error = await watch.process.stderr.readline()
            assert b"not valid YAML" in error
            replace(inventory, text)
            assert "not valid YAML" in await watch.said("no longer: error: ")
            assert (await watch.end()).exit == 130
