"""`fleetctl demo`: a fleet on loopback, a job on it, one host lost, and its work running elsewhere; told as it happens.

It uses the functions behind `deploy`, `status` and `heal`, on real SSH and real processes.
"""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from fleetctl.cli.demo_folder import demo_folder, remove_dead_demos
from fleetctl.cli.screen import DIM, STRONG, Line, Screen
from fleetctl.cli.show_run import run_lines
from fleetctl.cli.show_status import status_lines
from fleetctl.cli.tell import telling
from fleetctl.cli.text import count
from fleetctl.cli.wiring import OpenFleet, drive, look, read_playbook, wished_by
from fleetctl.clock import SystemClock
from fleetctl.config.inventory import load_inventory
from fleetctl.embedded.fleet import EmbeddedFleet
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, FleetctlError
from fleetctl.model.snapshot import Phase
from fleetctl.state.artifacts import KeptArtifacts
from fleetctl.state.store import Store

if TYPE_CHECKING:
    from fleetctl.engine.read import View
    from fleetctl.engine.run import RunResult
    from fleetctl.model.snapshot import InstanceReport

HOSTS, REPLICAS = 4, 3
ANSWER_S = 3.0
_PATH = f"/usr/local/bin:/usr/bin:/bin:{Path(sys.executable).parent}"  # the last where the system has no Python

PLAYBOOK = [
    {
        "name": "a small web service",
        "hosts": "all",
        "jobs": {
            "web": {
                "replicas": REPLICAS,
                "artifact": "build",
                "command": ["./hello"],
                "env": {"PATH": _PATH},
                "ports": ["http"],
                "resources": {"cpu": "500m", "memory": "64Mi"},
                "ready": {"http": "/", "port": "http", "interval": "200ms", "timeout": "300ms", "failures": 2},
                "stop": {"timeout": "5s"},
                "update": {"min_healthy": "1s", "deadline": "20s"},
            }
        },
    }
]


class DemoError(FleetctlError):
    """Something came out otherwise than the demo promises."""


def play() -> ExitCode:
    """The whole demo, from tidying up after dead ones to leaving nothing behind."""
    screen = Screen.standard()
    for folder in remove_dead_demos():
        screen.say(Line(f"removed what an earlier demo left in {folder}", DIM))
    with demo_folder() as folder:
        asyncio.run(_play_in(folder, screen))
    screen.say(Line("Everything is gone again: programs, agents and files.", STRONG))
    return ExitCode.AS_WISHED


async def _play_in(folder: Path, screen: Screen) -> None:
    async with EmbeddedFleet(folder, count=HOSTS) as embedded:
        await tell_story(embedded, screen)


async def tell_story(embedded: EmbeddedFleet, screen: Screen) -> None:
    """Deploys to the hosts of `embedded`, loses one and heals. Raises DemoError where anything comes out otherwise."""
    with closing(Store.open(embedded.folder / "state", clock=SystemClock())) as store:
        state = embedded.folder / "state"
        fleet = OpenFleet(load_inventory(embedded.inventory_path), store, KeptArtifacts(state), state)
        story = _Story(embedded, fleet, screen)
        story.introduce_hosts()
        await story.deploy()
        await story.show_work()
        lost = await story.lose_a_host()
        await story.heal(lost)
        await story.show_work()


@dataclass(frozen=True, slots=True)
class _Story:
    embedded: EmbeddedFleet
    fleet: OpenFleet
    screen: Screen

    def chapter(self, title: str) -> None:
        self.screen.show([Line(""), Line(title, STRONG)])

    def introduce_hosts(self) -> None:
        self.chapter(f"{count(HOSTS, 'host')} on this machine, each with an SSH server and an address of its own:")
        for host in self.embedded.hosts:
            self.screen.say(f"  {host.name}  zone {host.zone}  ssh -p {host.port} {host.address}")

    async def deploy(self) -> None:
        playbook = _write_playbook(self.embedded.folder)
        self.chapter(f"Deploy {REPLICAS} copies of a small web server: fleetctl deploy {playbook.name}")
        wished = read_playbook(playbook, self.fleet.inventory, {})
        change = await asyncio.to_thread(wished_by, wished, self.fleet.kept.keep)
        await self._drive("deploy", change, ExitCode.AS_WISHED)

    async def show_work(self) -> None:
        self.chapter("Where it runs: fleetctl status")
        view = await look(self.fleet, Change(), lambda _event: None)
        self.screen.show(status_lines(view, SystemClock().wall()))
        self.chapter("Ask each of them over HTTP:")
        ready = _ready(view)
        if len({row.name.replica for row in ready}) != REPLICAS:
            raise DemoError(f"{len(ready)} of {REPLICAS} replicas are ready")
        for row in ready:
            await self._ask(row)

    async def _ask(self, row: InstanceReport) -> None:
        url = f"http://{row.address}:{dict(row.ports)['http']}/"
        said = await asyncio.to_thread(_get, url)
        self.screen.say(f"  {url}  {said}")
        if not said.startswith(f"{row.name.replica}, epoch {row.name.epoch},"):
            raise DemoError(f"{url} should be {row.name} and says: {said}")

    async def lose_a_host(self) -> str:
        view = await look(self.fleet, Change(), lambda _event: None)
        name = next(host for host, seen in view.snapshot.reachable().items() if seen.report.instances)
        self.chapter(f"Now {name} dies: its programs end without a word, its SSH server is gone.")
        await self.embedded.host(name).kill()
        return name

    async def heal(self, lost: str) -> None:
        self.chapter("Heal: fleetctl heal")
        self.screen.say(f"  three tries, two seconds apart; meanwhile the others are asked whether they reach {lost}")
        await self._drive("heal", Change(), ExitCode.UNREACHED)

    async def _drive(self, command: str, change: Change, expected: ExitCode) -> None:
        with telling(self.screen, HOSTS) as tell:
            result = await drive(self.fleet, command, change, tell, run_lines)
        self.screen.show(run_lines(result))
        if result.exit_code is not expected:
            raise _otherwise(command, result)


def _otherwise(command: str, result: RunResult) -> DemoError:
    """The first thing that kept a run from ending as it should."""
    troubles = [f"{name}: {seen.error}" for name, seen in result.snapshot.unreachable().items()]
    hints = [seen.hint for seen in result.snapshot.unreachable().values()]
    troubles += [f"{one.action.host}: {one.detail}" for one in result.failures]
    troubles += [f"{note.subject}: {note.reason}" for note in result.plan.held]
    return DemoError(
        "\n".join([f"the demo's {command} ended with {int(result.exit_code)}", *troubles]), hint="\n".join(hints)
    )


def _write_playbook(folder: Path) -> Path:
    """The playbook and the build it names, as a user would have them."""
    build = folder / "build"
    build.mkdir()
    program = (resources.files("fleetctl.embedded") / "demo_app.py").read_text("utf-8")
    (build / "hello").write_text(f"#!/usr/bin/env python3\n{program}", "utf-8")
    (build / "hello").chmod(0o755)
    playbook = folder / "web.yml"
    playbook.write_text(yaml.safe_dump(PLAYBOOK, sort_keys=False), "utf-8")
    return playbook


def _ready(view: View) -> list[InstanceReport]:
    rows = [row for seen in view.snapshot.reachable().values() for row in seen.report.instances]
    return sorted((row for row in rows if row.phase is Phase.READY), key=lambda row: row.name)


def _get(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is behind no proxy
    try:
        with opener.open(url, timeout=ANSWER_S) as answer:
            return str(answer.read(1000).decode("utf-8", "replace")).strip()
    except OSError as error:
        raise DemoError(f"{url} gives no answer: {error}") from None
