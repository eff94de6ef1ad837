"""A plan in the making: rounds of stops, starts and gates, what is held back, and which replicas stay down.

Phases write into it in the order that matters; none reaches back. It keeps the board in step with what it books.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from fleetctl.model.job import StopPolicy
from fleetctl.model.plan import AwaitReady, Held, HeldKind, Plan, Stage, Start, Stop, Upload
from fleetctl.model.replica import InstanceName, ReplicaName
from fleetctl.plan.behind import excused, left_behind, missed_on, overdue
from fleetctl.plan.due import Due
from fleetctl.plan.place import Wanted, take_room
from fleetctl.plan.room import Board, board_of
from fleetctl.plan.scene import Copy, Scene, release_of

if TYPE_CHECKING:
    from fleetctl.model.desired import WantedJob
    from fleetctl.model.job import Digest, Release
    from fleetctl.model.plan import Action


@dataclass(slots=True)
class Round:
    """Up to four stages: make room, start, see it ready, stop what that made superfluous."""

    stops: list[Stop] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    gates: list[AwaitReady] = field(default_factory=list)
    retired: list[Stop] = field(default_factory=list)

    def stages(self) -> list[Stage]:
        kinds: tuple[list[Stop] | list[Start] | list[AwaitReady], ...]
        kinds = (self.stops, self.starts, self.gates, self.retired)
        return [Stage(tuple(sorted(kind, key=_by_name))) for kind in kinds if kind]


@dataclass(slots=True)
class Draft:
    scene: Scene
    board: Board
    rounds: list[Round] = field(default_factory=lambda: [Round()])
    held: list[Held] = field(default_factory=list)
    down: dict[ReplicaName, str] = field(default_factory=dict)  # not ready after the plan so far, and why
    crossing: dict[ReplicaName, str] = field(default_factory=dict)  # has a newer instance that can't be seen ready now
    stalled: dict[str, str] = field(default_factory=dict)  # job -> why its rollout goes no further
    homeless: list[Wanted] = field(default_factory=list)
    due: dict[ReplicaName, Due] = field(default_factory=dict)  # runs, and is to be replaced
    blocked: dict[ReplicaName, str] = field(default_factory=dict)  # why what is due is not done
    frozen: set[ReplicaName] = field(default_factory=set)  # something would be done to it, were it not for the limit
    behind: Mapping[str, frozenset[str]] = field(default_factory=dict)  # host -> jobs to be brought up to date there
    missed: dict[ReplicaName, frozenset[str]] = field(default_factory=dict)  # down for these silent hosts' sake
    spared: set[str] = field(default_factory=set)  # of those hosts: did not count against a budget
    _gone: set[tuple[str, InstanceName]] = field(default_factory=set)  # stopped by the plan so far
    _leaving: list[Copy] = field(default_factory=list)  # their room is free once this round has ended
    _rising: list[ReplicaName] = field(default_factory=list)  # up once this round has ended

    @classmethod
    def of(cls, scene: Scene) -> Draft:
        draft = cls(scene, board_of(scene), behind=left_behind(scene))
        draft.board.overdue = overdue(draft)
        return draft

    @property
    def round(self) -> Round:
        return self.rounds[-1]

    def live(self, replica: ReplicaName) -> tuple[Copy, ...]:
        """What runs of the replica after the plan so far, without what the plan itself starts. Newest first."""
        return tuple(copy for copy in self.scene.live(replica) if (copy.host, copy.name) not in self._gone)

    def miss(self, job: WantedJob, replica: ReplicaName, why: str) -> None:
        """Nothing of it is known to run."""
        self.down[replica] = why
        if job.rolls:
            self.missed[replica] = missed_on(self.scene, replica)

    def down_of(self, job: str) -> list[ReplicaName]:
        """Those that count against the budget of the job."""
        spared = excused(self)
        self.spared |= spared
        return sorted(
            replica
            for replica in self.down
            if replica.job == job and not (self.missed.get(replica) and self.missed[replica] <= spared)
        )

    def hold(self, subject: object, kind: HeldKind, reason: str) -> None:
        self.held.append(Held(str(subject), kind, reason))

    def freeze(self, replica: ReplicaName) -> None:
        """It stays as it is, for it is outside the limit."""
        self.frozen.add(replica)

    def can_stop(self, copy: Copy) -> bool:
        return str(copy.name) not in self.scene.failed.stops and not self.scene.is_frozen(copy.host)

    def stop(self, job: WantedJob, copy: Copy, reason: str) -> None:
        """Stop it before this round's starts, which may use its room. A stop that failed in this run is held."""
        if not self.can_stop(copy):
            self._hold_stop(copy)
            return
        self.round.stops.append(_stop(job, copy, reason))
        self._gone.add((copy.host, copy.name))
        self.give_back(copy)

    def retire(self, job: WantedJob, copy: Copy, reason: str) -> None:
        """Stop it after this round's gates: its room is free in the next."""
        if not self.can_stop(copy):
            self._hold_stop(copy)
            return
        self.round.retired.append(_stop(job, copy, reason))
        self._gone.add((copy.host, copy.name))
        self._leaving.append(copy)

    def start(self, wanted: Wanted, host: str, reason: str) -> None:
        """Start a new instance and see it ready before anything of the next round."""
        update = wanted.job.release.spec.update
        instance = InstanceName(wanted.replica, self.scene.generation)
        ports = take_room(self.scene, self.board, wanted, host)
        address = self.scene.report(host).address
        self.round.starts.append(Start(host, instance, wanted.release.number, ports, address, reason))
        self.gate(wanted.job, wanted.release, host, instance, update.deadline_s)
        self._rising.append(wanted.replica)

    def gate(
        self, job: WantedJob, release: Release | None, host: str, instance: InstanceName, timeout_s: float
    ) -> None:
        for_s = ready_for_s(job, release)
        reason = f"{instance} must be ready for {for_s:g} s" if for_s else f"{instance} must be ready"
        self.round.gates.append(AwaitReady(host, instance, for_s, timeout_s, reason))

    def rises(self, replica: ReplicaName) -> None:
        """A gate of this round sees it ready."""
        self._rising.append(replica)

    def next_round(self) -> None:
        for copy in self._leaving:
            self.give_back(copy)
        for replica in self._rising:
            self.down.pop(replica, None)
        self._leaving.clear()
        self._rising.clear()
        self.board.overdue = overdue(self)
        self.rounds.append(Round())

    def give_back(self, copy: Copy) -> None:
        if (room := self.board.rooms.get(copy.host)) is not None:
            room.give_back(copy.row.resources, (number for _, number in copy.row.ports))

    def take_again(self, copy: Copy) -> None:
        if (room := self.board.rooms.get(copy.host)) is not None:
            room.take(copy.row.resources, (number for _, number in copy.row.ports))

    def plan(self) -> Plan:
        stages = list(chain.from_iterable(each.stages() for each in self.rounds))
        uploads = self._uploads()
        if uploads:
            stages.insert(0, Stage(uploads))
        held = tuple(sorted(set(self.held)))
        verdicts = dict(sorted(self.scene.verdicts.items()))
        return Plan(self.scene.generation, tuple(stages), held, verdicts, left_behind(self.scene, self.spared))

    def _uploads(self) -> tuple[Upload, ...]:
        uploads: dict[tuple[str, Digest], Upload] = {}
        for start in chain.from_iterable(each.starts for each in self.rounds):
            job = next(job for job in self.scene.jobs if job.name == start.instance.job)
            artifact = next(release.artifact for release in job.known if release.number == start.release)
            if artifact is not None and self.scene.lacks(start.host, artifact):
                reason = f"{start.host} lacks it, and {start.instance.replica} is to run there"
                upload = Upload(start.host, self.scene.generation, artifact, job.name, reason)
                uploads.setdefault((start.host, artifact), upload)
        return tuple(uploads[key] for key in sorted(uploads))

    def _hold_stop(self, copy: Copy) -> None:
        if self.scene.is_frozen(copy.host):
            self.freeze(copy.replica)
            return
        self.hold(copy.name, HeldKind.STUCK, f"{copy} could not be stopped in this run: see fleetctl status")


def ready_for_s(job: WantedJob, release: Release | None) -> float:
    """How long an instance must have been ready in one piece. Without a probe, ready itself means that it ran for
    so long."""
    probed = release is None or release.spec.ready is not None
    return job.release.spec.update.min_healthy_s if probed else 0.0


def _stop(job: WantedJob, copy: Copy, reason: str) -> Stop:
    release = release_of(job, copy.row)
    policy = release.spec.stop if release is not None else StopPolicy()
    return Stop(copy.host, copy.name, policy.drain_s + policy.timeout_s, reason)


def _by_name(action: Action) -> tuple[str, str]:
    return ("" if isinstance(action, Upload) else str(action.instance), action.host)
