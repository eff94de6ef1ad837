"""The one place that knows the shape of fleetctl's JSON output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance as `status --json` shows it."""

    instance: str
    host: str
    phase: str
    pid: int | None
    restarts: int
    last_exit: str | None
    address: str
    ports: tuple[tuple[str, int], ...]

    @property
    def replica(self) -> str:
        return self.instance.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Status:
    instances: tuple[InstanceRow, ...]

    def ready(self) -> list[str]:
        return sorted(row.replica for row in self.instances if row.phase == "ready")

    def places(self) -> list[tuple[str, int]]:
        """Where what is ready is reached."""
        return sorted(
            (row.address, number) for row in self.instances if row.phase == "ready" for _, number in row.ports
        )

    def of(self, instance: str) -> InstanceRow:
        return next(row for row in self.instances if row.instance == instance)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `hosts --json` believes about a host, and why."""

    verdict: str
    because: str


def read_status(document: dict[str, Any]) -> Status:
    return Status(tuple(_instance(row) for row in document["instances"]))


def _instance(row: dict[str, Any]) -> InstanceRow:
    return InstanceRow(
        instance=row["instance"],
        host=row["host"],
        phase=row["phase"],
        pid=row.get("pid"),
        restarts=row.get("restarts", 0),
        last_exit=row.get("last_exit"),
        address=row.get("address", ""),
        ports=tuple(sorted(row.get("ports", {}).items())),
    )


def read_hosts(document: dict[str, Any]) -> dict[str, Verdict]:
    return {row["host"]: Verdict(row["verdict"], row["because"]) for row in document["hosts"]}
