"""How many replicas of a job may be down or on the move through our own doing. One budget per job, whatever for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.model.replica import ReplicaName

if TYPE_CHECKING:
    from fleetctl.model.desired import WantedJob


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of `max_unavailable` while `down` are not ready, for whatever cause."""

    allowed: int
    down: tuple[ReplicaName, ...]
    one_by_one: bool = False  # a restart

    @classmethod
    def of(cls, job: WantedJob, down: list[ReplicaName]) -> Budget:
        allowed = job.release.spec.update.budget(job.replicas)
        return cls(allowed, tuple(down), one_by_one=job.fresh_from is not None)

    @property
    def left(self) -> int:
        return max(0, self.allowed - len(self.down))

    @property
    def width(self) -> int:
        """How many replicas that are up may be in transition at a time, by surge or not."""
        return 1 if self.one_by_one else max(1, self.allowed)

    def __str__(self) -> str:
        return f"budget {min(len(self.down), self.allowed)} of {self.allowed} used"
