"""Watches the truth of the modelled fleet while orders arrive, and says what they break.

It shares nothing with the planner or its checker: it counts what really runs and really serves, and knows only what
persons said. What nobody could have known when a plan was made is not held against it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleetctl.model.job import Digest, JobSpec
from fleetctl.model.replica import InstanceName, ReplicaName
from fleetctl.model.snapshot import Phase
from tests.sim.world import LOCKED, ONLY_PEERS, ONLY_US, REFUSED, ROOM, UP, Ill, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sim.world import Host, Run


class BrokenError(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Word:
    """What a person last said of a job, and what counts until the next word."""

    spec: JobSpec
    artifact: Digest
    replicas: int
    stopped: bool = False

    def wishes(self, replica: ReplicaName) -> bool:
        return not self.stopped and replica.index < self.replicas

    @property
    def allowed_down(self) -> int:
        return self.spec.update.budget(self.replicas)


@dataclass
class Observer:
    """`words` is kept by the story; `world` is set once there is one."""

    words: dict[str, Word] = field(default_factory=dict)
    world: World | None = None
    draining: set[str] = field(default_factory=set)  # hosts that a person wants emptied
    behind: set[str] = field(default_factory=set)  # jobs that were deployed past silent hosts: a heal brings them on
    guards: dict[str, int] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)  # every instance ever started, and where
    plans: dict[str, int] = field(default_factory=dict)  # author -> its newest generation
    stops: int = 0
    starts: int = 0
    surges: int = 0
    stops_first: int = 0

    # -- around each order

    def before(self, run: Run, host: Host, verb: str, what: str) -> Any:
        """What must be known of the world as it was."""
        if verb == "stop":
            name = InstanceName.parse(what)
            return name in host.rows and host.serves(name)
        if verb == "start":
            return InstanceName.parse(what) in host.rows
        return None

    def after(self, run: Run, host: Host, verb: str, what: str, before: Any) -> None:
        self._generation(host, verb)
        if verb in ("start", "stop"):
            self._too_much_lost(run, host, f"{verb} {what}")
        if verb == "start" and not before:
            self.starts += 1
            self._started(run, host, InstanceName.parse(what))
        if verb == "stop":
            name = InstanceName.parse(what)
            run.seen_ready.get(host.spec.name, set()).discard(name)
            if before:
                self.stops += 1
                self._stopped(run, host, name)

    def planned(self, author: str, generation: int, acts: bool) -> None:
        """A plan was made that may be carried out."""
        if acts and generation < self.plans.get(author, 0):
            raise BrokenError(f"{author} plans generation {generation} after {self.plans[author]}")
        self.plans[author] = max(generation, self.plans.get(author, 0))

    # -- generations

    def _generation(self, host: Host, verb: str) -> None:
        seen, now = self.guards.get(host.spec.name, 0), host.guard[0]
        if now < seen:
            raise BrokenError(f"the guard of {host.spec.name} fell from {seen} to {now} ({verb})")
        self.guards[host.spec.name] = now

    # -- what looks too bad to be true

    def _too_much_lost(self, run: Run, host: Host, order: str) -> None:
        """Nothing is done where over half of the hosts did not answer when it was looked."""
        world, hosts = self._world(), self.hosts()
        if world.jumps_since > run.looked_from:
            return
        silent = [
            one
            for one in hosts
            if one.since < run.looked_from and (one.state not in (UP, ONLY_US) or world.jump_is_down(one.spec))
        ]
        if len(silent) * 100 >= 55 * len(hosts):
            raise BrokenError(f"{order} on {host.spec.name} though {len(silent)} of {len(hosts)} hosts do not answer")

    # -- starts

    def _started(self, run: Run, host: Host, name: InstanceName) -> None:
        where = self.places.setdefault(str(name), host.spec.name)
        if where != host.spec.name:
            raise BrokenError(f"{name} is started on {host.spec.name}, and was on {where} before")
        if name.epoch != host.guard[0]:
            raise BrokenError(f"{name} is started in generation {host.guard[0]}")
        earlier = [n for n in self._names(name.replica) if n != name and n.epoch >= name.epoch]
        if earlier:
            raise BrokenError(f"{name} is started after {max(earlier)}")
        self._room(host)
        self._doubt(run, host, name)
        self._need(run, name)

    def _names(self, replica: ReplicaName) -> Iterator[InstanceName]:
        for host in self.hosts():
            yield from (name for name in host.rows if name.replica == replica)

    @staticmethod
    def _room(host: Host) -> None:
        held = [row for name in host.rows if (row := host.row(name)).phase.holds_room]
        left = ROOM - host.spec.reserved
        for row in held:
            left -= row.resources
        if left.cpu < 0 or left.memory < 0:
            raise BrokenError(f"{host.spec.name} is given {-left.cpu}m CPU or {-left.memory} bytes more than it has")
        ports = [number for row in held for _, number in row.ports]
        if len(set(ports)) < len(ports):
            raise BrokenError(f"a port of {host.spec.name} is given twice: {sorted(ports)}")

    def _doubt(self, run: Run, host: Host, name: InstanceName) -> None:
        """What lives where anybody can tell it from the dead is not started elsewhere."""
        living = [(other, n) for other, n in self._living(name.replica) if n != name]
        if living and all(self.is_told_from_dead(other, n, run.looked_from) for other, n in living):
            where = ", ".join(f"{n} on {other.spec.name} ({self.why(other)})" for other, n in living)
            raise BrokenError(f"{name} is started on {host.spec.name} though {where} lives")

    def _need(self, run: Run, name: InstanceName) -> None:
        """A heal replaces nothing that serves."""
        if name.job in run.rolls or name.job in self.behind:
            return
        for host in self.hosts():
            told = run.seen_ready.get(host.spec.name, ())
            for other in told if host.spec.name not in self.draining else ():
                if other.replica == name.replica and other != name and host.serves(other) and host.state == UP:
                    raise BrokenError(f"{name} is started by {run.name} though {other} on {host.spec.name} serves")

    def is_told_from_dead(self, host: Host, name: InstanceName, since: float) -> bool:
        """Whether everybody who looked since then could tell that `host`, which does not answer us, lives."""
        world = self._world()
        if host.since > since or any(other.since > since for other in self.hosts() if other.state != UP):
            return False
        if world.jump_is_down(host.spec) or host.state == LOCKED:
            return True
        witnesses = [o for o in self.hosts() if o is not host and o.state in (UP, ONLY_US) and not o.slow_s]
        if not witnesses or any(witness.state == ONLY_US for witness in witnesses):
            return False
        if host.state == REFUSED:
            spec = self.words[name.job].spec if name.job in self.words else None
            served = host.began[name] + 60 < since and host.ready_from(name) < since and name in host.ever
            return spec is not None and spec.ready is not None and served and host.serves(name)
        return host.state == ONLY_PEERS

    def why(self, host: Host) -> str:
        return "its jump host is down" if self._world().jump_is_down(host.spec) else host.state

    # -- stops of what serves

    def _stopped(self, run: Run, host: Host, name: InstanceName) -> None:
        word = self.words.get(name.job)
        if word is None or not word.wishes(name.replica):
            return
        others = [n for n in self._serving_or_told(run, name.replica) if n != name]
        if others:
            self.surges += 1
            return
        self.stops_first += 1
        if not self._may_stop_first(run, host, name):
            raise BrokenError(f"{name} on {host.spec.name} is stopped by {run.name}, and nothing else of it serves")
        up = [
            index
            for index in range(word.replicas)
            if any(n != name for n in self._serving_or_told(run, ReplicaName(name.job, index)))
        ]
        excused = self._excused(run, name.job, {*range(word.replicas)} - {*up})
        if len(up) + len(excused) < word.replicas - word.allowed_down:
            raise BrokenError(
                f"{name} on {host.spec.name} is stopped by {run.name}: {len(up)} of {word.replicas} are left, "
                f"{word.allowed_down} may be down"
            )

    def _excused(self, run: Run, job: str, down: set[int]) -> set[int]:
        """What is down on silent hosts, where a person said that so many of those don't count."""
        silent = [host for host in self.hosts() if host.spec.name not in run.seen_ready]
        if len(silent) > run.allow:
            return set()
        return {name.replica.index for host in silent for name in host.rows if name.job == job} & down

    def _may_stop_first(self, run: Run, host: Host, name: InstanceName) -> bool:
        """Only where a person has it replaced, or wanted that where it could not be reached; a heal stops no other."""
        return name.job in run.rolls or name.job in self.behind or host.spec.name in self.draining

    def _serving_or_told(self, run: Run, replica: ReplicaName) -> Iterator[InstanceName]:
        """What serves, and what was told to this run as ready and fell since, by no order."""
        for host in self.hosts():
            told = run.seen_ready.get(host.spec.name, ())
            for name in host.rows:
                if name.replica == replica and (host.serves(name) or (name in told and name not in host.ends)):
                    yield name

    # -- the truth

    def _world(self) -> World:
        if self.world is None:
            raise BrokenError("there is no world yet")
        return self.world

    def ills(self) -> dict[tuple[str, str], Ill]:
        return self._world().ills

    def hosts(self) -> list[Host]:
        return list(self._world().machines.values())

    def _living(self, replica: ReplicaName) -> list[tuple[Host, InstanceName]]:
        return [
            (host, name)
            for host in self.hosts()
            for name in list(host.rows)
            if name.replica == replica and host.lives(name) and not self._failed_for_good(host, name)
        ]

    @staticmethod
    def _failed_for_good(host: Host, name: InstanceName) -> bool:
        return host.ill(name) is Ill.NOT_EXECUTABLE or host.row(name).phase is Phase.FAILED

    def copies(self) -> dict[ReplicaName, list[tuple[Host, InstanceName]]]:
        """Everything that lives."""
        found: dict[ReplicaName, list[tuple[Host, InstanceName]]] = defaultdict(list)
        for host, name in itertools.chain.from_iterable(
            ((host, name) for name in list(host.rows) if host.lives(name)) for host in self.hosts()
        ):
            found[name.replica].append((host, name))
        return found
