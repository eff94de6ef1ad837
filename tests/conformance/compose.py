"""The compose fleet under the conformance suite: see `hosts.py`.

Every promise gets roots of its own on the hosts: to fleetctl such a host is new, and nothing has to be wiped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fleetctl.config.inventory import load_inventory
from fleetctl.ssh.access import Access
from fleetctl.ssh.link import Link, open_link
from fleetctl.state.artifacts import digest_of
from tests.conformance.hosts import FLEET, Fault, Program, an_artifact
from tests.conformance.programs import HELLO, program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.machines import Machines

TURN = {"h1": "h2", "h2": "h4", "h3": "h1"}  # by the suite's names; h3 and h5 are odd ones: see inventories/compose.yml


class ComposeHosts:
    """OpenSSH in containers: every fault is to be had."""

    names = ("h1", "h2", "h3")
    hello = HELLO
    faults = frozenset(Fault)
    pauses_programs = True

    def __init__(self, machines: Machines, folder: Path) -> None:
        self.machines = machines
        self.access = Access()
        self.whole = True  # nothing has befallen any host
        self.artifact = an_artifact(folder)
        self.digest = digest_of(self.artifact)
        self.root = f"/tmp/{folder.name}"
        specs = load_inventory(machines.inventory(folder / "inventory.yml")).hosts
        self.specs = {
            name: replace(spec, name=name, root=self.root)
            for name, machine in TURN.items()
            for spec in specs
            if spec.name == machine
        }

    async def dial(self, host: str, on_banner: Callable[[], None] = lambda: None) -> Link:
        return await open_link(self.specs[host], self.access, mode="drive", fleet=FLEET, on_banner=on_banner)

    def place(self, host: str) -> tuple[str, int]:
        return self.specs[host].address, self.specs[host].port

    def program(self, which: Program, port: int) -> dict[str, Any]:
        return program(which)

    async def befall(self, fault: Fault, host: str) -> None:
        machines, machine = self.machines, TURN[host]
        self.whole = False
        match fault:
            case Fault.KILLED:
                machines.kill(machine)
            case Fault.PAUSED:
                machines.pause(machine)
            case Fault.CUT:
                machines.cut_off(machine)
            case Fault.REFUSED:
                machines.stop_sshd(machine)
            case Fault.LOCKED:
                machines.lock_out(machine)
            case Fault.REBOOTED:
                machines.kill(machine)
                machines.start_again(machine)

    async def mend(self, host: str) -> None:
        self.machines.mend()
        self.whole = True

    async def kill_agent(self, host: str) -> None:
        """The one of this promise's root."""
        find = f"grep -lsazxF agent /proc/[0-9]*/cmdline | xargs grep -lsazxF {self.root} | cut -d/ -f3"
        agent, *_its_forks = sorted(map(int, self.machines.exec(TURN[host], "sh", "-c", find).split()))
        self.machines.kill_pid(TURN[host], agent)
