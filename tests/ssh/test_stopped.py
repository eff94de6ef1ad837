"""A run that is stopped (SIGSTOP) right before an order, outlives its lease, and goes on once another run has been
there: no order of it is carried out. On embedded hosts, with real processes.
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetctl.embedded.fleet import EmbeddedFleet
from tests.ssh.test_killed_anywhere import REPLICAS, Walk

WHERE = ("before the lease is looked at", "between that look and the message")


class Stage(Walk):
    """Commands in processes of their own; one of them may stop itself."""

    def environ(self):
        inherited = {name: value for name, value in os.environ.items() if name != "FLEETCTL_INVENTORY"}
        return {**inherited, "FLEETCTL_STATE": str(self.folder / "state")}

    def argv(self, command, *options):
        playbook = [str(self.folder / "playbook.yml")] if command == "deploy" else []
        return [command, *playbook, "-i", str(self.fleet.inventory_path), *options]

    async def begin(self, command, *options, **stop):
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.ssh.stopped",
            json.dumps({"argv": self.argv(command, *options), **stop}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.environ(),
            cwd=Path(__file__).parents[2],
        )

    async def run(self, command, *options):
        return await self.end(await self.begin(command, *options))

    async def end(self, process):
        """Its exit status and what it said."""
        async with asyncio.timeout(240):
            said, _ = await process.communicate()
        return process.returncode, said.decode()

    async def stopped(self, process):
        """Until it has stopped itself."""
        async with asyncio.timeout(60):
            while True:
                state = (Path("/proc") / str(process.pid) / "stat").read_text().rpartition(")")[2].split()[0]
                if state == "T":
                    return
                assert state != "Z", await self.end(process)
                await asyncio.sleep(0.02)  # the kernel tells only its parent's waitpid, which the loop has

    async def lease_is_over(self):
        with sqlite3.connect(self.folder / "state" / "store.sqlite") as database:
            (ends,) = database.execute("SELECT ends_boottime FROM locks").fetchone()
        database.close()
        await asyncio.sleep(max(0.0, ends - time.clock_gettime(time.CLOCK_BOOTTIME)) + 0.05)

    def guards(self):
        return {host.name: json.loads((Path(host.root) / "guard.json").read_text()) for host in self.fleet.hosts}

    def held(self):
        """What orders bring to hosts: specs and artifacts."""
        folder = self.folder / "fleet"
        return sorted(map(str, (*folder.glob("**/instances/*/spec.json"), *folder.glob("**/artifacts/*"))))


@asynccontextmanager
async def stage(folder):
    async with EmbeddedFleet(folder / "fleet", count=3, name="walk") as fleet:
        set_up = Stage(fleet, folder, None)
        set_up.change("first")
        code, said = await set_up.run("deploy")
        assert code == 0, said
        yield set_up


async def outlived(folder, verb, number, where, second):
    """Run A stops before that order; run B does its work; A goes on. How they ended, and what A's end changed."""
    async with stage(folder) as scene:
        scene.change("second")
        first = await scene.begin("deploy", verb=verb, number=number, where=where)
        try:
            await scene.stopped(first)
            await scene.lease_is_over()
            done = await scene.run(second)
            before = (scene.programs(), scene.guards(), scene.held())
            orders = scene.messages_seen_by_hosts()
            first.send_signal(signal.SIGCONT)
            code, said = await scene.end(first)
        finally:
            if first.returncode is None:
                first.kill()
        assert code == 5, said
        assert (scene.programs(), scene.guards(), scene.held()) == before
        sent = scene.messages_seen_by_hosts() - orders
        assert sent == 0 if where == WHERE[0] else sent <= REPLICAS, "what was past its look at the lease, and no more"
        last, told = await scene.run("deploy")
        assert last == 0, told
        await scene.assert_four_answer_and_exactly_four_run(where)
        return done


@pytest.mark.parametrize(("verb", "where"), [("start", WHERE[1]), ("stop", WHERE[0])])
def test_no_order_is_carried_out_once_another_run_has_done_the_work(tmp_path, verb, where):
    code, said = asyncio.run(outlived(tmp_path, verb, 2, where, "deploy"))
    assert code == 0, said


@pytest.mark.parametrize("where", WHERE)
def test_no_order_is_carried_out_though_the_other_run_had_nothing_to_do(tmp_path, where):
    """Nothing of the new release runs yet, and a heal brings none: it claims the hosts all the same."""
    code, said = asyncio.run(outlived(tmp_path, "adopt", 1, where, "heal"))
    assert code == 3, said
    assert "stalled rollout" in said or "deploy again" in said
