"""A human is told, for real: `fleetctl` in processes of its own, embedded hosts, commands that behave as they like."""

import json
import os
import signal
import time

import yaml

from tests.ssh.test_cli import User

WAITS_S = 45.0  # less than the minute that a run would wait if it did

KEEPS = "#!/bin/sh\nmkdir -p told\ncat > told/part.$$\nmv told/part.$$ told/$$.json\n"
HANGS = "#!/bin/sh\necho $$ > part\nmv part hanging\nexec sleep 300\n"
FAILS = "#!/bin/sh\necho no such channel >&2\nexit 3\n"


class OnCall(User):
    """A user whose inventory names a command."""

    def has(self, command):
        inventory = self.project / "inventory.yml"
        found = yaml.safe_load(inventory.read_text())
        found["all"].setdefault("vars", {})["notify"] = "./page --to 'who is on call'"
        inventory.unlink()
        inventory.write_text(yaml.safe_dump(found))
        (self.project / "page").write_text(command)
        (self.project / "page").chmod(0o755)

    def messages(self, count):
        """So many messages, in the order in which they came."""
        told, until = self.project / "told", time.monotonic() + WAITS_S
        while len(files := list(told.glob("*.json"))) < count:
            assert time.monotonic() < until, f"told {len(files)} of {count}"
            time.sleep(0.02)
        return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]


async def test_a_lost_hosts_message_and_its_end_arrive_once(fleet_of, tmp_path):
    async with fleet_of(4) as fleet:
        user = OnCall(fleet, tmp_path)
        user.has(KEEPS)
        assert (await user.deploy()).exit == 0
        host = fleet.hosts[0]
        await host.kill()
        assert (await user.run("heal")).exit == 4
        (begin,) = user.messages(1)
        assert (begin["event"], begin["subject"], begin["fleet"]) == ("begin", host.name, fleet.inventory.fleet)
        assert begin["to_do"], "what runs there is moved"
        await user.run("heal")
        await user.run("heal", "--check")
        await user.run("status")
        await host.start()
        assert (await user.run("heal")).exit == 0
        begin, end = user.messages(2)
        assert (end["event"], end["subject"]) == ("end", host.name)
        await user.run("heal")
        assert len(user.messages(2)) == 2


async def test_a_command_that_hangs_delays_no_run(fleet_of, tmp_path):
    async with fleet_of(3) as fleet:
        user = OnCall(fleet, tmp_path)
        user.has(HANGS)
        assert (await user.deploy()).exit == 0
        await fleet.hosts[0].swap_host_key()
        began = time.monotonic()
        assert (await user.run("heal")).exit == 3
        assert time.monotonic() - began < WAITS_S
        until = time.monotonic() + WAITS_S
        while not (user.project / "hanging").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        os.kill(int((user.project / "hanging").read_text()), signal.SIGKILL)  # not after its minute


async def test_a_command_that_fails_is_told_by_status_and_the_next_heal(fleet_of, tmp_path):
    async with fleet_of(3) as fleet:
        user = OnCall(fleet, tmp_path)
        user.has(FAILS)
        assert (await user.deploy()).exit == 0
        await fleet.hosts[0].swap_host_key()
        assert (await user.run("heal")).exit == 3
        until = time.monotonic() + WAITS_S
        while not (untold := (await user.status())["untold"]):
            assert time.monotonic() < until
        assert untold.endswith(": exit 3: no such channel")
        assert untold in (await user.run("heal")).out
