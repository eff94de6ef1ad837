"""One sign on many hosts at one time: what began together has one cause, and that is not three broken machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.verdict import Sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.instant import Instant

TOGETHER_FROM_HOSTS = 3
TOGETHER_WITHIN_S = 600.0

_WHAT = {
    Sign.NONE: ("are in trouble", "see what they share"),
    Sign.SILENT: ("are silent", "see their network, their power and our own way to them"),
    Sign.REFUSED: ("refuse connections", "see what was done to their sshd, and to firewalls"),
    Sign.HUNG: ("hang", "see the storage and the hypervisor they share"),
    Sign.LOGIN: ("don't let us log in", "see our key, and who changed their users"),
    Sign.HOST_KEY: ("show another host key", "see whether they were installed anew, or who stands in between"),
    Sign.AGENT: ("let us in but give no report", "see their disks, and what was installed on all of them"),
    Sign.JUMP: ("can't be reached through their jump host", "see the jump host"),
    Sign.FLAPPING: ("come and go", "see the network between us and them"),
    Sign.CLOCK: ("have a wrong clock", "see their time server"),
    Sign.IDENTITY: ("have another identity", "see whether addresses were given anew"),
}


def began_together(since: Mapping[str, Instant]) -> tuple[tuple[str, ...], ...]:
    """Groups of three or more whose instants lie within ten minutes, each sorted by name. No host is in two."""
    order = sorted(since, key=lambda name: (since[name], name))
    groups: list[tuple[str, ...]] = []
    while order:
        group = [name for name in order if since[name] - since[order[0]] <= TOGETHER_WITHIN_S]
        if len(group) >= TOGETHER_FROM_HOSTS:
            groups.append(tuple(sorted(group)))
            order = order[len(group) :]
        else:
            order = order[1:]
    return tuple(groups)


def told_together(sign: Sign, names: tuple[str, ...]) -> str:
    """`3 hosts are silent since within 10 min (h1, h2, h3): one cause is likely: …`."""
    what, where = _WHAT[sign]
    return f"{len(names)} hosts {what} since within 10 min ({', '.join(names)}): one cause is likely: {where}"
