"""What a job asks for, held against itself and its hosts: combinations that can't work are refused before anything.

Each check yields the key it is about, below the job, and a sentence.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from fleetctl.config.quantities import format_duration
from fleetctl.config.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fleetctl.config.source import KeyPath
    from fleetctl.model.host import HostSpec
    from fleetctl.model.job import JobSpec, Probe, RestartPolicy

Complaint = tuple["KeyPath", str]

_INTERVAL_MIN_S = 0.1  # a probe more often than that is load, not knowledge
_WATCHDOG_MIN_S = 1.0
_BACKOFF_MIN_S = 0.01
_JITTER_LEAST = 0.75  # hosts vary each pause by a quarter
_MEMORY_MIN = 1024 * 1024
_LOG_MIN = 4096  # below that a file is cut within a few lines


def impossible(spec: JobSpec, hosts: Sequence[HostSpec]) -> Iterator[Complaint]:
    """What can't work in a job that may run on these hosts."""
    return chain(
        _fixed_ports(spec),
        _probes(spec),
        _watchdogs(spec),
        _restart(spec),
        _update(spec),
        _resources(spec),
        _stop_and_log(spec),
        _labels(spec, hosts),
        _surge(spec, hosts),
    )


def notice_s(probe: Probe) -> float:
    """How long a failure stays unnoticed at most: it begins right after a good probe, and the last one times out.

    While the grace lasts no failure counts, not even of an instance that was ready at once.
    """
    longest = probe.grace_s + probe.failures * max(probe.interval_s, probe.timeout_s) + probe.timeout_s
    return round(longest, 6)  # 200 ms three times over is no more than 600 ms


def _fixed_ports(spec: JobSpec) -> Iterator[Complaint]:
    taken: dict[int, str] = {}
    for port in spec.ports:
        if port.fixed is None:
            continue
        if port.fixed in taken:
            yield ("ports", port.name), f'is {port.fixed}, as "{taken[port.fixed]}" is'
        taken.setdefault(port.fixed, port.name)


def _probes(spec: JobSpec) -> Iterator[Complaint]:
    probes = (("ready", spec.ready), ("alive", spec.alive.probe if spec.alive else None))
    for key, probe in probes:
        if probe is not None and probe.interval_s < _INTERVAL_MIN_S:
            yield (key, "interval"), "must be at least 100ms"
        if probe is not None and probe.timeout_s <= 0:
            yield (key, "timeout"), "must be longer than 0s"


def _watchdogs(spec: JobSpec) -> Iterator[Complaint]:
    alive = spec.alive
    if alive and alive.heartbeat_s is not None and alive.heartbeat_s < _WATCHDOG_MIN_S:
        yield ("alive", "heartbeat"), "must be at least 1s: a busy host would end what is well"
    if alive and alive.progress and alive.progress.stalled_s < _WATCHDOG_MIN_S:
        yield ("alive", "progress", "stalled"), "must be at least 1s: a busy host would end what is well"


def _restart(spec: JobSpec) -> Iterator[Complaint]:
    restart = spec.restart
    least, most = format_duration(restart.backoff_min_s), format_duration(restart.backoff_max_s)
    if restart.backoff_min_s > restart.backoff_max_s:
        yield ("restart", "backoff"), f"must begin with the shorter pause, as {most}..{least} does"
        return
    if restart.backoff_min_s < _BACKOFF_MIN_S:
        yield ("restart", "backoff"), f"must begin with at least 10ms, not {least}: a loop without a pause is load"
        return
    if restart.reset_s <= 0:
        yield ("restart", "reset"), "must be longer than 0s"
    fastest = _fastest_s(restart)
    if fastest > restart.alarm_s:
        wished = f"{restart.alarm_exits} in {format_duration(restart.alarm_s)}"
        takes = f"{restart.alarm_exits} exits take at least {format_duration(fastest)}"
        yield ("restart", "alarm"), f"{wished} would never be told: with pauses of {least}..{most}, {takes}"


def _fastest_s(restart: RestartPolicy) -> float:
    """The shortest time in which so many exits can come: at once after each start, with every pause cut by its jitter,
    unless being ready for so long that the pauses begin anew is quicker."""
    pause, total = restart.backoff_min_s, 0.0
    for _ in range(restart.alarm_exits - 1):
        anew = restart.reset_s + restart.backoff_min_s * _JITTER_LEAST
        total += min(pause * _JITTER_LEAST, anew)
        pause = min(pause * 2, restart.backoff_max_s)
    return round(total, 3)


def _update(spec: JobSpec) -> Iterator[Complaint]:
    update = spec.update
    probe = spec.ready if spec.ready and spec.ready.kind != "notify" else None  # what nobody asks takes no time to tell
    healthy = format_duration(update.min_healthy_s)
    if update.min_healthy_s <= 0:
        yield ("update", "min_healthy"), "must be longer than 0s: such an update always succeeds"
    elif probe and update.min_healthy_s < notice_s(probe):
        noticed = f"{format_duration(notice_s(probe))} in which the ready probe notices a failure"
        grace = f"{format_duration(probe.grace_s)} of grace, " if probe.grace_s else ""
        why = f"{grace}{probe.failures} failures, {format_duration(probe.interval_s)} apart"
        message = f"{healthy} is shorter than the {noticed} ({why}): such an update always succeeds"
        yield ("update", "min_healthy"), message
    earliest = round(probe.successes * probe.interval_s, 6) if probe else 0.0
    needed = round(earliest + update.min_healthy_s, 6)
    if update.deadline_s <= needed:
        need = format_duration(needed)
        parts = f"{format_duration(earliest)} until ready and {healthy} of min_healthy" if probe else "min_healthy"
        yield ("update", "deadline"), f"must be longer than {need} ({parts}): such an update always fails"


def _resources(spec: JobSpec) -> Iterator[Complaint]:
    if 0 < spec.resources.memory < _MEMORY_MIN:
        yield ("resources", "memory"), "must be at least 1Mi, or 0: it bounds what a program may use"


def _stop_and_log(spec: JobSpec) -> Iterator[Complaint]:
    if spec.stop.timeout_s <= 0:
        yield ("stop", "timeout"), "must be longer than 0s"
    if spec.log.size < _LOG_MIN:
        yield ("log", "size"), "must be at least 4Ki"


def _labels(spec: JobSpec, hosts: Sequence[HostSpec]) -> Iterator[Complaint]:
    """A label that no host has is a typo; one whose value no host has leaves no host to run on."""
    known = sorted({name for host in hosts for name, _ in host.labels})
    where = f'no host of "{spec.hosts}" has a label'
    unknown = False
    for constraint in spec.constraints:
        if constraint.label not in known:
            unknown = True
            yield ("constraints",), f'{where} "{constraint.label}"{did_you_mean(constraint.label, known)}'
    if spec.spread is not None and spec.spread not in known:
        yield ("spread",), f'{where} "{spec.spread}"{did_you_mean(spec.spread, known)}'
    if not unknown and not fitting(spec, hosts):
        rules = " and ".join(str(constraint) for constraint in spec.constraints)
        yield ("constraints",), f'no host of "{spec.hosts}" has {rules}'


def fitting(spec: JobSpec, hosts: Sequence[HostSpec]) -> list[HostSpec]:
    """The hosts whose labels are as the constraints want them."""
    return [
        host
        for host in hosts
        if all((host.label(rule.label) == rule.value) == (rule.operator == "==") for rule in spec.constraints)
    ]


def _surge(spec: JobSpec, hosts: Sequence[HostSpec]) -> Iterator[Complaint]:
    """Without a budget each new copy stands beside the old one: a fixed port then needs a host to spare."""
    fixed = next((port for port in spec.ports if port.fixed is not None), None)
    room = len(fitting(spec, hosts))
    if fixed is None or spec.update.budget(spec.replicas) > 0 or not 0 < room <= spec.replicas:
        return
    said = "" if spec.update.max_unavailable == 0 else f" ({spec.update.max_unavailable} of {spec.replicas} is 0)"
    why = f"port {fixed.name} is fixed to {fixed.fixed}, so a new copy needs a host without an old one"
    full = f"{spec.replicas} replicas fill all {room}" if room > 1 else "there is one host"
    yield ("update", "max_unavailable"), f"must be at least 1{said}: {why}, and {full}"
