"""kill -9 of fleetctl before and after every action of a deploy that changes a job, on embedded hosts.

An action is a message that changes a host, or a store transaction. After each kill a heal or a deploy goes on.
"""

import asyncio
import itertools
import json
import os
import sys
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleetctl.embedded.fleet import EmbeddedFleet

REPLICAS = 4
SERVER = """#!/usr/bin/python3 -ISE
# {version}
import os, socket
listener = socket.create_server((os.environ["FLEETCTL_ADDRESS"], int(os.environ["FLEETCTL_PORT_HTTP"])))
body = "{{FLEETCTL_REPLICA}}@{{FLEETCTL_EPOCH}}".format(**os.environ)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(("HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body)).encode())
"""
PLAYBOOK = """
- name: walked
  hosts: all
  jobs:
    web:
      replicas: 4
      artifact: build
      command: [./serve]
      ports: [http]
      ready: {http: /, port: http, interval: 100ms, timeout: 200ms, failures: 1}
      stop: {timeout: 2s}
      update: {max_unavailable: 2, min_healthy: 400ms, deadline: 60s}
"""


class Walk:
    """A fleet, a playbook that can change, and fleetctl commands that may be killed at any action."""

    def __init__(self, fleet, folder, server):
        self.fleet, self.folder, self._server = fleet, folder, server
        self.tally = folder / "tally"
        (folder / "playbook.yml").write_text(PLAYBOOK)

    def change(self, version):
        program = self.folder / "build" / "serve"
        program.parent.mkdir(exist_ok=True)
        program.write_text(SERVER.format(version=version))
        program.chmod(0o755)

    async def deploy(self, kill_at=0, moment=""):
        argv = ["deploy", str(self.folder / "playbook.yml"), "-i", str(self.fleet.inventory_path)]
        return await self._run(argv, kill_at, moment)

    async def heal(self):
        return await self._run(["heal", "-i", str(self.fleet.inventory_path)])

    async def _run(self, argv, kill_at=0, moment=""):
        self.tally.write_text("")
        request = {
            "argv": argv,
            "kill_at": kill_at,
            "moment": moment,
            "tally": str(self.tally),
            "output": str(self.folder / "output"),
        }
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(240):
            return int(await self._server.stdout.readline())

    def output(self):
        return (self.folder / "output").read_text()

    def actions(self):
        return self.tally.read_text().splitlines()

    def messages_seen_by_hosts(self):
        return sum(host.orders for host in self.fleet.hosts)

    def programs(self):
        """Replica -> (address, port), of every process started from an artifact under our roots: read in /proc."""
        found = []
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            try:
                folder = str((process / "cwd").readlink())
                words = (process / "cmdline").read_bytes().split(b"\0")
                environ = dict(
                    pair.split(b"=", 1) for pair in (process / "environ").read_bytes().split(b"\0") if b"=" in pair
                )
            except OSError:
                continue  # ended meanwhile
            in_instance = folder.startswith(str(self.fleet.folder)) and "/instances/" in folder
            is_whole = b"FLEETCTL_REPLICA" in environ  # what is just ending has none any more
            if in_instance and is_whole and any(word.endswith(b"/serve") for word in words):
                found.append(
                    (
                        environ[b"FLEETCTL_REPLICA"].decode(),
                        environ[b"FLEETCTL_EPOCH"].decode(),
                        environ[b"FLEETCTL_ADDRESS"].decode(),
                        int(environ[b"FLEETCTL_PORT_HTTP"]),
                    )
                )
        return sorted(found)

    async def assert_four_answer_and_exactly_four_run(self, where):
        programs = self.programs()
        assert [program[0] for program in programs] == [f"web.{n}" for n in range(REPLICAS)], where + self.output()
        for replica, epoch, address, port in programs:
            answer = await asyncio.to_thread(_get, f"http://{address}:{port}/")
            assert answer == f"{replica}@{epoch}", where


def _get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


@asynccontextmanager
async def walking(folder):
    environ = {**os.environ, "FLEETCTL_STATE": str(folder / "state")}
    environ.pop("FLEETCTL_INVENTORY", None)
    async with EmbeddedFleet(folder / "fleet", count=3, name="walk") as fleet:
        server = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.ssh.counted",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environ,
            cwd=Path(__file__).parents[2],
        )
        try:
            yield Walk(fleet, folder, server)
        finally:
            server.stdin.close()
            await server.wait()


async def walk_all(folder, moments_at):
    """Kills at every action until one is past the last; how many there were."""
    async with walking(folder) as walk:
        walk.change("first")
        assert await walk.deploy() == 0, walk.output()
        before = walk.messages_seen_by_hosts()
        walk.change("counted")
        assert await walk.deploy() == 0, walk.output()
        messages = [action for action in walk.actions() if action.startswith("message")]
        assert len(messages) == walk.messages_seen_by_hosts() - before
        for number in itertools.count(1):
            for moment in moments_at(number):
                walk.change(f"{number} {moment}")
                ended = await walk.deploy(kill_at=number, moment=moment)
                if ended == 0:
                    print(f"walked {number - 1} actions, {len(messages)} of them messages")
                    return number - 1
                where = f"killed {moment} action {number}, {walk.actions()[-1]}: "
                assert ended == -9, where + walk.output()
                by_heal = number // 2 % 2 == 0
                resumed = await (walk.heal() if by_heal else walk.deploy())
                assert resumed in ((0, 3) if by_heal else (0,)), where + walk.output()
                await walk.assert_four_answer_and_exactly_four_run(where)
                assert await walk.deploy() == 0, where + walk.output()
    raise AssertionError("counting ends by returning")


def test_four_answer_after_a_kill_at_every_action(tmp_path):
    actions = asyncio.run(walk_all(tmp_path, lambda number: ("before",) if number % 2 else ("after",)))
    assert actions > 20, "a rolling change of four replicas has more actions than that"


@pytest.mark.soak
def test_four_answer_after_a_kill_before_and_after_every_action(tmp_path):
    assert asyncio.run(walk_all(tmp_path, lambda _: ("before", "after"))) > 20
