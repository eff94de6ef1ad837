"""What to know of a fleet beside its tables: what runs twice, whose words stand, and which troubles are open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.cli.found import doubles
from fleetctl.cli.screen import BAD, DOUBTFUL, Line
from fleetctl.cli.show_history import when
from fleetctl.plan.explain import cordon_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetctl.engine.read import View
    from fleetctl.model.memory import Incident


def mark_lines(view: View, now_wall: float) -> list[Line]:
    """One line each: doubles while they last, cordoned hosts, jobs that are not as their playbook says, incidents."""
    lines = [Line(told, DOUBTFUL) for told in doubles(view.desired, view.snapshot).values()]
    for host, cordon in sorted(view.memory.cordons.items()):
        lines.append(Line(f"{host} is {cordon_text(cordon)}, since {when(cordon.at_wall, now_wall)}", DOUBTFUL))
    lines += [Line(told, DOUBTFUL) for told in _jobs_not_as_their_playbook(view)]
    return lines + [Line(_incident(one, now_wall), BAD) for one in sorted(view.memory.incidents, key=_oldest_first)]


def _jobs_not_as_their_playbook(view: View) -> Iterator[str]:
    """Why one that runs without its playbook still runs is the plan's to say."""
    for name, job in sorted(view.memory.jobs.items()):
        if job.wish.orphan and job.wish.stopped:
            yield f"{name} is gone from {job.wish.owner or 'its playbook'}"
        if job.wish.scaled:
            yield f"{name} was scaled to {job.wish.replicas} by a person: its next deploy sets what its playbook says"


def _incident(one: Incident, now_wall: float) -> str:
    told = "" if one.told else " (not told yet)"
    return f"open since {when(one.since_wall, now_wall)}{told}: {one.what}"


def _oldest_first(one: Incident) -> tuple[float, str, str]:
    return one.since_wall, one.kind, one.subject


def marks_json(view: View) -> dict[str, Any]:
    """`{"doubles": [{"replica", "what"}], "cordons": [CORDON], "incidents": [INCIDENT]}`.

    CORDON is {"host", "drains", "by", "since", "why"}; INCIDENT is {"subject", "kind" ("host", "job", "fleet"), "what",
    "since", "told", "members" [NAME]}. Times are seconds since the epoch.
    """
    return {
        "doubles": [
            {"replica": str(replica), "what": what} for replica, what in doubles(view.desired, view.snapshot).items()
        ],
        "cordons": [
            {"host": host, "drains": cordon.drains, "by": cordon.by, "since": cordon.at_wall, "why": cordon.why}
            for host, cordon in sorted(view.memory.cordons.items())
        ],
        "incidents": [
            {
                "subject": one.subject,
                "kind": one.kind,
                "what": one.what,
                "since": one.since_wall,
                "told": one.told,
                "members": list(one.members),
            }
            for one in sorted(view.memory.incidents, key=_oldest_first)
        ],
    }
