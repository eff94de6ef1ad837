"""The command line for real: `fleetctl` in processes of its own, on embedded hosts."""

import asyncio
import json
import shutil
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetctl.embedded.processes import processes_under
from fleetctl.state.artifacts import KeptArtifacts, digest_of

FLEETCTL = Path(sys.executable).with_name("fleetctl")
PATH = f"/usr/bin:/bin:{Path(sys.executable).parent}"
SERVE = """#!/usr/bin/env python3
import http.server, os, sys
print("here is", os.environ["FLEETCTL_REPLICA"], flush=True)
place = (os.environ["FLEETCTL_ADDRESS"], int(os.environ["FLEETCTL_PORT_HTTP"]))
http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None
http.server.HTTPServer(place, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
NEVER_READY = "#!/bin/sh\necho no database at db.internal\nsleep 1000\n"
PLAYBOOK = f"""\
- hosts: all
  jobs:
    web:
      replicas: 3
      artifact: build
      command: [./serve]
      env: {{PATH: "{PATH}"}}
      ports: [http]
      ready: {{http: /, port: http, interval: 100ms, timeout: 500ms, failures: 2}}
      stop: {{timeout: 2s}}
      update: {{min_healthy: 1500ms, deadline: 60s}}
"""
SOON_GIVEN_UP = PLAYBOOK.replace("deadline: 60s", "deadline: 4s")


@dataclass(frozen=True, slots=True)
class Ended:
    exit: int
    out: str
    err: str


class User:
    """Someone with a project folder, a home and cron's environment."""

    def __init__(self, fleet, folder):
        self.fleet, self.project, self.home = fleet, folder / "project", folder / "user"
        (self.project / "build").mkdir(parents=True)
        self.home.mkdir()
        (self.project / "web.yml").write_text(PLAYBOOK)
        (self.project / "inventory.yml").symlink_to(fleet.inventory_path)
        self.write(SERVE)

    def write(self, program):
        (self.project / "build" / "serve").write_text(program)
        (self.project / "build" / "serve").chmod(0o755)

    async def start(self, *argv, cwd=None):
        env = {"HOME": str(self.home), "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            FLEETCTL, *argv, env=env, cwd=cwd or self.home, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )

    async def run(self, *argv, cwd=None):
        process = await self.start(*argv, cwd=cwd)
        out, err = await process.communicate()
        return Ended(process.returncode, out.decode(), err.decode())

    async def deploy(self):
        return await self.run("deploy", "web.yml", "-i", "inventory.yml", cwd=self.project)

    async def status(self):
        return json.loads((await self.run("status", "--json")).out)


@pytest.fixture
def user_of(fleet_of, tmp_path):
    @asynccontextmanager
    async def use(count):
        async with fleet_of(count) as fleet:
            yield User(fleet, tmp_path)

    return use


async def test_what_only_reads_leaves_nothing_on_any_host(user_of):
    async with user_of(2) as user:
        for argv in (["check", "web.yml"], ["plan", "web.yml"], ["status"], ["hosts"], ["deploy", "web.yml", "-C"]):
            ended = await user.run(*argv, "-i", "inventory.yml", cwd=user.project)
            assert ended.exit == 0, ended
            assert ended.err == ""
        assert user.fleet.orders == 0
        assert not any(host.root.exists() for host in user.fleet.hosts)


async def test_deploy_then_a_host_dies_and_heal_needs_neither_inventory_nor_build(user_of):
    async with user_of(4) as user:
        deployed = await user.deploy()
        assert deployed.exit == 0, deployed
        assert deployed.out.endswith("web: 3 of 3 ready, release 1\ndemo: 9 actions done; as wished\n")
        orders = user.fleet.orders
        assert await user.deploy() == Ended(0, "", ""), "nothing changed"
        assert await user.run("heal") == Ended(0, "", "")
        assert user.fleet.orders == orders

        shutil.rmtree(user.project / "build")
        await user.fleet.host("h2").kill()
        healed = await user.run("heal")
        assert healed.exit == 4, healed
        assert "\nready: web.1@2 on h4\n" in healed.out
        assert healed.out.startswith("found: h2 is lost: refused ")
        assert "\nfound: web.1 was on h2, which is lost\n" in healed.out
        assert "\nneeds a human: h2 is lost; " in healed.out
        assert {row["replica"] for row in (await user.status())["instances"] if row["phase"] == "ready"} == {
            "web.0",
            "web.1",
            "web.2",
        }
        assert await user.run("heal") == Ended(4, "", ""), "cron has heard of it"


async def test_heal_fetches_back_the_copy_that_the_controller_lost(user_of):
    async with user_of(4) as user:
        assert (await user.deploy()).exit == 0
        kept = KeptArtifacts(user.home / ".local" / "state" / "fleetctl")
        (digest,) = kept.forget_unused(())
        shutil.rmtree(user.project / "build")
        await user.fleet.host("h2").kill()

        healed = await user.run("heal")
        assert healed.exit == 4, healed
        assert f"fetched back web {digest[:8]} from h1\n" in healed.out
        assert "\nready: web.1@2 on h4\n" in healed.out
        assert digest_of(kept.path(digest)) == digest


async def test_a_build_that_never_gets_ready_ends_with_1_and_its_last_words(user_of):
    async with user_of(2) as user:
        assert (await user.deploy()).exit == 0
        user.write(NEVER_READY)
        (user.project / "web.yml").write_text(SOON_GIVEN_UP)
        failed = await user.deploy()
        assert failed.exit == 1, failed
        assert "\n  | no database at db.internal\n" in failed.out
        ready = [row for row in (await user.status())["instances"] if row["phase"] == "ready"]
        assert [(row["replica"], row["release"]) for row in ready] == [("web.0", 1), ("web.1", 1), ("web.2", 1)]


async def test_logs_name_the_instance_and_the_host_that_cant_be_asked(user_of):
    async with user_of(3) as user:
        await user.deploy()
        shown = await user.run("logs", "web", "-n", "1")
        assert shown.exit == 0
        assert sorted(line[24:] for line in shown.out.splitlines()) == [
            f"h{n + 1} web.{n}@1 | here is web.{n}" for n in range(3)
        ]
        times = [line[:23] for line in shown.out.splitlines()]
        assert times == sorted(times)

        user.fleet.host("h2").refuse()
        partly = await user.run("logs", "web")
        assert partly.exit == 4
        assert sorted(line[24:34] for line in partly.out.splitlines()) == ["h1 web.0@1", "h3 web.2@1"]
        assert partly.err.startswith("h2 can't be asked: ")


async def test_ctrl_c_in_the_middle_of_a_deploy_and_the_next_goes_on_from_there(user_of):
    async with user_of(3) as user:
        process = await user.start("deploy", "web.yml", "-i", "inventory.yml", cwd=user.project)
        async for line in process.stdout:
            if line.startswith(b"started"):
                process.send_signal(signal.SIGINT)
                break
        _, err = await process.communicate()
        assert (process.returncode, err) == (130, b"interrupted; the next run goes on from there\n")

        again = await user.deploy()
        assert again.exit == 0, again
        jobs = (await user.status())["jobs"]
        assert [(job["ready"], job["good_release"]) for job in jobs] == [(3, 1)]


async def test_stop_ends_every_program_and_heal_leaves_it_so(user_of):
    async with user_of(2) as user:
        await user.deploy()
        programs = {found.pid for found in processes_under(user.fleet.folder) if runs_serve(found.pid)}
        assert len(programs) == 3
        stopped = await user.run("stop", "web")
        assert stopped.exit == 0, stopped
        assert not [found for found in processes_under(user.fleet.folder) if runs_serve(found.pid)]
        assert await user.run("heal") == Ended(0, "", "")
        assert "web: stopped by wish" in (await user.run("status")).out


def runs_serve(pid):
    try:
        return b"/serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
