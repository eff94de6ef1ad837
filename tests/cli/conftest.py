"""A user's folder with an inventory and a playbook, and `fleetctl` as they type it, in this process or another."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from fleetctl.cli import commands, driving, reading_logs
from fleetctl.cli.main import main
from fleetctl.clock import SystemClock
from fleetctl.model.memory import HostMemory, Wish
from fleetctl.state.store import Store
from tests.cli import given

if TYPE_CHECKING:
    from pathlib import Path

INVENTORY = """\
all:
  vars: {fleet: prod}
  hosts:
    h1: {ansible_host: 127.0.0.1, ansible_port: 1}
    h2: {ansible_host: 127.0.0.2, ansible_port: 1}
    h3: {ansible_host: 127.0.0.3, ansible_port: 1}
"""
PLAYBOOK = """\
- name: web tier
  hosts: all
  jobs:
    web:
      command: [/bin/sleep, "{{ seconds | default('60') }}"]
      replicas: 3
"""


@dataclass(frozen=True, slots=True)
class Typed:
    """How a command ended and what it said."""

    exit: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, with `inv.yml` and `web.yml`; the state is in it too."""
    (tmp_path / "inv.yml").write_text(INVENTORY)
    (tmp_path / "web.yml").write_text(PLAYBOOK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETCTL_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("FLEETCTL_INVENTORY", raising=False)
    return tmp_path


@pytest.fixture
def deployed(here):
    """The store as a deploy of `given.RELEASE` left it; h4 ran something and is gone from the inventory."""
    with (
        closing(Store.open(here / "state", clock=SystemClock())) as store,
        store.lock("prod", "deploy web.yml") as lock,
    ):
        wish = Wish("web", 3, 3, owner="playbooks/web.yml")
        plan, hosts = given.first_plan(), {"h4": HostMemory("10.0.0.4")}
        store.write_plan(lock, "prod", plan, wishes=(wish,), releases=(given.RELEASE,), hosts=hosts)


@pytest.fixture
def typed(here, capsys):
    """`typed("status", "-i", "inv.yml")`, its output in a pipe."""

    def type_it(*argv: str) -> Typed:
        code = main(list(argv))
        said = capsys.readouterr()
        return Typed(code, said.out, said.err)

    return type_it


@pytest.fixture
def in_a_process(here):
    """The same as a process of its own; `prelude` is Python that runs before it."""

    def run_it(*argv: str, prelude: str = "", **environment: str) -> Typed:
        code = f"import sys\n{prelude}\nfrom fleetctl.cli.main import run\nsys.argv[0] = 'fleetctl'\nrun()"
        env = {"PATH": os.environ["PATH"], "FLEETCTL_STATE": str(here / "state"), **environment}
        done = subprocess.run(
            [sys.executable, "-c", code, *argv], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        return Typed(done.returncode, done.stdout, done.stderr)

    return run_it


@dataclass
class Engine:
    """What the engine hands back to the command under test, and what it was asked."""

    view: object = None
    result: object = None
    logs: tuple = ()
    events: tuple = ()
    changes: list = field(default_factory=list)
    wanted: list = field(default_factory=list)  # of logs
    kept: list = field(default_factory=list)  # what the history keeps of each run
    later: list = field(default_factory=list)  # results of several runs, before `result`


@pytest.fixture
def engine(monkeypatch) -> Engine:
    """In place of the engine: no host is asked, its values are those of `given`."""
    stand_in = Engine(view=given.well())

    async def look(_fleet, change, _tell):
        stand_in.changes.append(change)
        return stand_in.view

    async def tell_logs(_fleet, wanted, _tell, tell_log, *, goes_on):
        stand_in.wanted.append((wanted, goes_on))
        for event in stand_in.logs:
            if isinstance(event, BaseException):
                raise event
            tell_log(event)

    async def drive(_fleet, _command, change, tell, report):
        stand_in.changes.append(change)
        for event in stand_in.events:
            tell(event)
        result = stand_in.later.pop(0) if stand_in.later else stand_in.result
        if isinstance(result, BaseException):
            raise result
        stand_in.kept.append([line.text for line in report(result)])
        return result

    monkeypatch.setattr(commands, "look", look)
    monkeypatch.setattr(reading_logs, "tell_logs", tell_logs)
    monkeypatch.setattr(driving, "drive", drive)
    return stand_in
