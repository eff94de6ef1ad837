"""Names of what runs: `web.1` is a replica, `web.1@47` the instance that generation 47 placed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType, Self

Generation = NewType("Generation", int)

JOB_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")  # safe as a file name and as a label of a DNS name
_REPLICA = re.compile(rf"({JOB_NAME.pattern})\.(0|[1-9]\d{{0,5}})")
_INSTANCE = re.compile(rf"{_REPLICA.pattern}@([1-9]\d{{0,18}})")


@dataclass(frozen=True, slots=True, order=True)
class ReplicaName:
    """`web.1`: replica 1 of job `web`. Safe as a file name: parsed, never assembled from user text."""

    job: str
    index: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError where `text` is not the name of a replica."""
        found = _REPLICA.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not the name of a replica, such as web.1")
        return cls(found[1], int(found[3]))

    def __str__(self) -> str:
        return f"{self.job}.{self.index}"


@dataclass(frozen=True, slots=True, order=True)
class InstanceName:
    """`web.1@47`: the copy of `web.1` that generation 47 placed, wherever it is."""

    replica: ReplicaName
    epoch: Generation

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError where `text` is not the name of an instance."""
        found = _INSTANCE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not the name of an instance, such as web.1@47")
        return cls(ReplicaName(found[1], int(found[3])), Generation(int(found[4])))

    @property
    def job(self) -> str:
        return self.replica.job

    def __str__(self) -> str:
        return f"{self.replica}@{self.epoch}"
