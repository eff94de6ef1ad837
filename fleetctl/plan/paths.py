"""Hosts that are reached through the same jump hosts are one path: when all of it fails, it may be the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.snapshot import Silence, Unreachable

if TYPE_CHECKING:
    from fleetctl.model.desired import Desired
    from fleetctl.model.host import Jump
    from fleetctl.model.snapshot import Snapshot


def path_of(jumps: tuple[Jump, ...]) -> str:
    """`ops@bastion, then inner`, for people; nothing where a host is reached directly."""
    return ", then ".join(str(jump) for jump in jumps)


def behind(desired: Desired, snapshot: Snapshot, jumps: tuple[Jump, ...]) -> tuple[str, ...]:
    """The hosts of one path that were looked at, sorted."""
    alike = [host.name for host in desired.hosts if jumps and host.jumps == jumps]
    return tuple(sorted(name for name in alike if name in snapshot.hosts))


def doubtful_paths(desired: Desired, snapshot: Snapshot) -> dict[str, str]:
    """By host that does not answer: why that may be its path's fault, and not its own.

    Either its jump host could not be passed, if only on the way to another host, or nothing behind it answers.
    """
    doubts = {}
    silent = snapshot.unreachable()
    paths = {host.jumps for host in desired.hosts if host.jumps}
    for jumps in sorted(paths, key=path_of):
        hosts = behind(desired, snapshot, jumps)
        if why := _why_doubtful(hosts, path_of(jumps), silent):
            doubts.update({name: why for name in hosts if name in silent})
    return doubts


def _why_doubtful(hosts: tuple[str, ...], path: str, silent: dict[str, Unreachable]) -> str:
    stopped = [name for name in hosts if name in silent and silent[name].silence is Silence.JUMP]
    if stopped:
        return f"{path}, which it is behind, can't be passed"
    if hosts and all(name in silent for name in hosts):
        whole = f"all {len(hosts)} hosts" if len(hosts) > 1 else "the only host"
        return f"{whole} behind {path} fail{'' if len(hosts) > 1 else 's'}: the path may be what is broken"
    return ""
