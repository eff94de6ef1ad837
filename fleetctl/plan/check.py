"""Distrusts the planner: finds the invariants of DESIGN section 2 that a plan breaks, before anything is done.

It walks the plan stage by stage over what was seen, on its own: it shares no helper with the planner, only the model.
Within a stage nothing is taken for granted: what it starts takes room before what it stops gives any back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetctl.model.desired import Desired, WantedJob
from fleetctl.model.host import HostSpec
from fleetctl.model.memory import Memory
from fleetctl.model.plan import AwaitReady, Plan, Start, Stop, Upload, Violation, step_key
from fleetctl.model.replica import InstanceName, ReplicaName
from fleetctl.model.snapshot import HostReport, InstanceReport, Phase, Reachable, Silence, Snapshot
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.plan.check_elsewhere import in_doubt, lost, missed
from fleetctl.plan.check_failures import bad_start, is_left
from fleetctl.plan.check_grounds import Grounds, is_like
from fleetctl.plan.check_host import Thing, capacity, placement, ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetctl.model.job import Release
    from fleetctl.model.plan import Stage


def violations(
    plan: Plan, desired: Desired, snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], memory: Memory
) -> tuple[Violation, ...]:
    """Every broken invariant; none for a plan that may be executed."""
    walk = _Walk.over(plan, desired, snapshot, verdicts, memory)
    found = [*_common_sense(plan, memory), *walk.too_much_lost(), *walk.one_start_each()]
    found += walk.grounds.trespasses(plan)
    for number, stage in enumerate(plan.stages):
        found += walk.stage(number, stage)
    return tuple(found)


def _common_sense(plan: Plan, memory: Memory) -> Iterator[Violation]:
    if plan.generation != memory.generation + 1:
        yield Violation("generation", f"{plan.generation} follows {memory.generation}")
    for action in plan.actions:
        if not action.reason:
            yield Violation("reason", f"none for {action}")
        if isinstance(action, Start | Upload) and action.epoch != plan.generation:
            yield Violation("epoch", f"{action.epoch} in generation {plan.generation}: {action}")
        if step_key(action) in memory.failed_steps:
            yield Violation("failed step", f"planned again in the same run: {action}")


@dataclass(slots=True)
class _Walk:
    plan: Plan
    desired: Desired
    snapshot: Snapshot
    verdicts: Mapping[str, HostVerdict]
    memory: Memory
    jobs: dict[str, WantedJob]
    specs: dict[str, HostSpec]
    reports: dict[str, HostReport]  # of hosts that may be given orders
    grounds: Grounds
    things: dict[str, dict[InstanceName, Thing]] = field(default_factory=dict)  # by host
    copies: dict[ReplicaName, list[Thing]] = field(default_factory=dict)
    freed: set[tuple[str, int]] = field(default_factory=set)  # host and port: left by what the plan stopped
    gated: dict[tuple[str, InstanceName], int] = field(default_factory=dict)  # the stage of its last gate
    started: dict[ReplicaName, list[tuple[int, str]]] = field(default_factory=dict)  # stage and host
    doubtful: dict[ReplicaName, list[tuple[str, int]]] = field(default_factory=dict)  # host and epoch
    uploaded: set[tuple[str, str]] = field(default_factory=set)
    was_up: set[ReplicaName] = field(default_factory=set)
    down: dict[str, set[ReplicaName]] = field(default_factory=dict)  # wished replicas by job, after the plan so far
    moving: dict[str, set[ReplicaName]] = field(default_factory=dict)
    ran: set[ReplicaName] = field(default_factory=set)  # seen to run at the beginning
    missed: dict[ReplicaName, frozenset[str]] = field(
        default_factory=dict
    )  # by what is deployed: for which hosts' sake
    overdue: dict[str, set[str]] = field(default_factory=dict)  # by host: what was to be brought up to date there

    @classmethod
    def over(
        cls,
        plan: Plan,
        desired: Desired,
        snapshot: Snapshot,
        verdicts: Mapping[str, HostVerdict],
        memory: Memory,
    ) -> _Walk:
        reports = {
            name: seen.report
            for name, seen in snapshot.hosts.items()
            if isinstance(seen, Reachable)
            and seen.report.fleet in (None, desired.fleet)
            and name in verdicts
            and verdicts[name].health in (Health.HEALTHY, Health.BROKEN)
        }
        remembered = [row for known in memory.hosts.values() for row in known.instances]
        walk = cls(
            plan=plan,
            desired=desired,
            snapshot=snapshot,
            verdicts=verdicts,
            memory=memory,
            jobs={job.name: job for job in desired.jobs},
            specs={spec.name: spec for spec in desired.hosts},
            reports=reports,
            grounds=Grounds.of(desired, memory, [*remembered, *(r for s in reports.values() for r in s.instances)]),
        )
        for host, report in reports.items():
            for row in report.instances:
                walk._add(Thing.seen(host, row))
        walk._look_ahead()
        return walk

    def _add(self, thing: Thing) -> None:
        self.things.setdefault(thing.host, {})[thing.name] = thing
        self.copies.setdefault(thing.name.replica, []).append(thing)

    def _look_ahead(self) -> None:
        self.was_up = {name for name, copies in self.copies.items() if any(thing.ready for thing in copies)}
        self.ran = {name for name, copies in self.copies.items() if any(thing.runs for thing in copies)}
        for number, stage in enumerate(self.plan.stages):
            for action in stage.actions:
                if isinstance(action, AwaitReady):
                    self.gated[action.host, action.instance] = number
                elif isinstance(action, Start):
                    self.started.setdefault(action.instance.replica, []).append((number, action.host))
        seen = self.snapshot, self.verdicts, self.memory
        for host, row in in_doubt(self.desired, *seen, set(self.reports)):
            self.doubtful.setdefault(row.name.replica, []).append((host, row.name.epoch))
        self.overdue = {host: self._overdue(host) for host in self.reports}
        self.missed = missed(self.desired, self.snapshot, {**lost(*seen), **self.doubtful}, self.ran)
        self.down = {job: set() for job in self.jobs}
        self.moving = {job: set() for job in self.jobs}
        for job in self.jobs.values():
            for index in range(job.replicas):
                self._note(ReplicaName(job.name, index))

    # -- the plan as a whole

    def too_much_lost(self) -> Iterator[Violation]:
        names = {spec.name for spec in self.desired.inventory}
        hosts = self.snapshot.hosts.items()
        silent = names - {name for name, seen in hosts if isinstance(seen, Reachable) or seen.silence is Silence.NEWER}
        sick = [name for name, verdict in self.verdicts.items() if verdict.health is Health.BROKEN]
        bad, total = len({*silent, *(set(sick) & names)}), len(names)
        excess = 0 < len(silent) == total or (total >= 3 and bad / total >= 0.55)
        if self.plan.actions and excess and not self.desired.force:
            yield Violation("too much lost", f"{bad} of {total} hosts are bad, and the plan acts all the same")

    def one_start_each(self) -> Iterator[Violation]:
        for replica, started in self.started.items():
            if len(started) > 1:
                yield Violation("one start", f"{replica} is started on {', '.join(host for _, host in started)}")

    # -- stage by stage

    def stage(self, number: int, stage: Stage) -> Iterator[Violation]:
        for action in stage.actions:
            if action.host not in self.reports:
                yield Violation("reachable", f"{action.host} may not be given orders: {action}")
        known = [action for action in stage.actions if action.host in self.reports]
        yield from self._out_of_turn([action for action in known if isinstance(action, Start)])
        for action in known:
            if isinstance(action, Start):
                yield from self._start(number, action)
        for action in known:
            match action:
                case Stop():
                    yield from self._stop(number, action)
                case AwaitReady():
                    yield from self._await(action)
                case Upload():
                    self.uploaded.add((action.host, action.artifact))
                case Start():
                    pass
        touched = {action.instance.replica for action in known if not isinstance(action, Upload)}
        yield from self._budgets(number, touched)

    def _start(self, number: int, start: Start) -> Iterator[Violation]:
        job = self.jobs.get(start.instance.job)
        wished = job is not None and not job.stopped and start.instance.replica.index < job.replicas
        if job is None or not wished:
            yield Violation("wish", f"{start.instance} is not wished")
            return
        release = self._release(job, start.release)
        if release is None:
            yield Violation("release", f"release {start.release} of {job.name} is not known")
            return
        yield from self._may_start(number, start, job, release)
        yield from self._may_be_there(start, job, release)
        self._add(
            Thing(
                host=start.host,
                name=start.instance,
                release=start.release,
                resources=release.spec.resources,
                ports=tuple(port for _, port in start.ports),
                phase=Phase.STARTING,
                ready=False,
                was_ready=False,
                ran=False,
                ours=True,
            )
        )

    def _may_start(self, number: int, start: Start, job: WantedJob, release: Release) -> Iterator[Violation]:
        replica = start.instance.replica
        right = job.release if job.rolls or job.fallback is None else job.fallback
        ran = [thing for thing in self.copies.get(replica, []) if thing.ran]
        if start.release not in {right.number, *self.grounds.releases(job, ran)}:
            yield Violation("release", f"{start.instance} starts release {start.release} instead of {right.number}")
        if any(not self.grounds.is_open(thing.host) for thing in ran):
            yield Violation("limit", f"{start.instance} is started, and an older copy of it is outside the limit")
        yield from bad_start(start, job, release, self.memory.failures)
        moved = self._is_brought_back(replica, job, right) or self._keeps_crashing(replica, job, right, start.host)
        if replica in self.ran and not job.rolls and not moved and not self._is_left(job, ran):
            yield Violation("heal rolls", f"{replica} runs, and {start.instance} is started though nothing is deployed")
        newest = max((thing.name.epoch for thing in self.copies.get(replica, []) if thing.ran), default=0)
        for host, epoch in self.doubtful.get(replica, []):
            if epoch > newest:
                yield Violation("suspect", f"{replica}@{epoch} may run on {host}, and is replaced on {start.host}")
        if self.gated.get((start.host, start.instance), -1) <= number:
            yield Violation("gate", f"nothing awaits {start.instance}")
        artifact = release.artifact
        held = artifact is None or artifact in self.reports[start.host].artifacts
        if not held and (start.host, artifact) not in self.uploaded:
            yield Violation("upload", f"{start.host} lacks the artifact of {start.instance}")

    def _is_left(self, job: WantedJob, ran: list[Thing]) -> bool:
        """Whether its newest copy, of those that still run or else of all, may be replaced without a deploy."""
        newest = max(ran, key=lambda thing: (thing.runs, thing.name.epoch))
        return self.grounds.is_left(job, newest)

    def _out_of_turn(self, starts: list[Start]) -> Iterator[Violation]:
        """What is started on a host before that is brought up to date."""
        overdue = {host: self._overdue(host) for host in {start.host for start in starts}}
        for start in starts:
            first = overdue[start.host]
            if first and str(start.instance.replica) not in self.overdue[start.host]:
                yield Violation("behind", f"{start.host} is to get {', '.join(sorted(first))} first: {start}")

    def _overdue(self, host: str) -> set[str]:
        if host not in self.grounds.behind:
            return set()
        things = [thing for some in self.things.values() for thing in some.values()]
        return self.grounds.overdue(host, self.jobs, things, self.memory)

    def _is_brought_back(self, replica: ReplicaName, job: WantedJob, right: Release) -> bool:
        """Whether one of the right release was lost, and all that is left never got ready within its deadline."""

        def is_right(row: InstanceReport) -> bool:
            release = self._release(job, row.release)
            return row.release == right.number or (release is not None and release.runs_like(right))

        lost = [
            row
            for host, known in self.memory.hosts.items()
            for row in known.instances
            if self._is_lost(host) and row.name.replica == replica and row.phase.holds_room and is_right(row)
        ]
        rows = [row for report in self.reports.values() for row in report.instances if row.name.replica == replica]
        gates = {key.replica for key in self.memory.failed_steps if key.action == "AwaitReady"}
        return bool(lost) and not any(
            row.ever_ready
            or row.phase is Phase.READY
            or is_right(row)
            or not (row.age_s >= job.release.spec.update.deadline_s or str(row.name) in gates)
            for row in rows
            if row.phase.wants_to_run
        )

    def _keeps_crashing(self, replica: ReplicaName, job: WantedJob, right: Release, host: str) -> bool:
        """Whether its newest copy is of the right release and keeps failing, on another host, and none serves."""
        rows = [
            (row.name.epoch, there, row)
            for there, report in self.reports.items()
            for row in report.instances
            if row.name.replica == replica and row.phase.wants_to_run
        ]
        if not rows or any(row.phase is Phase.READY for _, _, row in rows):
            return False
        _, there, newest = max(rows, key=lambda found: found[:2])
        release = self._release(job, newest.release)
        alike = newest.release == right.number or (release is not None and release.runs_like(right))
        return alike and there != host and is_left(replica, job, right, there, self.memory.failures)

    def _is_lost(self, host: str) -> bool:
        verdict = self.verdicts.get(host)
        return verdict is not None and verdict.health is Health.LOST

    def _may_be_there(self, start: Start, job: WantedJob, release: Release) -> Iterator[Violation]:
        seen, spec = self.snapshot.hosts[start.host], self.specs.get(start.host)
        health = self.verdicts[start.host].health
        if spec is None or not isinstance(seen, Reachable) or health is not Health.HEALTHY:
            yield Violation("placement", f"{start.instance} may not be on {start.host}")
            return
        here = list(self.things.get(start.host, {}).values())
        yield from placement(start, job, spec, seen)
        yield from capacity(start, release, spec, seen.report, here)
        freed = {port for host, port in self.freed if host == start.host}
        yield from ports(start, release, seen.report, here, freed)

    def _stop(self, number: int, stop: Stop) -> Iterator[Violation]:
        thing = self.things.get(stop.host, {}).get(stop.instance)
        job = self.jobs.get(stop.instance.job)
        if thing is None or not (thing.runs or thing.phase is Phase.STOPPING):
            yield Violation("stop", f"{stop.instance} does not run on {stop.host}")
            return
        if job is None:
            yield Violation("unwished", f"{stop.instance} is of a job that no wish names")
        elif not self._may_stop(number, thing, job):
            yield Violation("stop", f"{stop.instance} on {stop.host} is stopped without cause ({stop.reason})")
        thing.phase, thing.ready = Phase.STOPPED, False
        self.freed |= {(stop.host, port) for port in thing.ports}

    def _may_stop(self, number: int, thing: Thing, job: WantedJob) -> bool:
        replica = thing.name.replica
        if thing.phase is Phase.STOPPING or job.stopped or replica.index >= job.replicas:
            return True
        others = [other for other in self.copies[replica] if other is not thing]
        succeeded = any(
            other.runs and other.was_ready and other.name.epoch > thing.name.epoch and (other.ready or not thing.ready)
            for other in others
        )
        if succeeded:
            return True
        if not any(self._is_due(job, other) for other in self.copies[replica] if other.ran):
            return False
        restarts = [host for stage, host in self.started.get(replica, []) if stage > number]
        if thing.ready:
            return thing.host in restarts  # stop-first, on its own host; the budget is counted beside this
        return bool(restarts) or any(
            other.runs and (other.ready or (job.rolls and not self._is_outdated(job, other))) for other in others
        )

    def _is_due(self, job: WantedJob, thing: Thing) -> bool:
        return self.grounds.is_left(job, thing) or (job.rolls and self._is_outdated(job, thing))

    def _is_outdated(self, job: WantedJob, thing: Thing) -> bool:
        if thing.host in self.grounds.kept:
            return False
        spec = self.specs.get(thing.host)
        if not is_like(job, thing.release) or spec is None or thing.host not in job.eligible:
            return True
        return any(
            (spec.label(constraint.label) == constraint.value) != (constraint.operator == "==")
            for constraint in job.release.spec.constraints
        )

    def _await(self, gate: AwaitReady) -> Iterator[Violation]:
        thing = self.things.get(gate.host, {}).get(gate.instance)
        if thing is None or not thing.runs:
            yield Violation("gate", f"{gate.instance} does not run on {gate.host}, and is awaited")
            return
        thing.phase, thing.ready, thing.was_ready = Phase.READY, True, True

    # -- what holds after every stage

    def _budgets(self, number: int, touched: set[ReplicaName]) -> Iterator[Violation]:
        for name in touched:
            self._note(name)
        for job in (self.jobs[name] for name in sorted({name.job for name in touched} & set(self.jobs))):
            down, moving = self.down[job.name] - self._spared(), self.moving[job.name]
            by_us = down & self.was_up
            budget = job.release.spec.update.budget(job.replicas)
            if by_us and len(down) > budget:
                what = f"{', '.join(map(str, sorted(down)))} of {job.name} are down, {budget} may be"
                yield Violation("budget", f"after stage {number + 1}: {what}")
            width = max(1, budget) if job.fresh_from is None else 1
            if len(moving) > width and any(self._is_unfinished(name) for name in moving):
                what = f"{', '.join(map(str, sorted(moving)))} of {job.name} are in transition at once"
                yield Violation("transition", f"after stage {number + 1}: {what}")

    def _spared(self) -> set[ReplicaName]:
        """What is down and does not count, for the sake of so many silent hosts as a deploy may leave behind."""
        down = [name for names in self.down.values() for name in names if name in self.missed]
        hosts = set(sorted({host for name in down for host in self.missed[name]})[: self.desired.allow_unreachable])
        return {name for name in down if self.missed[name] <= hosts}

    def _note(self, name: ReplicaName) -> None:
        """Whether a wished replica is down or in transition after the plan so far."""
        job = self.jobs.get(name.job)
        if job is None or job.stopped or name.index >= job.replicas:
            return
        down = not any(thing.ready for thing in self.copies.get(name, []))
        moving = name in self.was_up and self._is_moving(name)
        for names, holds in ((self.down[job.name], down), (self.moving[job.name], moving)):
            if holds:
                names.add(name)
            else:
                names.discard(name)

    def _is_moving(self, replica: ReplicaName) -> bool:
        """Down, or up with a newer instance that is not ready yet, or may be."""
        copies = self.copies.get(replica, [])
        ready = [thing.name.epoch for thing in copies if thing.ready]
        if not ready:
            return True
        coming = [thing.name.epoch for thing in copies if thing.runs and not thing.was_ready]
        doubtful = [epoch for _, epoch in self.doubtful.get(replica, [])]
        return any(epoch > max(ready) for epoch in (*coming, *doubtful))

    def _is_unfinished(self, replica: ReplicaName) -> bool:
        """Whether this plan has started something of it that is not ready yet."""
        return any(thing.ours and not thing.ready for thing in self.copies.get(replica, []))

    # -- small questions

    @staticmethod
    def _release(job: WantedJob, number: int) -> Release | None:
        return next((release for release in job.known if release.number == number), None)
