"""A fleet of plain values for tests of deciding: hosts that run, fall silent and come back, and plans carried out.

It executes plans by the book of DESIGN section 2 and shares nothing with the planner but the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from fleetctl.model.desired import Desired, WantedJob
from fleetctl.model.host import Capacity, HostSpec
from fleetctl.model.instant import Instant
from fleetctl.model.job import Digest, JobSpec, PortRequest, Probe, Release, UpdatePolicy
from fleetctl.model.memory import Cordon, Failure, HostMemory, JobMemory, Memory, Wish
from fleetctl.model.plan import Action, AwaitReady, Held, HeldKind, Plan, Start, Stop, Upload, step_key
from fleetctl.model.replica import Generation, InstanceName, ReplicaName
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.snapshot import (
    Facts,
    Guard,
    HostReport,
    InstanceReport,
    Phase,
    Problem,
    Reachable,
    Silence,
    Snapshot,
    Unreachable,
)
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.plan.check import violations
from fleetctl.plan.outcome import newly_good
from fleetctl.plan.reconcile import make_plan

GIB = 1024**3
HTTP = Probe("http", "http", "/healthz")
SWEEPS_MAX = 20


def resources(cpu: int = 0, memory: int = 0, disk: int = 0) -> Resources:
    """Thousandths of a core, and GiB."""
    return Resources(MilliCpu(cpu), Bytes(memory * GIB), Bytes(disk * GIB))


def job(name: str = "web", **changes: Any) -> JobSpec:
    """A job with one handed-out port and a ready probe on it, as most services are."""
    update = {key: changes.pop(key) for key in ("max_unavailable", "min_healthy_s", "deadline_s") if key in changes}
    given: dict[str, Any] = {
        "hosts": "all",
        "command": ("./web",),
        "ports": (PortRequest("http"),),
        "ready": HTTP,
        "update": UpdatePolicy(**update),
    }
    return JobSpec(name=name, **{**given, **changes})


def fixed(port: int) -> tuple[PortRequest, ...]:
    return (PortRequest("http", port),)


def digest(content: object, name: str = "web") -> Digest:
    return Digest(f"{name}-{content}")


def names(count: int) -> list[str]:
    return [f"h{number}" for number in range(1, count + 1)]


def host(name: str, *, zone: str | None = None, cpu: int = 4000, memory: int = 8, **changes: Any) -> HostSpec:
    labels = (("zone", zone),) if zone is not None else ()
    capacity = Capacity(MilliCpu(cpu), Bytes(memory * GIB), Bytes(100 * GIB))
    given: dict[str, Any] = {"address": f"10.0.0.{name.lstrip('h')}", "labels": labels, "capacity": capacity}
    return HostSpec(name=name, **{**given, **changes})


def instance(text: str, phase: Phase = Phase.READY, **changes: Any) -> InstanceReport:
    name = InstanceName.parse(text)
    given: dict[str, Any] = {
        "release": 1,
        "ready_for_s": 3600.0 if phase is Phase.READY else None,
        "ever_ready": phase in (Phase.READY, Phase.UNREADY),
        "age_s": 3600.0,
        "ports": (("http", 20000 + name.epoch * 10 + name.replica.index),),
    }
    return InstanceReport(name=name, phase=phase, **{**given, **changes})


@dataclass
class Machine:
    """What is on one host, and how it answers."""

    spec: HostSpec
    rows: dict[InstanceName, InstanceReport] = field(default_factory=dict)
    artifacts: set[Digest] = field(default_factory=set)
    health: Health = Health.HEALTHY
    silence: Silence | None = None
    ports_in_use: set[int] = field(default_factory=set)
    fleet: str | None = "test"

    @property
    def verdict(self) -> HostVerdict:
        return HostVerdict(self.health, f"{self.health.value} in this test", Instant(0.0))

    def report(self) -> HostReport:
        holding = {n for row in self.rows.values() if row.phase.holds_room for _, n in row.ports}
        return HostReport(
            serial=1,
            boot="boot",
            guard=Guard(Generation(0), ""),
            facts=Facts(MilliCpu(4000), Bytes(8 * GIB), Bytes(100 * GIB), Bytes(90 * GIB)),
            fleet=self.fleet,
            ports_in_use=frozenset(self.ports_in_use | holding),
            artifacts=frozenset(self.artifacts),
            instances=tuple(row for _, row in sorted(self.rows.items())),
        )


@dataclass
class Fleet:
    """Hosts, wishes and what is remembered of them. Its verbs are those of the trade."""

    machines: dict[str, Machine]
    jobs: dict[str, JobMemory] = field(default_factory=dict)
    known: dict[str, tuple[InstanceReport, ...]] = field(default_factory=dict)
    generation: int = 0
    rolls: frozenset[str] = frozenset()
    force: bool = False
    failed: set[Any] = field(default_factory=set)
    refuses: Callable[[Action], bool] = lambda _: False  # which actions fail
    now: Instant = Instant(1000.0)
    plan: Plan | None = None  # the last one made
    gone: set[str] = field(default_factory=set)  # from the inventory, not from the world
    untracked: dict[str, Machine] = field(default_factory=dict)  # remembered, but not how they were reached
    cordons: dict[str, Cordon] = field(default_factory=dict)
    behind: dict[str, frozenset[str]] = field(default_factory=dict)
    limit: frozenset[str] | None = None
    allow_unreachable: int = 0
    fresh_from: dict[str, Generation] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    @classmethod
    def of(cls, *hosts: HostSpec | str) -> Fleet:
        specs = [host(each) if isinstance(each, str) else each for each in hosts]
        return cls({spec.name: Machine(spec) for spec in specs})

    # -- what a person does

    def wish(self, spec: JobSpec, *, good: bool = False) -> int:
        """A new release of the job, wished from now on; returns its number. Nothing is started."""
        known = self.jobs.get(spec.name)
        number = max(known.releases) + 1 if known else 1
        if known and known.releases[known.wish.release].spec == spec:
            number = known.wish.release
        release = Release(number, spec, digest(" ".join(map(str, spec.command)), spec.name))
        releases = {**(known.releases if known else {}), number: release}
        newly = frozenset({number}) if good else frozenset()
        wish = Wish(spec.name, number, spec.replicas)
        self.jobs[spec.name] = JobMemory(wish, releases, (known.good if known else frozenset()) | newly)
        return number

    def deploy(self, spec: JobSpec) -> list[Plan]:
        self.wish(spec)
        return self.redeploy(spec.name)

    def redeploy(
        self, *jobs: str, limit: Iterable[str] | None = None, allow_unreachable: int = 0, force: bool = False
    ) -> list[Plan]:
        self.rolls, self.allow_unreachable = frozenset(jobs), allow_unreachable
        try:
            return self.heal(limit=limit, force=force)
        finally:
            self.rolls, self.allow_unreachable = frozenset(), 0

    def heal(self, *, limit: Iterable[str] | None = None, force: bool = False) -> list[Plan]:
        before = self.force
        self.limit, self.force = None if limit is None else frozenset(limit), before or force
        try:
            return self.run()
        finally:
            self.limit, self.force = None, before

    def restart(self, name: str, *, limit: Iterable[str] | None = None) -> list[Plan]:
        self.fresh_from = {name: Generation(self.generation + 1)}
        try:
            return self.heal(limit=limit)
        finally:
            self.fresh_from = {}

    def cordon(self, *hosts: str, drains: bool = False) -> None:
        self.cordons.update({name: Cordon("anna", 0.0, drains=drains) for name in hosts})

    def uncordon(self, *hosts: str) -> None:
        for name in hosts:
            self.cordons.pop(name, None)

    def drain(self, *hosts: str) -> list[Plan]:
        self.cordon(*hosts, drains=True)
        return self.run()

    def stop(self, name: str) -> list[Plan]:
        known = self.jobs[name]
        self.jobs[name] = replace(known, wish=replace(known.wish, stopped=True))
        return self.run()

    def take_out_of_the_inventory(self, *hosts: str) -> None:
        self.gone.update(hosts)

    def forget_how_to_reach(self, name: str) -> None:
        """It is gone from the inventory, and an older store knew only what was on it."""
        self.see()
        self.untracked[name] = self.machines.pop(name)

    # -- what happens to hosts

    def lose(self, *hosts: str, silence: Silence = Silence.SILENT) -> None:
        for name in hosts:
            self.machines[name].silence, self.machines[name].health = silence, Health.LOST

    def doubt(self, *hosts: str, silence: Silence = Silence.SILENT) -> None:
        for name in hosts:
            self.machines[name].silence, self.machines[name].health = silence, Health.SUSPECT

    def come_back(self, *hosts: str) -> None:
        for name in hosts:
            self.machines[name].silence, self.machines[name].health = None, Health.HEALTHY

    def put(self, where: str, *rows: InstanceReport) -> None:
        """As if these had been there, and been seen there, all along."""
        machine = self.machines[where]
        for row in rows:
            known = self.jobs.get(row.name.job)
            release = known.releases.get(row.release) if known else None
            if release is not None:
                row = replace(row, resources=release.spec.resources, artifact=release.artifact)  # noqa: PLW2901
                if release.artifact is not None:
                    machine.artifacts.add(release.artifact)
            machine.rows[row.name] = row
            self.generation = max(self.generation, row.name.epoch)
        self.known[where] = machine.report().instances

    # -- one sweep

    def desired(self) -> Desired:
        hosts = tuple(machine.spec for machine in self.machines.values())
        jobs = tuple(self._wanted(name) for name in self.jobs)
        gone = frozenset(self.gone)
        return Desired("test", hosts, jobs, self.force, gone, self.limit, self.allow_unreachable)

    def _wanted(self, name: str) -> WantedJob:
        known = self.jobs[name]
        release = known.releases[known.wish.release]
        matching = sorted(self.machines) if release.spec.hosts == "all" else release.spec.hosts.split(":")
        return WantedJob(
            release=release,
            fallback=known.newest_good(),
            known=tuple(known.releases.values()),
            replicas=known.wish.replicas,
            stopped=known.wish.stopped,
            rolls=name in self.rolls,
            eligible=tuple(host for host in matching if host not in self.gone),
            fresh_from=self.fresh_from.get(name),
            orphan=known.wish.orphan,
            owner=known.wish.owner,
        )

    def snapshot(self) -> Snapshot:
        return Snapshot(self.now, {name: self._seen(machine) for name, machine in self.machines.items()})

    @staticmethod
    def _seen(machine: Machine) -> Reachable | Unreachable:
        if machine.silence is None:
            return Reachable(machine.report(), machine.spec.address)
        return Unreachable(machine.silence, "no answer", 3)

    def verdicts(self) -> dict[str, HostVerdict]:
        return {name: machine.verdict for name, machine in self.machines.items()}

    def memory(self) -> Memory:
        everywhere = {**self.machines, **self.untracked}
        hosts = {
            name: HostMemory(
                instances=self.known.get(name, ()),
                verdict=machine.verdict,
                behind=self.behind.get(name, frozenset()),
            )
            for name, machine in everywhere.items()
        }
        return Memory(
            Generation(self.generation),
            hosts,
            dict(self.jobs),
            frozenset(self.failed),
            cordons=dict(self.cordons),
            failures=self.failures,
        )

    def decide(self) -> Plan:
        """One plan, which keeps the invariants."""
        self.see()
        desired, snapshot, verdicts, memory = self.desired(), self.snapshot(), self.verdicts(), self.memory()
        self.plan = make_plan(desired, snapshot, verdicts, memory, self.now)
        found = violations(self.plan, desired, snapshot, verdicts, memory)
        assert not found, "\n".join(f"{violation.invariant}: {violation.detail}" for violation in found)
        self.behind = dict(self.plan.behind)
        return self.plan

    def see(self) -> None:
        """Remember what the hosts that answer report."""
        for name, machine in self.machines.items():
            if machine.silence is None and machine.fleet in (None, "test"):
                self.known[name] = machine.report().instances

    def run(self) -> list[Plan]:
        """Sweeps until nothing is left to do; the plans that had actions."""
        self.failed.clear()
        plans = []
        for _ in range(SWEEPS_MAX):
            plan = self.decide()
            if not plan.actions:
                for name, release in newly_good(self.desired(), self.snapshot(), self.memory()):
                    self.jobs[name] = replace(self.jobs[name], good=self.jobs[name].good | {release})
                return plans
            plans.append(plan)
            self.apply(plan)
        raise AssertionError(f"still not done after {SWEEPS_MAX} sweeps: {plans[-1]}")

    # -- carrying out

    def apply(self, plan: Plan, *, actions: int | None = None) -> bool:
        """Carries the plan out, or its first so many actions; says whether all of it was done."""
        self.generation = max(self.generation, plan.generation)
        for start in plan.actions:
            if isinstance(start, Start):
                row = InstanceReport(start.instance, start.release, Phase.STARTING, start.ports)
                self.known[start.host] = (*self.known.get(start.host, ()), row)
        left = len(plan.actions) if actions is None else actions
        for stage in plan.stages:
            ended_well = True
            for action in stage.actions[:left]:
                if self.refuses(action):
                    self.failed.add(step_key(action))
                    ended_well = False
                else:
                    self._perform(action)
            left -= len(stage.actions)
            if not ended_well or left < 0:
                return False
        return True

    def _perform(self, action: Action) -> None:
        machine = self.machines[action.host]
        assert machine.silence is None, f"an order to {action.host}, which can't be reached"
        match action:
            case Upload():
                machine.artifacts.add(action.artifact)
            case Start():
                release = self.jobs[action.instance.job].releases[action.release]
                assert release.artifact in machine.artifacts
                machine.rows[action.instance] = InstanceReport(
                    name=action.instance,
                    release=action.release,
                    phase=Phase.STARTING,
                    ports=action.ports,
                    address=action.address,
                    artifact=release.artifact,
                    resources=release.spec.resources,
                )
            case AwaitReady():
                row = machine.rows[action.instance]
                ready_s = max(action.for_s, row.ready_for_s or 0.0)
                machine.rows[action.instance] = replace(row, phase=Phase.READY, ready_for_s=ready_s, ever_ready=True)
            case Stop():
                row = machine.rows[action.instance]
                machine.rows[action.instance] = replace(row, phase=Phase.STOPPED, ready_for_s=None)
                if row.phase is Phase.READY:
                    self._is_within_budget(row.name.replica)

    def _is_within_budget(self, stopped: ReplicaName) -> None:
        """What we take down ourselves is within the budget, counting everything that is not seen to be ready."""
        known = self.jobs[stopped.job]
        wish = known.wish
        down = set() if wish.stopped else {ReplicaName(wish.job, index) for index in range(wish.replicas)}
        for machine in self.machines.values():
            if machine.silence is None:
                down -= {row.name.replica for row in machine.rows.values() if row.phase is Phase.READY}
        down -= self._not_counted(down)
        allowed = known.releases[wish.release].spec.update.budget(wish.replicas)
        assert stopped not in down or len(down) <= allowed, f"{stopped} was stopped, and {len(down)} are down"

    def _not_counted(self, down: set[ReplicaName]) -> set[ReplicaName]:
        """Of what is down: what was on as many silent hosts as a deploy was told not to wait for."""
        on = {
            name: {row.name.replica for row in self.known.get(name, ()) if row.name.job in self.rolls} & down
            for name, machine in sorted(self.machines.items())
            if machine.silence is not None and machine.health in (Health.SUSPECT, Health.LOST)
        }
        silent = [name for name, replicas in on.items() if replicas][: self.allow_unreachable]
        return {replica for name in silent for replica in on[name]}

    # -- what is seen afterwards

    def where(self, replica: str) -> list[str]:
        """The hosts on which the replica really runs, whether they answer or not."""
        name = ReplicaName.parse(replica)
        return sorted(
            host
            for host, machine in self.machines.items()
            for row in machine.rows.values()
            if row.name.replica == name and row.phase.wants_to_run
        )

    def running(self, job: str = "web") -> dict[str, str]:
        """instance -> host, of everything that really runs."""
        return {
            str(row.name): host
            for host, machine in self.machines.items()
            for row in machine.rows.values()
            if row.name.job == job and row.phase.wants_to_run
        }

    def held(self, kind: HeldKind) -> list[Held]:
        assert self.plan is not None
        return [held for held in self.plan.held if held.kind is kind]


def actions(plans: list[Plan] | Plan, kind: type[Action]) -> list[Any]:
    every = plans if isinstance(plans, list) else [plans]
    return [action for plan in every for action in plan.actions if isinstance(action, kind)]


def broken(problem: Problem) -> dict[str, Any]:
    """How an instance that ended for good looks."""
    return {"phase": Phase.FAILED, "problem": problem, "ever_ready": False, "ready_for_s": None}
