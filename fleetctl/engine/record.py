"""What a run learned, as the memory of the next: pure; the store writes it down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fleetctl.engine.events import Outcome
from fleetctl.model.memory import HostMemory
from fleetctl.model.plan import AwaitReady, Start, Stop
from fleetctl.model.resources import Bytes
from fleetctl.model.snapshot import InstanceReport, Phase, Reachable, Silence, Unreachable
from fleetctl.model.verdict import Sign
from fleetctl.plan.flapping import answered, turns_after
from fleetctl.plan.verdicts import is_another_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fleetctl.engine.events import ActionResult
    from fleetctl.model.desired import Desired
    from fleetctl.model.instant import Instant
    from fleetctl.model.memory import Failure, Memory
    from fleetctl.model.plan import Plan
    from fleetctl.model.replica import InstanceName
    from fleetctl.model.snapshot import Observation, Snapshot
    from fleetctl.model.verdict import HostVerdict


COUNTS_AS_SILENCE = (Silence.SILENT, Silence.HUNG)  # the other layers show a machine that lives, or nothing of it


def forget_old_names(fleet: str, memory: Memory, snapshot: Snapshot) -> Memory:
    """`memory` without what a host that was not looked at is said to run, where a host that answers has that itself.

    An instance's name is given once, so it is the same machine: it has another name in the inventory now.
    """
    ours = [seen.report for seen in snapshot.reachable().values() if seen.report.is_open_to(fleet)]
    seen = {row.name for report in ours for row in report.instances}
    hosts = {
        name: host
        if name in snapshot.hosts
        else replace(host, instances=tuple(row for row in host.instances if row.name not in seen))
        for name, host in memory.hosts.items()
    }
    return replace(memory, hosts=hosts)


def with_failures(memory: Memory, found: tuple[Failure, ...], *, forgiven: frozenset[str]) -> Memory:
    """`memory` with what failed since the last look, but for jobs that this very run gives another try."""
    counted = (failure for failure in found if failure.replica.job not in forgiven)
    return replace(memory, failures=tuple(sorted((*memory.failures, *counted), key=lambda failure: failure.at)))


def awaited_in_vain(results: Iterable[ActionResult]) -> frozenset[InstanceName]:
    """Those whose hosts answered that they did not get ready: no answer says nothing of a program."""
    return frozenset(
        result.action.instance
        for result in results
        if isinstance(result.action, AwaitReady) and result.outcome is Outcome.FAILED
    )


def remember(
    desired: Desired,
    before: Memory,
    snapshot: Snapshot,
    judged: Mapping[str, HostVerdict],
    *,
    at_start: Mapping[str, HostMemory],
    behind: Mapping[str, frozenset[str]],
) -> dict[str, HostMemory]:
    """Every known host after this look. `at_start` is what was known before the run: it is counted once. `behind` is
    the plan's: the jobs that are to be brought up to date, by host.

    What runs under another fleet's root is not ours to remember.
    """
    specs = {host.name: host for host in desired.hosts}
    remembered = {name: host for name, host in before.hosts.items() if name not in snapshot.hosts}
    for name, seen in snapshot.hosts.items():
        known = _with_turns(before.hosts.get(name, HostMemory()), seen, snapshot.at)
        known = replace(known, behind=behind.get(name, frozenset()))
        match seen:
            case Reachable(report) if is_another_root(report, known, desired.fleet):  # what was there is remembered
                remembered[name] = replace(known, silent_runs=0, silent_since=None, verdict=judged[name])
            case Reachable(report, address):
                ours = report.instances if report.is_open_to(desired.fleet) else ()
                remembered[name] = HostMemory(
                    last_address=address,
                    verdict=judged[name],
                    instances=tuple(_lasting(row) for row in ours if row.phase.holds_room),
                    spec=specs.get(name),
                    host_id=report.host_id,
                    behind=known.behind,
                    answered=known.answered,
                    turns=known.turns,
                )
            case Unreachable(silence) if silence not in COUNTS_AS_SILENCE or judged[name].sign is Sign.JUMP:
                remembered[name] = replace(known, silent_runs=0, silent_since=None, verdict=judged[name])
            case Unreachable():
                first = at_start.get(name, HostMemory())
                since = snapshot.at if first.silent_since is None else first.silent_since
                remembered[name] = replace(
                    known, silent_runs=first.silent_runs + 1, silent_since=since, verdict=judged[name]
                )
    return remembered


def _with_turns(known: HostMemory, seen: Observation, at: Instant) -> HostMemory:
    did = answered(seen)
    return replace(known, answered=known.answered if did is None else did, turns=turns_after(known, did, at))


def expect(before: Memory, plan: Plan, desired: Desired) -> dict[str, HostMemory]:
    """The hosts that `plan` gives orders to, as they may be once those are on their way.

    What it starts is known before the first order, so that an instance whose host falls silent right after is missed
    by nobody. What it stops may run or not: it is no longer `ready`, for its silence would prove nothing of its host.
    """
    resources = {wanted.name: wanted.release.spec.resources for wanted in desired.jobs}
    expected: dict[str, HostMemory] = {}
    for action in plan.actions:
        known = expected.get(action.host) or before.hosts.get(action.host, HostMemory())
        if isinstance(action, Stop):
            rows = tuple(_doubtful(row) if row.name == action.instance else row for row in known.instances)
            expected[action.host] = replace(known, instances=rows)
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
        expected[action.host] = replace(known, instances=(*known.instances, row))
    return expected


def _lasting(row: InstanceReport) -> InstanceReport:
    """Without what grows by itself: a look at what has not changed is no news, and is not written down."""
    return replace(row, age_s=0.0, ready_for_s=None, dropped=Bytes(0), said="", usage=None, story=None)


def _doubtful(row: InstanceReport) -> InstanceReport:
    return replace(row, phase=Phase.UNREADY, ready_for_s=None) if row.phase is Phase.READY else row
