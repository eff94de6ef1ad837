"""A fleet of embedded hosts is taken over by a controller without a store, and taken back: real messages and files."""

import asyncio
from contextlib import asynccontextmanager

from fleetctl.embedded.fleet import EmbeddedFleet
from tests.ssh.test_killed_anywhere import REPLICAS
from tests.ssh.test_stopped import Stage


class Controllers(Stage):
    """Several state folders, by name."""

    state = "first"

    def environ(self):
        return {**super().environ(), "FLEETCTL_STATE": str(self.folder / self.state)}

    async def says(self, state, command, *options):
        self.state = state
        return await self.run(command, *options)


@asynccontextmanager
async def controllers(folder):
    async with EmbeddedFleet(folder / "fleet", count=3, name="walk") as fleet:
        yield Controllers(fleet, folder, None)


async def story(folder):
    async with controllers(folder) as scene:
        scene.change("first")
        code, said = await scene.says("first", "deploy")
        assert code == 0, said
        programs = scene.programs()
        for command in ("heal", "status"):
            code, said = await scene.says("second", command)
            assert code == 5, said
            assert "fleet walk was driven last by " in said
            assert f"set FLEETCTL_STATE={folder}/first; if that store is lost: fleetctl heal --take-over" in said
        code, said = await scene.says("second", "heal", "--take-over")
        assert (code, scene.programs()) == (0, programs), said
        assert "took over from " in said
        assert "1 job, as h1 keeps them" in said

        await scene.fleet.hosts[0].kill()
        code, said = await scene.says("second", "heal")
        assert code == 4, said
        assert len({replica for replica, *_ in scene.programs()}) == REPLICAS
        programs = scene.programs()

        code, said = await scene.says("first", "deploy")
        assert code == 5, said
        assert "this store knows" in said
        code, said = await scene.says("first", "heal", "--take-over")
        assert code == 4, said
        code, said = await scene.says("second", "heal")
        assert (code, scene.programs()) == (5, programs), said


def test_a_controller_without_a_store_takes_over_and_the_former_one_takes_over_in_turn(tmp_path):
    asyncio.run(story(tmp_path))
