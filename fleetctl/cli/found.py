"""What a heal found before it did anything: hosts in trouble, replicas that are missing and why, or that run twice.

One line each; what is held back is told where it needs a human, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.cli.screen import BAD, DOUBTFUL, Line
from fleetctl.model.plan import Start
from fleetctl.model.replica import ReplicaName
from fleetctl.model.snapshot import Phase
from fleetctl.model.verdict import Health

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleetctl.engine.events import PlanMade
    from fleetctl.model.desired import Desired
    from fleetctl.model.snapshot import InstanceReport, Snapshot
    from fleetctl.model.verdict import HostVerdict

FOUND = "found: "


def found_lines(made: PlanMade) -> list[Line]:
    """`found: h3 is lost: …`, `found: web.2 was on h3, which is lost`, `found: web.1 runs twice: …`."""
    plan, snapshot = made.plan, made.snapshot
    lines = [Line(FOUND + told, _style(verdict)) for told, verdict in _hosts_in_trouble(plan.verdicts)]
    lines += [Line(FOUND + told, DOUBTFUL) for told in _missing(made)]
    return lines + [Line(FOUND + told, DOUBTFUL) for told in doubles(made.desired, snapshot).values()]


def _style(verdict: HostVerdict) -> str:
    return DOUBTFUL if verdict.health is Health.SUSPECT else BAD


def _hosts_in_trouble(verdicts: Mapping[str, HostVerdict]) -> Iterator[tuple[str, HostVerdict]]:
    for name, verdict in sorted(verdicts.items()):
        if verdict.health is not Health.HEALTHY:
            yield f"{name} is {verdict.health.value}: {verdict.evidence}", verdict


def _missing(made: PlanMade) -> Iterator[str]:
    """Each wished replica of which no ready instance was seen, where something is known of why."""
    starts = {action.instance.replica: action for action in made.plan.actions if isinstance(action, Start)}
    seen = _live(made.snapshot, made.desired)
    held = {note.subject: note for note in sorted(made.plan.held, reverse=True)}
    evidence = [f": {verdict.evidence}" for verdict in made.plan.verdicts.values()]
    for job in sorted(made.desired.jobs, key=lambda job: job.name):
        for replica in (ReplicaName(job.name, index) for index in range(0 if job.stopped else job.replicas)):
            copies = seen.get(replica, [])
            if any(row.phase is Phase.READY for _, row in copies):
                continue
            if replica in starts:
                reason = starts[replica].reason
                yield next((reason.removesuffix(end) for end in evidence if reason.endswith(end)), reason)
            elif copies:
                host, row = copies[0]
                yield f"{row.name} on {host} is not ready: {row.phase.value}"
            elif (note := held.get(str(replica))) is not None:
                yield f"{replica} is missing: {note.kind.value}"


def doubles(desired: Desired, snapshot: Snapshot) -> dict[ReplicaName, str]:
    """The replicas that are seen to run more than once, each with which copy serves until when."""
    return {
        replica: _double(replica, copies)
        for replica, copies in sorted(_live(snapshot, desired).items())
        if len({row.name for _, row in copies}) > 1
    }


def _double(replica: ReplicaName, copies: list[tuple[str, InstanceReport]]) -> str:
    """`web.1 runs twice: web.1@40 on h1 serves until web.1@47 on h3 is ready`."""
    (host, newest), *older = copies
    times = {2: "twice"}.get(len(copies), f"{len(copies)} times")
    serving = [f"{row.name} on {where}" for where, row in older]
    listed, s = " and ".join(serving), "" if len(serving) > 1 else "s"
    if newest.phase is Phase.READY or newest.ever_ready:
        return f"{replica} runs {times}: {listed} end{s}, superseded by {newest.name} on {host}"
    return f"{replica} runs {times}: {listed} serve{s} until {newest.name} on {host} is ready"


def _live(snapshot: Snapshot, desired: Desired) -> dict[ReplicaName, list[tuple[str, InstanceReport]]]:
    """What is seen to run of each replica and is not being stopped, newest first."""
    found: dict[ReplicaName, list[tuple[str, InstanceReport]]] = {}
    for host, seen in sorted(snapshot.reachable().items()):
        for row in seen.report.instances if seen.report.is_open_to(desired.fleet) else ():
            if row.phase.wants_to_run:
                found.setdefault(row.name.replica, []).append((host, row))
    return {replica: sorted(copies, key=lambda copy: -copy[1].name.epoch) for replica, copies in found.items()}
