"""What a program asks for and a host has: CPU, memory and disk, in units that can't be mixed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

MilliCpu = NewType("MilliCpu", int)  # thousandths of a core
Bytes = NewType("Bytes", int)


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each; as a difference an amount may be negative."""

    cpu: MilliCpu = MilliCpu(0)
    memory: Bytes = Bytes(0)
    disk: Bytes = Bytes(0)

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            MilliCpu(self.cpu + other.cpu), Bytes(self.memory + other.memory), Bytes(self.disk + other.disk)
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            MilliCpu(self.cpu - other.cpu), Bytes(self.memory - other.memory), Bytes(self.disk - other.disk)
        )

    def fits(self, room: Resources) -> bool:
        """Whether this much fits in `room`. What asks for nothing of a kind fits even where that kind is overdrawn."""
        return not self.missing(room)

    def missing(self, room: Resources) -> tuple[str, ...]:
        """The kinds of which `room` has too little, by name: `("memory",)`."""
        asked = (("cpu", self.cpu, room.cpu), ("memory", self.memory, room.memory), ("disk", self.disk, room.disk))
        return tuple(name for name, want, have in asked if 0 < want > have)
