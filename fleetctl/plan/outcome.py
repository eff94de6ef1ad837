"""What a sweep's end means: the exit code, and which releases have shown that they are good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.errors import ExitCode
from fleetctl.model.plan import HARMLESS
from fleetctl.model.snapshot import Phase
from fleetctl.model.verdict import Health
from fleetctl.plan.ownership import own_hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired, WantedJob
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Plan
    from fleetctl.model.snapshot import InstanceReport, Snapshot
    from fleetctl.model.verdict import HostVerdict


def exit_code(
    plan: Plan, verdicts: Mapping[str, HostVerdict], snapshot: Snapshot, desired: Desired, *, failed: bool
) -> ExitCode:
    """The first that applies of yielded, failed, degraded, unreached, as wished. `failed`: some operation of this run
    did. Yielded: a host refused us, because a newer fleetctl drives it; only who gives orders is refused."""
    if snapshot.refusing():
        return ExitCode.YIELDED
    if failed:
        return ExitCode.FAILED
    broken = any(verdict.health is Health.BROKEN for verdict in verdicts.values())
    if broken or any(held.kind not in HARMLESS for held in plan.held):
        return ExitCode.DEGRADED
    unreached = {*snapshot.unreachable(), *({host.name for host in desired.hosts} - set(snapshot.hosts))}
    return ExitCode.UNREACHED if unreached else ExitCode.AS_WISHED


def newly_good(desired: Desired, snapshot: Snapshot, memory: Memory) -> tuple[tuple[str, int], ...]:
    """Wished releases, by job and number, all of whose replicas have been ready for `min_healthy` together, and that
    are not remembered as good yet."""
    found = []
    ours = own_hosts(desired.fleet, snapshot, memory)
    rows = [row for seen in ours.values() for row in seen.report.instances]
    for job in sorted(desired.jobs, key=lambda job: job.name):
        remembered = memory.jobs.get(job.name)
        known = remembered is not None and job.release.number in remembered.good
        if known or job.stopped or not job.replicas:
            continue
        well = {row.name.replica.index for row in rows if row.name.job == job.name and _is_well(job, row)}
        if well >= set(range(job.replicas)):
            found.append((job.name, job.release.number))
    return tuple(found)


def _is_well(job: WantedJob, row: InstanceReport) -> bool:
    """Ready for long enough, as an instance of the wished release or one that is just like it."""
    release = next((known for known in job.known if known.number == row.release), None)
    alike = row.release == job.release.number or (release is not None and release.runs_like(job.release))
    long_enough = job.release.spec.ready is None or (row.ready_for_s or 0.0) >= job.release.spec.update.min_healthy_s
    return alike and row.phase is Phase.READY and long_enough
