"""Which troubles begin and end, and what of that a human is told: once each, and once for what befalls many at once.

It words and groups; how a message reaches anybody is the engine's. DESIGN section 1, "incident".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleetctl.model.memory import Incident
from fleetctl.model.plan import HARMLESS, HeldKind, Upload
from fleetctl.model.replica import InstanceName, ReplicaName
from fleetctl.model.verdict import Health

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetctl.model.desired import Desired
    from fleetctl.model.plan import Held, Plan

MANY = 3  # new in one run: told together
REASONS_TOLD = 3
WHAT_MAX = 2000  # characters

HOST, JOB, FLEET = "host", "job", "fleet"
OF_HOSTS = (HeldKind.SUSPECT, HeldKind.CORDON, HeldKind.NEWER)  # whose subject is a host where there is one so named
RULES = {HeldKind.TOO_MUCH_LOST: "too much lost", HeldKind.COMMON_CAUSE: "common cause"}


@dataclass(frozen=True, slots=True)
class Message:
    """What a human is told of one incident: that it began, or that it is over."""

    incident: Incident
    needs_human: bool
    ended_wall: float | None = None  # absent: it began

    @property
    def event(self) -> str:
        return "begin" if self.ended_wall is None else "end"


@dataclass(frozen=True, slots=True)
class Troubles:
    """The incidents that are open, and what is to be told. Those in a message of a beginning are not `told` yet."""

    incidents: tuple[Incident, ...]
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class _Trouble:
    what: str
    cause: str = ""  # what hosts in the same trouble have in common
    needs_human: bool = True


def incidents_after(
    before: tuple[Incident, ...], desired: Desired, plan: Plan, now_wall: float, *, began_wall: float, ended: bool
) -> Troubles:
    """What is open after a plan of a run that began at `began_wall`, and what of it to tell now.

    A host's trouble is told as soon as a plan was made. Jobs are judged, and things called well again, only by the
    last plan of a run, when it has `ended`: what a heal repairs is no trouble of the job. Where nothing is acted upon,
    nothing is known of jobs.
    """
    now = _Now.of(desired, plan, ended=ended)
    over = tuple(incident for incident in before if ended and now.is_over(incident))
    still = [incident for incident in before if incident not in over]
    incidents = now.all_open(still, now_wall, began_wall)
    begun = [Message(incident, now.needs_human(incident)) for incident in incidents if now.is_to_tell(incident)]
    ends = [Message(incident, needs_human=False, ended_wall=now_wall) for incident in over if incident.told]
    ordered = sorted(incidents, key=lambda incident: (incident.kind, incident.subject))
    return Troubles(tuple(ordered), tuple(sorted((*begun, *ends), key=_by_incident)))


@dataclass(frozen=True, slots=True)
class _Now:
    """Every trouble that there is."""

    fleet: str
    hosts: Mapping[str, _Trouble]
    jobs: Mapping[str, _Trouble] | None  # absent: not known
    rules: Mapping[str, _Trouble]  # by the fleet's name and the rule's
    inventory: frozenset[str]

    @classmethod
    def of(cls, desired: Desired, plan: Plan, *, ended: bool) -> _Now:
        names = frozenset(host.name for host in desired.inventory)
        jobs = frozenset(job.name for job in desired.jobs)
        held: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for one in plan.held:
            if one.kind not in HARMLESS:
                held[_about(one, names, jobs, desired.fleet)].append(one.reason)
        for action in plan.actions if ended else ():  # the run gave up: whatever it had yet to do is not done
            job = action.job if isinstance(action, Upload) else action.instance.job
            held[JOB, job].append("not all could be done in one run: see fleetctl status")
        acts = (FLEET, f"{desired.fleet}: {RULES[HeldKind.TOO_MUCH_LOST]}") not in held
        return cls(
            desired.fleet,
            _hosts(plan, names, held),
            _of_kind(JOB, held) if ended and acts else None,
            _of_kind(FLEET, held),
            names,
        )

    def is_over(self, incident: Incident) -> bool:
        if incident.kind == HOST:
            return incident.subject not in self.hosts
        if incident.kind == JOB:
            return self.jobs is not None and incident.subject not in self.jobs
        return incident.subject not in self.rules and not any(self._may_last(member) for member in incident.members)

    def is_to_tell(self, incident: Incident) -> bool:
        """Not told yet, as of a run without a command to tell it with, and not known to be over by now."""
        known = incident.kind != JOB or self.jobs is not None
        return not incident.told and known and not self.is_over(incident)

    def _may_last(self, member: str) -> bool:
        if member in self.hosts:
            return True
        return member in self.jobs if self.jobs is not None else member not in self.inventory

    def all_open(self, still: list[Incident], now_wall: float, began_wall: float) -> list[Incident]:
        """What goes on, and what is new. Rules come first: they explain the rest."""
        still = [self._with_joiners(one, still) if one.kind == FLEET else one for one in still]
        hosts, jobs = _not_covered(self.hosts, HOST, still), _not_covered(self.jobs or {}, JOB, still)
        if (rule := self._new_rule(still)) is not None:
            return [*still, Incident(rule, FLEET, self.rules[rule].what, now_wall, members=_sorted(hosts, jobs))]
        with_hosts = self._with_new(HOST, hosts, still, now_wall)
        for one in with_hosts:
            if one.kind == FLEET and one.since_wall >= began_wall:  # what befell many hosts in this run befell the jobs
                return _replaced(with_hosts, one, members=_sorted(one.members, jobs))
        return self._with_new(JOB, jobs, with_hosts, now_wall)

    def _with_joiners(self, incident: Incident, still: list[Incident]) -> Incident:
        """A fleet's incident with the hosts that got into the same trouble since: nobody is told again."""
        causes = {self.hosts[member].cause for member in incident.members if member in self.hosts}
        joiners = [name for name, trouble in _not_covered(self.hosts, HOST, still).items() if trouble.cause in causes]
        return replace(incident, members=_sorted(incident.members, joiners))

    def _new_rule(self, still: list[Incident]) -> str | None:
        """That nothing is acted upon is always news; a common cause only of hosts that no fleet's incident has yet."""
        told = {incident.subject for incident in still if incident.kind == FLEET}
        grouped = {member for incident in still if incident.kind == FLEET for member in incident.members}
        for kind in (HeldKind.TOO_MUCH_LOST, HeldKind.COMMON_CAUSE):
            rule = f"{self.fleet}: {RULES[kind]}"
            explains = kind is HeldKind.TOO_MUCH_LOST or any(host not in grouped for host in self.hosts)
            if rule in self.rules and rule not in told and explains:
                return rule
        return None

    def _with_new(
        self, kind: str, new: Mapping[str, _Trouble], still: list[Incident], now_wall: float
    ) -> list[Incident]:
        """One incident each; many are one, or join that which is open under the same subject."""
        if len(new) < MANY:
            return [*still, *(Incident(name, kind, trouble.what, now_wall) for name, trouble in sorted(new.items()))]
        causes = " and ".join(sorted({trouble.cause for trouble in new.values()}))
        subject = f"{self.fleet}: jobs" if kind == JOB else f"{self.fleet}: hosts {causes}"
        for one in still:
            if (one.kind, one.subject) == (FLEET, subject):
                return _replaced(still, one, members=_sorted(one.members, new))
        what = f"{len(new)} {kind}s at once: {_first(trouble.what for _, trouble in sorted(new.items()))}"
        return [*still, Incident(subject, FLEET, what[:WHAT_MAX], now_wall, members=_sorted(new))]

    def needs_human(self, incident: Incident) -> bool:
        return incident.kind != HOST or incident.subject not in self.hosts or self.hosts[incident.subject].needs_human


def _hosts(plan: Plan, names: frozenset[str], held: Mapping[tuple[str, str], list[str]]) -> dict[str, _Trouble]:
    """Hosts of the inventory that are not healthy, or about which a human is needed."""
    found = {}
    for name in sorted(names):
        verdict, reasons = plan.verdicts.get(name), held.get((HOST, name), [])
        ill = verdict is not None and verdict.health is not Health.HEALTHY
        if ill and verdict is not None:
            what = f"{name} is {verdict.health.value}: {verdict.evidence}"
            needs_human = bool(reasons) or verdict.health is Health.BROKEN
            found[name] = _Trouble(what[:WHAT_MAX], verdict.sign.value or verdict.health.value, needs_human)
        elif reasons:
            found[name] = _Trouble(_first(reasons)[:WHAT_MAX], "held back")
    return found


def _of_kind(kind: str, held: Mapping[tuple[str, str], list[str]]) -> dict[str, _Trouble]:
    return {
        subject: _Trouble(_first(sorted(set(reasons)))[:WHAT_MAX])
        for (of_kind, subject), reasons in sorted(held.items())
        if of_kind == kind
    }


def _about(held: Held, hosts: frozenset[str], jobs: frozenset[str], fleet: str) -> tuple[str, str]:
    """Whose trouble it is. A name that a host and a job share is the job's, but where only a host can be meant."""
    if held.kind in RULES:
        return FLEET, f"{fleet}: {RULES[held.kind]}"
    if held.subject in hosts and (held.kind in OF_HOSTS or held.subject not in jobs):
        return HOST, held.subject
    for name in (InstanceName, ReplicaName):
        try:
            return JOB, name.parse(held.subject).job
        except ValueError:
            continue
    return JOB, held.subject


def _not_covered(troubles: Mapping[str, _Trouble], kind: str, still: list[Incident]) -> dict[str, _Trouble]:
    """Those that have no incident yet, neither of their own nor as a member."""
    known = {name for one in still for name in (one.members if one.kind == FLEET else ())}
    known |= {one.subject for one in still if one.kind == kind}
    return {name: trouble for name, trouble in sorted(troubles.items()) if name not in known}


def _replaced(incidents: list[Incident], one: Incident, *, members: tuple[str, ...]) -> list[Incident]:
    return [replace(one, members=members) if other is one else other for other in incidents]


def _sorted(*names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for some in names for name in some}))


def _first(reasons: Iterable[str]) -> str:
    every = list(reasons)
    more = f"; and {len(every) - REASONS_TOLD} more" if len(every) > REASONS_TOLD else ""
    return "; ".join(every[:REASONS_TOLD]) + more


def _by_incident(message: Message) -> tuple[str, str, str]:
    return message.incident.kind, message.incident.subject, message.event
