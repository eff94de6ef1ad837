"""Which hosts an artifact can be fetched back from, where the controller's own copy is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.model.plan import Upload
from fleetctl.model.verdict import Health

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.job import Digest
    from fleetctl.model.plan import Plan
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict


def needed(plan: Plan) -> dict[Digest, str]:
    """Each artifact that the plan uploads, with a job that it is for."""
    return {action.artifact: action.job for action in reversed(plan.actions) if isinstance(action, Upload)}


def sources(snapshot: Snapshot, verdicts: Mapping[str, HostVerdict], fleet: str, artifact: Digest) -> tuple[str, ...]:
    """The hosts that answer and say they have it, the best to ask first: healthy ones, then by name.

    What another fleet's root holds is none of ours. What a host says is no proof: what comes is to be verified.
    """
    have = [
        name
        for name, seen in snapshot.reachable().items()
        if seen.report.is_open_to(fleet) and artifact in seen.report.artifacts
    ]
    return tuple(sorted(have, key=lambda name: (verdicts[name].health is not Health.HEALTHY, name)))
