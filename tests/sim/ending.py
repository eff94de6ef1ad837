"""Whether the fleet is as wished, in truth; and if not, which of the few good reasons there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.replica import ReplicaName
from tests.sim.observer import BrokenError, Observer
from tests.sim.world import ROOM, UP, Ill
from tests.unit.engine.modelled import CUT, PAUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetctl.model.plan import Plan
    from fleetctl.model.replica import InstanceName
    from tests.sim.observer import Word
    from tests.sim.world import Host

NO_ROOM, SUSPECT, TOO_MUCH, BAD_RELEASE, CORDON, LIMIT = (
    "no room",
    "suspect",
    "55 %",
    "bad release",
    "cordon",
    "--limit",
)


AS_DEAD = (PAUSED, CUT)  # nobody can tell these from dead ones: what is left there waits for them


class Ending:
    """Looks at the truth once all faults have ended but those that were left on purpose."""

    def __init__(self, observer: Observer, cordoned: set[str], limit: frozenset[str] | None) -> None:
        self.observer, self.cordoned, self.limit = observer, cordoned, limit
        everything = observer.copies()
        self.copies = {
            replica: [(host, name) for host, name in copies if host.state not in AS_DEAD]
            for replica, copies in everything.items()
        }
        self.hosts = observer.hosts()

    def unsettled(self) -> dict[ReplicaName, str]:
        """What is not as wished: replica -> how it is instead."""
        wrong: dict[ReplicaName, str] = {}
        for job, word in sorted(self.observer.words.items()):
            for index in range(0 if word.stopped else word.replicas):
                replica = ReplicaName(job, index)
                copies = self.copies.get(replica, [])
                if len(copies) != 1 or not copies[0][0].serves(copies[0][1]):
                    wrong[replica] = self._told(copies)
        for replica, copies in self.copies.items():
            word = self.observer.words.get(replica.job)
            if copies and word is not None and not word.wishes(replica):
                wrong[replica] = f"not wished, and {self._told(copies)}"
        return wrong

    def reason(self, replica: ReplicaName) -> str:
        """Exactly one of the good ones. Raises BrokenError where there is none."""
        for reason, holds in self._reasons(replica):
            if holds:
                return reason
        raise BrokenError(f"{replica} is {self.unsettled()[replica]}, and for no good reason")

    def _reasons(self, replica: ReplicaName) -> Iterator[tuple[str, bool]]:
        word, copies = self.observer.words[replica.job], self.copies.get(replica, [])
        silent = [host for host in self.hosts if not self.answers(host)]
        yield TOO_MUCH, len(silent) * 100 >= 55 * len(self.hosts)
        yield SUSPECT, any(self.is_suspect(host) for host, _ in copies) or self._is_behind_a_broken_path(replica)
        yield BAD_RELEASE, self._is_bad(replica, word, copies)
        yield LIMIT, self.limit is not None
        fits = [host for host in self.hosts if self._fits(host, word)]
        yield CORDON, bool(fits) and all(host.spec.name in self.cordoned for host in fits)
        yield NO_ROOM, not fits

    def _is_bad(self, replica: ReplicaName, word: Word, copies: list[tuple[Host, InstanceName]]) -> bool:
        """What there is of it fails wherever it is, or serves beside what fails; or nothing is, and the wished one
        fails. What crashes on one host alone has to be moved; what runs there and is not ready is let be."""
        ills = self.observer.ills()
        if not copies:
            ended = [host.rows[name].artifact for host in self.hosts for name in host.rows if name.replica == replica]
            return any((artifact or "", "") in ills for artifact in (word.artifact, *ended))
        serves = any(host.serves(name) for host, name in copies)
        failing = [(host, host.rows[name].artifact or "") for host, name in copies if not host.serves(name)]
        return any(
            (artifact, "") in ills
            or (ill := ills.get((artifact, host.spec.name))) is Ill.NEVER_READY
            or (serves and ill is not None)
            for host, artifact in failing
        )

    def _is_behind_a_broken_path(self, replica: ReplicaName) -> bool:
        """Where all hosts behind one jump host fail, or the only one, it may be the path: none of them is lost."""
        return any(
            host.spec.jumps
            and not any(self.answers(other) for other in self.hosts if other.spec.jumps == host.spec.jumps)
            for host in self.hosts
            if any(name.replica == replica and row.phase.wants_to_run for name, row in host.rows.items())
        )

    def answers(self, host: Host) -> bool:
        world = self.observer.world
        return host.state == UP and world is not None and not world.jump_is_down(host.spec)

    def is_suspect(self, host: Host) -> bool:
        return not self.answers(host)

    def _fits(self, host: Host, word: Word) -> bool:
        if not self.answers(host) or self.is_suspect(host):
            return False
        left, ports = ROOM - host.spec.reserved, set[int]()
        for name in host.rows:
            row = host.row(name)
            if row.phase.holds_room:
                left -= row.resources
                ports |= {number for _, number in row.ports}
        fixed = {port.fixed for port in word.spec.ports if port.fixed is not None}
        return word.spec.resources.fits(left) and not fixed & ports

    @staticmethod
    def _told(copies: list[tuple[Host, InstanceName]]) -> str:
        told = [f"{name} {host.row(name).phase.value} on {host.spec.name} ({host.state})" for host, name in copies]
        return ", ".join(told) or "nowhere"


def is_said(plan: Plan | None, replica: ReplicaName, hosts: list[str]) -> bool:
    """Whether the plan tells a person of it: by its name, an instance's, its job's, a host's or the fleet's."""
    if plan is None:
        return True  # the command itself failed, and said so
    about = {str(replica), replica.job, "sim", *hosts}
    return any(held.subject.partition("@")[0] in about or str(replica) in held.reason for held in plan.held)
