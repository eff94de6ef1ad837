"""Which hosts are asked, as witnesses, about one that does not answer us. Asks nobody itself: see `engine.look`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.model.plan import Question
from fleetctl.model.snapshot import Silence
from fleetctl.plan.verdicts import proves_life

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.host import HostSpec
    from fleetctl.model.job import Probe, Release
    from fleetctl.model.memory import Memory
    from fleetctl.model.snapshot import InstanceReport, Reachable, Snapshot

WITNESSES = 3
BANNER_TIMEOUT_S = 2.0
PROBE_TIMEOUT_MAX_S = 10.0  # a verdict waits for the slowest answer: a job's own limit counts up to here
WORTH_ASKING = (Silence.SILENT, Silence.REFUSED, Silence.HUNG, Silence.JUMP)  # the other layers show a living host


def questions(desired: Desired, snapshot: Snapshot, memory: Memory) -> tuple[Question, ...]:
    """What up to three witnesses are asked about each silent, refused or hung host: its SSH banner, and the ready
    probes of the instances last known there. Sorted; nothing about a host that answered, or answered with a no.

    They are asked of a host behind a jump host that can't be passed too: that never makes it lost, but whether it
    lives is what a person wants to know next.
    """
    specs = {host.name: host for host in desired.hosts}
    releases = _releases(desired, memory)
    asked: list[Question] = []
    for name, seen in snapshot.unreachable().items():
        if name not in specs or seen.silence not in WORTH_ASKING:
            continue
        address = peer_address(specs[name], memory)
        targets = list(_targets(name, specs[name].port, seen.silence, memory, releases))
        for witness, reached in _witnesses(specs[name], address, specs, snapshot.reachable()):
            asked += [
                Question(
                    about=name,
                    witness=witness,
                    address=address,
                    port=port,
                    instance=instance.name if instance else None,
                    reached_before=reached,
                    **_asked(probe),
                )
                for port, probe, instance in targets
            ]
    return tuple(sorted(asked))


def _asked(probe: Probe | None) -> dict[str, Any]:
    """What is asked at a port: the whole of a probe, or the SSH banner."""
    if probe is None:
        return {"kind": "banner", "timeout_s": BANNER_TIMEOUT_S}
    page = {"path": probe.path, "status": probe.status, "header": probe.header, "body": probe.body}
    return {"kind": probe.kind, "timeout_s": min(probe.timeout_s, PROBE_TIMEOUT_MAX_S), **page}


def peer_address(host: HostSpec, memory: Memory) -> str:
    """Where its peers reach it: what the inventory says, else where it was last, else where we connect to."""
    known = memory.hosts.get(host.name)
    return host.peer_address or (known.last_address if known else "") or host.address


def _witnesses(
    about: HostSpec, address: str, specs: Mapping[str, HostSpec], reachable: Mapping[str, Reachable]
) -> list[tuple[str, bool]]:
    """Who is asked, and whether it has reached the host before: those first, and no two of a zone before all zones."""
    reached = {
        name: any(
            reach.ok and reach.host == about.name and (reach.address, reach.port) == (address, about.port)
            for reach in seen.report.reach
        )
        for name, seen in reachable.items()
    }
    chosen: list[str] = []
    zones: list[str | None] = []
    while len(chosen) < min(WITNESSES, len(reached)):
        left = sorted(set(reached) - set(chosen))
        best = min(left, key=lambda name: (not reached[name], zones.count(_zone(name, specs)), name))
        chosen.append(best)
        zones.append(_zone(best, specs))
    return [(name, reached[name]) for name in chosen]


def _zone(name: str, specs: Mapping[str, HostSpec]) -> str | None:
    return specs[name].zone if name in specs else None


def _targets(
    host: str,
    ssh_port: int,
    silence: Silence,
    memory: Memory,
    releases: Mapping[tuple[str, int], Release],
) -> Iterator[tuple[int, Probe | None, InstanceReport | None]]:
    """What to try at its address: port, probe (absent: the SSH banner) and whose. Only what runs there can tell how a
    command ends, or hear a notification."""
    yield ssh_port, None, None
    known = memory.hosts.get(host)
    for instance in known.instances if known else ():
        release = releases.get((instance.name.job, instance.release))
        probe = release.spec.ready if release else None
        ports = dict(instance.ports)
        if probe is None or not probe.asked_over_network or probe.port not in ports:
            continue
        if instance.phase.wants_to_run and proves_life(probe.kind, silence):
            yield ports[probe.port], probe, instance


def _releases(desired: Desired, memory: Memory) -> dict[tuple[str, int], Release]:
    remembered = {
        (name, number): release for name, job in memory.jobs.items() for number, release in job.releases.items()
    }
    wanted = {(job.name, release.number): release for job in desired.jobs for release in job.known}
    return {**remembered, **wanted}
