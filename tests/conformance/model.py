"""The modelled fleet under the conformance suite: see `hosts.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.state.artifacts import digest_of
from tests.conformance.hosts import Fault, Program, an_artifact
from tests.unit.engine.modelled import CUT, LOCKED, PAUSED, REFUSED, ModelFleet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.engine.modelled import Machine, ModelLink

STATES = {
    Fault.PAUSED: PAUSED,
    Fault.CUT: CUT,
    Fault.REFUSED: REFUSED,
    Fault.LOCKED: LOCKED,
}


class ModelHosts:
    names = ("h1", "h2", "h3")
    hello = "its last words"
    faults = frozenset(Fault)
    pauses_programs = True

    def __init__(self, folder: Path) -> None:
        self.fleet = ModelFleet(folder, count=3)
        self.artifact = an_artifact(folder)
        self.digest = digest_of(self.artifact)
        self.fleet.contents[self.digest] = self.artifact

    def _machine(self, host: str) -> Machine:
        return self.fleet.machines[host]

    async def dial(self, host: str, on_banner: Callable[[], None] = lambda: None) -> ModelLink:
        return await self.fleet.dial(self._machine(host).spec, on_banner)

    def place(self, host: str) -> tuple[str, int]:
        spec = self._machine(host).spec
        return spec.address, spec.port

    def program(self, program: Program, port: int) -> dict[str, Any]:
        if program is Program.NEVER_READY:
            self.fleet.never_ready.add(program.name)
        if program is Program.CAN_NOT_RUN:
            self.fleet.can_not_run.add(program.name)
        return {"argv": [program.name], "artifact": None}

    async def befall(self, fault: Fault, host: str) -> None:
        machine = self._machine(host)
        if fault is Fault.REBOOTED:
            machine.power_off()
            machine.power_on()
        elif fault is Fault.KILLED:
            machine.power_off()
        else:
            machine.state = STATES[fault]

    async def mend(self, host: str) -> None:
        self._machine(host).power_on()

    async def kill_agent(self, host: str) -> None:
        self._machine(host).kill_agent()
