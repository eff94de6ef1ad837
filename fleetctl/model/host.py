"""Machines as the inventory describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleetctl.model.resources import Bytes, MilliCpu, Resources


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the inventory says a host has; what is absent is taken from the host's own facts."""

    cpu: MilliCpu | None = None
    memory: Bytes | None = None
    disk: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Jump:
    """A host that is passed through on the way to others. It is logged in to with the key of the host behind it."""

    address: str
    port: int = 22
    user: str | None = None  # absent: the user who runs fleetctl

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.user + '@' if self.user else ''}{address}{f':{self.port}' if self.port != 22 else ''}"


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One host of the inventory and how to reach it. `name` is how everyone calls it, `address` where sshd listens."""

    name: str
    address: str
    port: int = 22
    user: str | None = None  # absent: the user who runs fleetctl
    private_key: Path | None = None  # absent: the SSH agent and the user's default keys
    labels: tuple[tuple[str, str], ...] = ()
    capacity: Capacity = field(default_factory=Capacity)
    reserved: Resources = field(default_factory=Resources)
    peer_address: str | None = None  # absent: the address at which sshd sees us arrive
    root: str | None = None  # absent: the host program's default
    python: str = "python3"
    known_hosts: Path | None = None  # absent: the user's and the system's files
    jumps: tuple[Jump, ...] = ()  # passed through in this order; hosts with the same ones are one path

    def label(self, name: str) -> str | None:
        return next((value for key, value in self.labels if key == name), None)

    @property
    def zone(self) -> str | None:
        return self.label("zone")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The hosts of one fleet, in the inventory's order, and its groups (`all` among them)."""

    fleet: str
    source: Path
    hosts: tuple[HostSpec, ...]
    groups: Mapping[str, tuple[str, ...]]  # names of hosts, in the inventory's order
    variables: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # host -> its plain variables
    notify: str | None = None  # the command that tells a human; gets JSON on its standard input

    def host(self, name: str) -> HostSpec | None:
        return next((host for host in self.hosts if host.name == name), None)
