"""Whose hosts these are: which of them may be given orders, under which name, and when somebody else drives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetctl.errors import UsageError
from fleetctl.model.desired import Desired
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.replica import Generation, ReplicaName
from fleetctl.model.snapshot import Guard, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health
from fleetctl.plan.verdicts import is_another_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fleetctl.model.snapshot import HostReport, InstanceReport
    from fleetctl.model.verdict import HostVerdict

LEAP = 2**32  # over the highest generation seen: a host that can't be reached may have seen a higher one
GENERATION_MAX = 2**62  # a thousand million take-overs; what a host says beyond that was given by no fleetctl


def own_hosts(fleet: str, snapshot: Snapshot, memory: Memory) -> dict[str, Reachable]:
    """The hosts that may be claimed: a root that belongs to another fleet is none of our business, nor is one that
    was not there under this name before."""
    return {
        name: seen
        for name, seen in _open_to(fleet, snapshot).items()
        if not is_another_root(seen.report, memory.hosts.get(name), fleet)
    }


def _open_to(fleet: str, snapshot: Snapshot) -> dict[str, Reachable]:
    return {name: seen for name, seen in snapshot.reachable().items() if seen.report.is_open_to(fleet)}


# Who drives them


@dataclass(frozen=True, slots=True)
class Driver:
    """Who gave the newest orders to this fleet's hosts, as those hosts say."""

    guard: Guard
    hosts: tuple[str, ...]  # that have that guard, by name


def other_driver(fleet: str, snapshot: Snapshot, memory: Memory, author: str) -> Driver | None:
    """Who was driving when that was not us, or was us with a newer memory than this; nobody where we are ahead."""
    guards = {name: seen.report.guard for name, seen in own_hosts(fleet, snapshot, memory).items()}
    generation = memory.generation
    newer = {
        name: guard
        for name, guard in guards.items()
        if guard.generation > generation
        or (guard.generation == generation and guard.author and not is_same_controller(guard.author, author))
    }
    if not newer:
        return None
    first = min(newer, key=lambda name: (-newer[name].generation, name))
    newest = newer[first]
    alike = (newest.generation, newest.author)
    return Driver(newest, tuple(sorted(name for name, g in newer.items() if (g.generation, g.author) == alike)))


def is_same_controller(author: str, other: str) -> bool:
    """Whether both are one store on one machine; another user of it is no stranger."""
    return author.partition("@")[2] == other.partition("@")[2]


def owes_a_claim(fleet: str, snapshot: Snapshot, memory: Memory, author: str) -> bool:
    """Whether a host would still obey who drove it before us, as one that was not reached when its fleet was taken
    over; or none that answers keeps the newest wishes, as after a run that was killed before it could claim.

    Asked once nobody else is known to drive.
    """
    guards, generation = [seen.report.guard for seen in own_hosts(fleet, snapshot, memory).values()], memory.generation
    if any(guard.author and not is_same_controller(guard.author, author) for guard in guards):
        return True
    return bool(guards) and generation > 0 and all(guard.generation < generation for guard in guards)


def leap_over(fleet: str, snapshot: Snapshot, generation: Generation) -> Generation:
    """The generation to take a fleet over at. Raises UsageError where a host's is beyond all reason."""
    guards = {name: seen.report.guard.generation for name, seen in _open_to(fleet, snapshot).items()}
    for name, seen in guards.items():
        if seen > GENERATION_MAX:
            raise UsageError(
                f"{name} says that it has seen generation {seen}, which no fleetctl gave it",
                hint=f"look at {name}: its guard.json is damaged or forged; leave it out of the inventory until then",
            )
    return Generation(max([generation, *guards.values()]) + LEAP)


# Which names are one machine


@dataclass(frozen=True, slots=True)
class Named:
    """Everything with one name for each machine, and the old names that were dropped: old -> new."""

    desired: Desired
    snapshot: Snapshot
    memory: Memory
    renamed: Mapping[str, str] = field(default_factory=dict)


def one_name_each(desired: Desired, snapshot: Snapshot, memory: Memory) -> Named:
    """A host gone from the inventory that another host turns out to be is not lost, and not a second host: its old
    name is dropped, and what a person said of it goes over to the new one.

    Where another machine answers at the address of one that is gone, that one was not seen.
    """
    renamed = dict(_renamed(desired, snapshot, memory))
    elsewhere = dict(_not_at_home(desired, snapshot, memory, renamed))
    if not renamed and not elsewhere:
        return Named(desired, snapshot, memory)
    hosts = {name: host for name, host in memory.hosts.items() if name not in renamed}
    cordons = {name: cordon for name, cordon in memory.cordons.items() if name not in renamed}
    for old, new in sorted(renamed.items()):
        known = hosts.get(new, HostMemory())
        hosts[new] = replace(known, behind=known.behind | memory.hosts[old].behind)
        if old in memory.cordons:
            cordons.setdefault(new, memory.cordons[old])
    seen = {name: elsewhere.get(name, one) for name, one in snapshot.hosts.items() if name not in renamed}
    return Named(
        replace(
            desired,
            hosts=tuple(host for host in desired.hosts if host.name not in renamed),
            gone=desired.gone - set(renamed),
        ),
        replace(snapshot, hosts=seen),
        replace(memory, hosts=hosts, cordons=dict(sorted(cordons.items()))),
        renamed,
    )


def _renamed(desired: Desired, snapshot: Snapshot, memory: Memory) -> Iterator[tuple[str, str]]:
    """Of each gone host that is one with another: its name, and that of the other."""
    reports = {name: seen.report for name, seen in snapshot.reachable().items()}
    wished = [name for name in sorted(reports) if name not in desired.gone]
    taken: list[str] = []  # of several old names of a machine that has no new one, the first stands for all
    for old in sorted(desired.gone):
        known = memory.hosts.get(old)
        if known is None:
            continue
        new = next((name for name in (*wished, *taken) if _was(known, reports[name])), None)
        if new is not None:
            yield old, new
        elif old in reports and _was(known, reports[old]):
            taken.append(old)


def _was(known: HostMemory, report: HostReport) -> bool:
    """Whether who reports is who is remembered: by its identity, or by an instance, whose name is given once."""
    if known.host_id:
        return known.host_id == report.host_id
    return not {row.name for row in known.instances}.isdisjoint(row.name for row in report.instances)


def _not_at_home(
    desired: Desired, snapshot: Snapshot, memory: Memory, renamed: Mapping[str, str]
) -> Iterator[tuple[str, Unreachable]]:
    """Gone hosts at whose last address a machine of another name answers now."""
    reports = {name: seen.report for name, seen in snapshot.reachable().items() if name not in renamed}
    by_id = {report.host_id: name for name, report in sorted(reports.items()) if name not in desired.gone}
    for old in sorted(desired.gone & set(reports)):
        known, other = memory.hosts.get(old), by_id.get(reports[old].host_id)
        if reports[old].host_id and other is not None and known is not None and not _was(known, reports[old]):
            yield old, Unreachable(Silence.HOST_KEY, f"{other} answers at its last address now", tries=0)


def refuse_shared_roots(snapshot: Snapshot) -> None:
    """Raises UsageError where two names lead to one root: each instance would be counted, and stopped, twice."""
    names: dict[str, str] = {}
    for name, seen in snapshot.reachable().items():
        first = names.setdefault(seen.report.host_id, name)
        if first != name and seen.report.host_id:
            raise UsageError(
                f"{first} and {name} of the inventory have the same root: one machine with two names, or a copied disk",
                hint=f"take one of them out of the inventory, or give {name} a fleet_root of its own",
            )


# When one may be forgotten


def why_not_forget(
    host: str, desired: Desired, snapshot: Snapshot, judged: Mapping[str, HostVerdict], memory: Memory
) -> str:
    """What would be lost from sight if `host` were forgotten now, or nothing.

    A host of the inventory that answers is known again at the next look, as what it is then; what a lost one had runs
    elsewhere.
    """
    seen, known = snapshot.hosts.get(host), memory.hosts.get(host, HostMemory())
    if isinstance(seen, Reachable) and seen.report.is_open_to(desired.fleet):
        running = [row for row in seen.report.instances if row.phase.holds_room]
        if host not in desired.gone or not running:
            return ""
        return f"{host} answers, and runs {_told(running)}: nothing would stop or count that any more"
    verdict = judged.get(host)
    if not known.instances or (verdict is not None and verdict.health is Health.LOST):
        return ""
    doubt = verdict.evidence if verdict is not None else "it was not looked at"
    return f"{host} may still run {_told(known.instances)} ({doubt}): a heal would start that a second time elsewhere"


def missing_without(host: str, snapshot: Snapshot, memory: Memory) -> tuple[ReplicaName, ...]:
    """The replicas that were last seen on `host` and run on no host that answers."""
    running = {
        row.name.replica
        for seen in snapshot.reachable().values()
        for row in seen.report.instances
        if row.phase.wants_to_run
    }
    known = memory.hosts.get(host, HostMemory())
    return tuple(sorted({row.name.replica for row in known.instances} - running))


def _told(rows: Iterable[InstanceReport]) -> str:
    names = sorted(str(row.name) for row in rows)
    more = f" and {len(names) - 5} more" if names[5:] else ""
    return ", ".join(names[:5]) + more
