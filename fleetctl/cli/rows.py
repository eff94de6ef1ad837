"""What status and hosts show, as plain rows: the table, the plain lines and the JSON form are all made from these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetctl.model.memory import Cordon
from fleetctl.model.plan import Start, Stop
from fleetctl.model.replica import ReplicaName
from fleetctl.model.snapshot import Event, Phase, Problem, Reachable, StuckProcess, Usage
from fleetctl.plan.explain import remedy
from fleetctl.plan.room import board_of
from fleetctl.plan.scene import Scene

if TYPE_CHECKING:
    from fleetctl.engine.read import View
    from fleetctl.model.desired import Desired, WantedJob
    from fleetctl.model.host import HostSpec
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Plan
    from fleetctl.model.snapshot import InstanceReport, Snapshot
    from fleetctl.plan.room import Room

UNKNOWN = "unknown"  # on a host that gives no report: neither there nor gone
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job: what is wished of it and how much of that is so."""

    job: str
    replicas: int  # wished
    ready: int  # of the wished ones, ready on a host that answers
    release: int  # wished
    good_release: int | None  # the newest that was ever wholly ready: what heal starts
    running_releases: tuple[int, ...]
    stopped: bool

    @property
    def whole(self) -> bool:
        return self.stopped or (self.ready == self.replicas and self.running_releases in ((), (self.release,)))

    def sentence(self) -> str:
        """`web: 4 of 4 ready, release 14`; while it rolls, `web: 4 of 4 ready; release 15 is wished, …`."""
        if self.stopped:
            return f"{self.job}: stopped by wish" + (f", {self.ready} still ready" if self.ready else "")
        others = [number for number in self.running_releases if number != self.release]
        ready = f"{self.job}: {self.ready} of {self.replicas} ready"
        if not others:
            return f"{ready}, release {self.release}"
        return f"{ready}; release {self.release} is wished, {_numbers(others)} {'run' if others[1:] else 'runs'}"


def _numbers(releases: list[int]) -> str:
    return f"release{'s' if len(releases) > 1 else ''} {', '.join(map(str, releases))}"


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance, as its host tells it; `unknown`, as it was last told, where the host gives no report.

    A wished replica without any instance is a row too: `missing`, without a host.
    """

    job: str
    replica: str
    instance: str | None
    host: str | None
    phase: str
    address: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    release: int | None = None
    pid: int | None = None
    ready_for_s: float | None = None
    ever_ready: bool = False
    restarts: int = 0
    last_exit: str | None = None
    note: str = ""
    dropped_bytes: int = 0
    reason: str = ""  # the host's words: why it was started, and what was noted since
    problem: Problem | None = None
    said: str = ""
    limits: str = ""  # empty: not known
    usage: Usage | None = None
    stuck: tuple[StuckProcess, ...] = ()
    story: tuple[Event, ...] | None = None


@dataclass(frozen=True, slots=True)
class HostRow:
    """One host: what is believed of it, why and since when, and what it has room for."""

    host: str
    address: str
    verdict: str
    because: str
    since_s: float
    labels: tuple[tuple[str, str], ...]
    instances: tuple[str, ...]
    cpu_milli: tuple[int, int] | None  # free, whole; absent where the host gives no report
    memory_bytes: tuple[int, int] | None
    disk_bytes: tuple[int, int] | None
    limits: str
    kernel: str
    boot: str
    generation: int | None
    notes: tuple[str, ...]
    hint: str
    after_reboot: str = ""  # what starts its agent then; empty: not known
    sign: str = ""  # what the verdict rests on, in one word; empty where it is healthy
    cordon: Cordon | None = None
    gone: bool = False  # from the inventory
    behind: tuple[str, ...] = ()  # jobs to be brought up to date there before all else


def job_rows(desired: Desired, snapshot: Snapshot, memory: Memory | None = None) -> tuple[JobRow, ...]:
    """One row a job, by name. Without `memory` what is on unreachable hosts does not count as running."""
    return tuple(_job_row(wanted, snapshot, memory) for wanted in sorted(desired.jobs, key=lambda job: job.name))


def _job_row(wanted: WantedJob, snapshot: Snapshot, memory: Memory | None) -> JobRow:
    rows = [row for _, row in _reported(snapshot) if row.name.job == wanted.name]
    known = rows + ([row for _, row in _unknown(snapshot, memory) if row.name.job == wanted.name] if memory else [])
    ready = {row.name.replica.index for row in rows if row.phase is Phase.READY}
    wished = ready if wanted.stopped else {index for index in ready if index < wanted.replicas}
    return JobRow(
        job=wanted.name,
        replicas=wanted.replicas,
        ready=len(wished),
        release=wanted.release.number,
        good_release=wanted.fallback.number if wanted.fallback else None,
        running_releases=tuple(sorted({row.release for row in known if row.phase.holds_room})),
        stopped=wanted.stopped,
    )


def instance_rows(view: View) -> tuple[InstanceRow, ...]:
    """All that runs, may run or should run, by replica and newest first; what has stopped is history and left out."""
    return tuple(row for row in all_rows(view) if row.phase != Phase.STOPPED.value)


def all_rows(view: View) -> tuple[InstanceRow, ...]:
    """These, and what has stopped as far as hosts still know of it."""
    notes = _notes(view.plan)
    rows = [_instance_row(host, row, row.phase.value, notes) for host, row in _reported(view.snapshot)]
    rows += [_instance_row(host, row, UNKNOWN, notes) for host, row in _unknown(view.snapshot, view.memory)]
    there = {row.replica for row in rows if row.phase not in (Phase.FAILED.value, Phase.STOPPED.value)}
    rows += _missing_rows(view.desired, there, notes)
    return tuple(sorted(rows, key=_by_replica))


def _by_replica(row: InstanceRow) -> tuple[ReplicaName, int, str]:
    epoch = int(row.instance.partition("@")[2]) if row.instance else 0
    return ReplicaName.parse(row.replica), -epoch, row.host or ""


def _reported(snapshot: Snapshot) -> list[tuple[str, InstanceReport]]:
    return [(host, row) for host, seen in snapshot.reachable().items() for row in seen.report.instances]


def _unknown(snapshot: Snapshot, memory: Memory | None) -> list[tuple[str, InstanceReport]]:
    """What was last known to run on hosts that give no report now."""
    hosts = memory.hosts if memory else {}
    return [(host, row) for host in snapshot.unreachable() if host in hosts for row in hosts[host].instances]


def _instance_row(host: str, row: InstanceReport, phase: str, notes: dict[str, str]) -> InstanceRow:
    return InstanceRow(
        job=row.name.job,
        replica=str(row.name.replica),
        instance=str(row.name),
        host=host,
        phase=phase,
        address=row.address,
        ports=row.ports,
        release=row.release,
        pid=None if phase == UNKNOWN else row.pid,
        ready_for_s=None if phase == UNKNOWN else row.ready_for_s,
        ever_ready=row.ever_ready,
        restarts=row.restarts,
        last_exit=row.last_exit,
        note=_instance_note(host, row, phase, notes),
        dropped_bytes=row.dropped,
        reason=row.reason,
        problem=row.problem,
        said=row.said,
        limits=row.limits,
        usage=row.usage,
        stuck=row.stuck,
        story=row.story,
    )


def _instance_note(host: str, row: InstanceReport, phase: str, notes: dict[str, str]) -> str:
    own = notes.get(str(row.name), "")
    of_replica = own or notes.get(str(row.name.replica), "")
    if phase == UNKNOWN:
        return f"{host} gives no report" + (f"; {of_replica}" if of_replica else "")
    if row.problem is not None:
        return f"{row.problem.kind.value}: {row.problem.detail}"
    if row.phase is Phase.STOPPED:
        return row.reason
    return own if row.phase is Phase.READY else of_replica or row.reason


def _notes(plan: Plan) -> dict[str, str]:
    """In a few words: what the plan would do with a replica or instance, else that it is held back. The reasons are
    the plan's own lines."""
    held = {note.subject: f"held back: {note.kind.value}" for note in plan.held}
    starts = {
        str(action.instance.replica): f"heal would start it on {action.host}"
        for action in plan.actions
        if isinstance(action, Start)
    }
    stops = {str(action.instance): "heal would stop it" for action in plan.actions if isinstance(action, Stop)}
    return {**held, **starts, **stops}


def _missing_rows(desired: Desired, there: set[str], notes: dict[str, str]) -> list[InstanceRow]:
    wished = [
        (wanted.name, str(ReplicaName(wanted.name, index)))
        for wanted in desired.jobs
        if not wanted.stopped
        for index in range(wanted.replicas)
    ]
    return [
        InstanceRow(job, replica, None, None, MISSING, note=notes.get(replica) or notes.get(job, ""))
        for job, replica in wished
        if replica not in there
    ]


def host_rows(view: View) -> tuple[HostRow, ...]:
    """One row a host, in the inventory's order."""
    scene = Scene.of(view.desired, view.snapshot, view.verdicts, view.memory, view.snapshot.at)
    rooms = board_of(scene).rooms
    return tuple(_host_row(host, view, rooms.get(host.name)) for host in view.desired.hosts)


def _host_row(host: HostSpec, view: View, room: Room | None) -> HostRow:
    verdict, seen = view.verdicts[host.name], view.snapshot.hosts[host.name]
    report = seen.report if isinstance(seen, Reachable) else None
    known = view.memory.hosts.get(host.name)
    rows = report.instances if report else known.instances if known else ()
    return HostRow(
        host=host.name,
        address=host.address if host.port == 22 else f"{host.address}:{host.port}",
        verdict=verdict.health.value,
        because=verdict.evidence,
        since_s=max(0.0, view.snapshot.at - verdict.since),
        labels=host.labels,
        instances=tuple(str(row.name) for row in rows if row.phase.holds_room),
        cpu_milli=(room.free.cpu, room.capacity.cpu) if room else None,
        memory_bytes=(room.free.memory, room.capacity.memory) if room else None,
        disk_bytes=_disk(room) if room else None,
        limits=report.facts.limits if report else "",
        kernel=report.facts.kernel if report else "",
        boot=report.boot if report else "",
        generation=report.guard.generation if report else None,
        notes=report.notes if report else (),
        hint=remedy(host.name, verdict, seen),
        after_reboot=report.facts.after_reboot if report else "",
        sign=verdict.sign.value,
        cordon=view.memory.cordons.get(host.name),
        gone=host.name in view.desired.gone,
        behind=tuple(sorted(known.behind)) if known else (),
    )


def _disk(room: Room) -> tuple[int, int]:
    """What is neither claimed nor, where the file system was asked, written full."""
    free = room.free.disk if room.disk_free is None else min(room.free.disk, room.disk_free)
    return free, room.capacity.disk
