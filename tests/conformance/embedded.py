"""The embedded servers under the conformance suite: see `hosts.py`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from fleetctl.embedded.processes import processes_under
from fleetctl.ssh.access import Access
from fleetctl.ssh.link import Link, open_link
from fleetctl.state.artifacts import digest_of
from tests.conformance.hosts import FLEET, Fault, Program, an_artifact
from tests.conformance.programs import HELLO, program

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetctl.embedded.fleet import EmbeddedFleet


class EmbeddedHosts:
    """On loopback a host that is off refuses, and one machine's boot is every host's: neither can be had here."""

    names = ("h1", "h2", "h3")
    hello = HELLO
    faults = frozenset({Fault.PAUSED, Fault.CUT, Fault.REFUSED, Fault.LOCKED})
    pauses_programs = False

    def __init__(self, fleet: EmbeddedFleet, folder: Path) -> None:
        self.fleet = fleet
        self.access = Access()
        self.artifact = an_artifact(folder)
        self.digest = digest_of(self.artifact)

    async def dial(self, host: str, on_banner: Callable[[], None] = lambda: None) -> Link:
        return await open_link(self.fleet.spec(host), self.access, mode="drive", fleet=FLEET, on_banner=on_banner)

    def place(self, host: str) -> tuple[str, int]:
        spec = self.fleet.spec(host)
        return spec.address, spec.port

    def program(self, which: Program, port: int) -> dict[str, Any]:
        return program(which)

    async def befall(self, fault: Fault, host: str) -> None:
        embedded = self.fleet.host(host)
        match fault:
            case Fault.PAUSED:
                embedded.hang()
            case Fault.CUT:
                embedded.silence()
            case Fault.REFUSED:
                embedded.refuse()
            case Fault.LOCKED:
                embedded.client_key = asyncssh.generate_private_key("ssh-ed25519")
            case Fault.KILLED | Fault.REBOOTED:
                raise NotImplementedError(fault)

    async def mend(self, host: str) -> None:
        await self.fleet.host(host).start()

    async def kill_agent(self, host: str) -> None:
        agents = [found for found in processes_under(self.fleet.host(host).folder) if _is_agent(found.pid)]
        os.kill(min(agents, key=lambda found: found.started).pid, signal.SIGKILL)  # the others are its forks


def _is_agent(pid: int) -> bool:
    try:
        return b"\0agent\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return False
