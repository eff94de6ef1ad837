"""A plan, for people and as JSON: what would be done and why, and what is held back and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetctl.cli.actions import action_json, will
from fleetctl.cli.screen import BAD, DIM, DOUBTFUL, STRONG, Line
from fleetctl.cli.text import count
from fleetctl.model.plan import HARMLESS, Held
from fleetctl.model.verdict import Health
from fleetctl.plan.explain import remedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.errors import ExitCode
    from fleetctl.model.plan import Plan
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict


def plan_lines(plan: Plan) -> list[Line]:
    """The stages in order, each action with its reason, then what is held back. Nothing where there is nothing."""
    lines: list[Line] = []
    if plan.actions:
        stages, steps = count(len(plan.stages), "stage"), count(len(plan.actions), "action")
        lines.append(Line(f"plan {plan.generation}: {steps} in {stages}, one stage after the other", STRONG))
    for number, stage in enumerate(plan.stages, start=1):
        lines.append(Line(f"stage {number}", DIM))
        lines += [Line(f"  {will(action)}: {action.reason}") for action in stage.actions]
    return lines + held_lines(plan)


def held_lines(plan: Plan) -> list[Line]:
    """What is not done, and why. Why a host is doubted is said where hosts are told of, not once more."""
    if not plan.held:
        return []
    return [Line("held back", STRONG), *(_held_line(note, plan.verdicts) for note in sorted(plan.held))]


def _held_line(note: Held, verdicts: Mapping[str, HostVerdict]) -> Line:
    verdict = verdicts.get(note.subject)
    said_before = f"{note.subject} is {verdict.health.value}: {verdict.evidence}: " if verdict else ""
    reason = note.reason.removeprefix(said_before) if said_before else note.reason
    return Line(f"  {note.subject}: {note.kind.value}: {reason}", "" if note.kind in HARMLESS else DOUBTFUL)


def host_trouble_lines(verdicts: Mapping[str, HostVerdict], snapshot: Snapshot) -> list[Line]:
    """Each host that is not healthy: what is believed of it, why, and what a person can do."""
    lines: list[Line] = []
    for name, verdict in sorted(verdicts.items()):
        if verdict.health is Health.HEALTHY:
            continue
        style = DOUBTFUL if verdict.health is Health.SUSPECT else BAD
        lines.append(Line(f"{name} is {verdict.health.value}: {verdict.evidence}", style))
        lines += [Line(f"  {line}") for line in remedy(name, verdict, snapshot.hosts.get(name)).splitlines()]
    return lines


def plan_json(fleet: str, plan: Plan, exit_code: ExitCode) -> dict[str, Any]:
    """`{"version": 1, "fleet", "generation", "exit_code", "stages": [[ACTION]], "held": [HELD], "hosts": [HOST]}`.

    ACTION has "action" ("upload", "start", "await ready", "stop"), "host", "epoch", "reason", and by its kind
    "instance", "release", "ports" {NAME: NUMBER}, "job", "artifact", "for_s", "timeout_s".
    HELD is {"subject", "kind", "reason"}; HOST is {"host", "verdict", "because"}.
    """
    return {
        "version": 1,
        "fleet": fleet,
        "generation": plan.generation,
        "exit_code": int(exit_code),
        "stages": [[action_json(action) for action in stage.actions] for stage in plan.stages],
        "held": [held_json(note) for note in sorted(plan.held)],
        "hosts": [
            {"host": name, "verdict": verdict.health.value, "because": verdict.evidence}
            for name, verdict in sorted(plan.verdicts.items())
        ],
    }


def held_json(note: Held) -> dict[str, Any]:
    return {"subject": note.subject, "kind": note.kind.value, "reason": note.reason}
