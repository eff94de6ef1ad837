"""A whole fleet of embedded hosts with its inventory, keys and known_hosts on disk, as a user would have them.

Usable by the loop it runs in and, through the files, by any other process on this machine. It deploys nothing.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import asyncssh
import yaml

from fleetctl.embedded.host import EmbeddedHost
from fleetctl.embedded.processes import end_processes_under
from fleetctl.model.host import Capacity, HostSpec, Inventory
from fleetctl.model.resources import Bytes, MilliCpu

if TYPE_CHECKING:
    from types import TracebackType

CAPACITY = Capacity(MilliCpu(4000), Bytes(8 << 30), Bytes(16 << 30))  # each would report the whole machine as its own
HOSTS_MAX = 250  # of one network of addresses


@dataclass(slots=True)
class EmbeddedFleet:
    """`async with EmbeddedFleet(folder, count=5) as fleet`: hosts h1, h2, … in zones a, b, … in turn.

    What an earlier fleet left in `folder` is ended and removed first; at the end nothing of this one runs. The folder
    stays for whoever wants to look, unless `keep` is False.
    """

    folder: Path
    count: int = 3
    zones: int = 2
    name: str = "demo"
    keep: bool = True
    hosts: list[EmbeddedHost] = field(default_factory=list)

    @property
    def inventory_path(self) -> Path:
        return self.folder / "inventory.yml"

    @property
    def known_hosts_path(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def key_path(self) -> Path:
        return self.folder / "id_ed25519"

    async def __aenter__(self) -> Self:
        clear(self.folder)
        self.folder.mkdir(parents=True, mode=0o700)
        self.folder = self.folder.resolve()
        key = asyncssh.generate_private_key("ssh-ed25519", comment="fleetctl embedded")
        self.key_path.touch(mode=0o600)
        key.write_private_key(self.key_path)
        network = f"127.{random.randint(16, 254)}.{random.randint(1, 254)}"  # noqa: S311  # beside other fleets, no secret
        for number in range(1, self.count + 1):
            zone = chr(ord("a") + (number - 1) % self.zones)
            host = EmbeddedHost(f"h{number}", f"{network}.{number}", self.folder / f"h{number}", key, zone=zone)
            self.hosts.append(host)
        try:
            for host in self.hosts:
                await host.start()
            self.write_known_hosts()
            self._write_inventory()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every host and its programs."""
        for host in self.hosts:
            await host.close()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def host(self, name: str) -> EmbeddedHost:
        return next(host for host in self.hosts if host.name == name)

    def spec(self, name: str) -> HostSpec:
        """The host as the inventory describes it."""
        host = self.host(name)
        return HostSpec(
            name=host.name,
            address=host.address,
            port=host.port,
            private_key=self.key_path,
            labels=(("zone", host.zone),),
            capacity=CAPACITY,
            peer_address=host.address,
            root=str(host.root),
            known_hosts=self.known_hosts_path,
        )

    @property
    def specs(self) -> tuple[HostSpec, ...]:
        return tuple(self.spec(host.name) for host in self.hosts)

    @property
    def inventory(self) -> Inventory:
        """What `inventory_path` says, parsed."""
        names = tuple(host.name for host in self.hosts)
        return Inventory(self.name, self.inventory_path, self.specs, {"all": names})

    @property
    def orders(self) -> int:
        """Messages that changed any host, seen on the links of all."""
        return sum(host.orders for host in self.hosts)

    def write_known_hosts(self) -> None:
        """Trust the keys that the hosts have now."""
        lines = [f"[{host.address}]:{host.port} {_public_line(host.host_key)}" for host in self.hosts]
        self.known_hosts_path.write_text("".join(lines))

    def _write_inventory(self) -> None:
        hosts = {
            host.name: {
                "ansible_host": host.address,
                "ansible_port": host.port,
                "labels": {"zone": host.zone},
                "peer_address": host.address,
                "fleet_root": str(host.root),
            }
            for host in self.hosts
        }
        everyone = {
            "fleet": self.name,
            "ansible_ssh_private_key_file": str(self.key_path),
            "fleet_known_hosts": str(self.known_hosts_path),
            "capacity": {"cpu": 4, "memory": "8Gi", "disk": "16Gi"},
        }
        self.inventory_path.write_text(yaml.safe_dump({"all": {"vars": everyone, "hosts": hosts}}, sort_keys=False))


def clear(folder: Path) -> None:
    """End what an earlier fleet left running under `folder`, however it died, and remove the folder.

    Refuses, with ValueError, a folder that holds anything but a fleet: it might be somebody's.
    """
    if not folder.exists():
        return
    if os.listdir(folder) and not (folder / "id_ed25519").exists():  # noqa: PTH208  # emptiness is what is asked
        raise ValueError(f"{folder} is not the folder of an embedded fleet")
    end_processes_under(folder)
    _make_writable(folder)
    shutil.rmtree(folder)


def _make_writable(folder: Path) -> None:
    """Artifacts have their write bits off: give folders theirs back, so that they can be emptied."""
    for path, folders, _ in os.walk(folder):
        for name in folders:
            inner = Path(path, name)
            if not inner.is_symlink():
                inner.chmod(0o700)


def _public_line(key: asyncssh.SSHKey) -> str:
    return key.export_public_key("openssh").decode("ascii")
