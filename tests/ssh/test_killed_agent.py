"""The agent is killed in the middle of a deploy: the run asks the next one, and nothing failed."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from fleetctl.cli.wiring import OpenFleet, drive
from fleetctl.clock import SystemClock
from fleetctl.embedded.fleet import EmbeddedFleet
from fleetctl.engine.events import ActionBegan
from fleetctl.engine.wishing import Build, Change
from fleetctl.errors import ExitCode
from fleetctl.model.job import JobSpec, StopPolicy, UpdatePolicy
from fleetctl.model.plan import AwaitReady, Start, Stop
from fleetctl.state.artifacts import KeptArtifacts
from fleetctl.state.store import Store

SLEEPER = JobSpec(
    name="sleeper",
    hosts="all",
    command=("/bin/sleep", "1000"),
    replicas=4,
    stop=StopPolicy(timeout_s=2.0),
    update=UpdatePolicy(max_unavailable=4, min_healthy_s=1.5, deadline_s=60.0),
)


def kill_agent(root):
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"agent" in words and str(root).encode() in words:
                os.kill(int(process.name), signal.SIGKILL)
                return
    raise AssertionError("no agent runs there")


def programs(root):
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                inside = str((process / "cwd").readlink()).startswith(f"{root}/instances/")
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if inside and words[:2] == [b"/bin/sleep", b"1000"]:
                found.append(process.name)
    return found


@pytest.mark.parametrize("during", [Start, AwaitReady, Stop])
async def test_a_deploy_in_which_the_agent_is_killed_succeeds(tmp_path, during):
    async with EmbeddedFleet(tmp_path / "fleet", count=1, name="test") as hosts:
        root = hosts.hosts[0].root
        store = Store.open(tmp_path / "state", clock=SystemClock())
        fleet = OpenFleet(hosts.inventory, store, KeptArtifacts(tmp_path / "state"), tmp_path / "state")
        killing = []

        def tell(event):
            if isinstance(event, ActionBegan) and isinstance(event.action, during) and not killing:
                delay_s = 0.5 if during is AwaitReady else 0.0
                killing.append(asyncio.get_running_loop().call_later(delay_s, kill_agent, root))

        async def deploy(release):
            change = Change((Build(replace(SLEEPER, env=(("RELEASE", release),)), None),))
            return await drive(fleet, "deploy", change, tell, lambda _: [])

        if during is Stop:
            assert (await deploy("first")).exit_code is ExitCode.AS_WISHED
        result = await deploy("second")
        assert killing
        assert (result.exit_code, result.failures) == (ExitCode.AS_WISHED, ())
        assert len(programs(root)) == 4
        store.close()
