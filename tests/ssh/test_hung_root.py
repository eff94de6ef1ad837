"""The file system of one host's root hangs: fleetctl shows what runs there, says what hangs, and serves the others."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.host import fuse
from tests.ssh.test_changing import where
from tests.ssh.test_cli import user_of  # noqa: F401 (a fixture)


@asynccontextmanager
async def root_that_can_hang(fleet, host):
    try:
        mount = fuse.Mount(fleet.host(host).root)
    except OSError as error:
        pytest.skip(str(error))
    try:
        yield mount
    finally:
        mount.answer_again()
        await fleet.close()
        mount.end()


async def test_a_host_whose_root_hangs_is_shown_from_memory_and_the_others_are_driven(user_of):  # noqa: F811
    async with user_of(3) as user, root_that_can_hang(user.fleet, "h2") as mount:
        assert (await user.deploy()).exit == 0
        before = await where(user)
        mount.hang()
        why = f"the file system of {user.fleet.host('h2').root} does not answer"
        status = await user.status()
        assert status["exit_code"] == 3
        assert f"agent: {why}" in next(host["because"] for host in status["hosts"] if host["host"] == "h2")
        there = {row["replica"]: row["host"] for row in status["instances"] if row["phase"] == "ready"}
        assert there == before, "as its agent remembers"
        scaled = await user.run("scale", "web=5")
        assert scaled.exit == 3, scaled
        assert f"needs a human: h2 is suspect: agent: {why}" in scaled.out
        now = await where(user)
        assert {now.pop("web.3"), now.pop("web.4")} == {"h1", "h3"}
        assert now == before
        mount.answer_again()
        assert (await user.run("heal")).exit == 0
        assert set((await where(user)).values()) == {"h1", "h2", "h3"}


async def test_orders_to_others_end_before_that_to_a_host_whose_root_hangs_on_the_way(user_of):  # noqa: F811
    async with user_of(3) as user, root_that_can_hang(user.fleet, "h2") as mount:
        assert (await user.deploy()).exit == 0
        asked = {"argv": ["scale", "web=6"], "host": "h2", "verb": "start", "daemon": mount.daemon.pid}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.ssh.hung", json.dumps(asked),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(user.home), "PATH": "/usr/bin:/bin"}, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        said = (await process.communicate())[0].decode()
        lines = said.splitlines()
        failed = next(place for place, line in enumerate(lines) if "on h2" in line and "has not answered for" in line)
        started = [place for place, line in enumerate(lines) if line.startswith("started ") and " on h2 " not in line]
        assert len(started) >= 2
        assert max(started[:2]) < failed, said
        assert process.returncode == 1, said
