"""What a run learned, as the memory of the next: pure; the store writes it down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fleetctl.model.memory import HostMemory
from fleetctl.model.plan import Start
from fleetctl.model.snapshot import InstanceReport, Phase, Reachable, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Plan
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict


def remember(
    before: Memory, snapshot: Snapshot, judged: Mapping[str, HostVerdict], *, at_start: Mapping[str, HostMemory]
) -> dict[str, HostMemory]:
    """Every host of the snapshot after this look. `at_start` is what was known before the run: it is counted once."""
    remembered = {}
    for name, seen in snapshot.hosts.items():
        known = before.hosts.get(name, HostMemory())
        match seen:
            case Reachable(report, address):
                running = tuple(row for row in report.instances if row.phase.holds_room)
                remembered[name] = HostMemory(address, 0, None, judged[name], running)
            case Unreachable():
                first = at_start.get(name, HostMemory())
                since = snapshot.at if first.silent_since is None else first.silent_since
                remembered[name] = replace(
                    known, silent_runs=first.silent_runs + 1, silent_since=since, verdict=judged[name]
                )
    return remembered


def expect(before: Memory, plan: Plan, desired: Desired) -> dict[str, HostMemory]:
    """The hosts that `plan` places something on, with it: known before the first order, so that an instance whose
    host falls silent right after is missed by nobody."""
    resources = {wanted.name: wanted.release.spec.resources for wanted in desired.jobs}
    placed: dict[str, HostMemory] = {}
    for action in plan.actions:
        if not isinstance(action, Start):
            continue
        row = InstanceReport(
            name=action.instance,
            release=action.release,
            phase=Phase.STARTING,
            ports=action.ports,
            address=action.address,
            resources=resources[action.instance.job],
        )
        known = placed.get(action.host) or before.hosts.get(action.host, HostMemory())
        placed[action.host] = replace(known, instances=(*known.instances, row))
    return placed
