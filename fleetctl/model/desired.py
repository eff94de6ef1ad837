"""What should be: the hosts of the inventory and, for each job, which release runs how often and where it may."""

from __future__ import annotations

from dataclasses import dataclass

from fleetctl.model.host import HostSpec
from fleetctl.model.job import Release
from fleetctl.model.replica import Generation


@dataclass(frozen=True, slots=True)
class WantedJob:
    """One job's wish with everything it needs for deciding.

    `release` is the wished one; `fallback` the newest good one, absent if none was ever good. Only a deploy of this
    job sets `rolls`: it replaces what runs of other releases. Otherwise what is missing is started with `fallback`
    and nothing that runs is replaced. `eligible` names the hosts its pattern matches now. `fresh_from` is set by a
    restart alone: instances of earlier epochs are replaced, one replica at a time, by the release that they run.
    """

    release: Release
    fallback: Release | None
    known: tuple[Release, ...]  # every release the store has of this job, these two among them
    replicas: int
    stopped: bool
    rolls: bool
    eligible: tuple[str, ...]
    fresh_from: Generation | None = None
    orphan: bool = False  # gone from its playbook: shown, and kept running
    notices: tuple[str, ...] = ()  # what this command's wish undoes, for the plan to say
    owner: str = ""  # the playbook that deployed it last; empty: not known

    @property
    def name(self) -> str:
        return self.release.job


@dataclass(frozen=True, slots=True)
class Desired:
    fleet: str
    hosts: tuple[HostSpec, ...]
    jobs: tuple[WantedJob, ...]
    force: bool = False  # lifts the rule that nothing moves when too much is lost, and that rule alone
    gone: frozenset[str] = frozenset()  # of `hosts`: no longer in the inventory, so drained
    limit: frozenset[str] | None = None  # the hosts where something may be started or stopped; absent: all
    allow_unreachable: int = 0  # so many silent hosts don't count against the budget of the jobs that roll

    @property
    def inventory(self) -> tuple[HostSpec, ...]:
        return tuple(host for host in self.hosts if host.name not in self.gone)
