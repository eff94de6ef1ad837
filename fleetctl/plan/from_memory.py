"""Hosts whose report is from memory, because the file system of their root hangs: seen, but beyond any order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fleetctl.model.snapshot import Reachable, Silence, Unreachable

if TYPE_CHECKING:
    from fleetctl.model.snapshot import Observation, Snapshot


def taken_for_silent(snapshot: Snapshot) -> Snapshot:
    """As a plan is to see them: hosts that live and take no order, so that nothing is planned there and nothing of
    theirs is replaced. Who only shows what runs shows their rows."""
    return replace(snapshot, hosts={name: _taken(seen) for name, seen in snapshot.hosts.items()})


def _taken(seen: Observation) -> Observation:
    if not isinstance(seen, Reachable) or not seen.report.from_memory:
        return seen
    hint = "see what its disk or mount does, there: findmnt; dmesg | tail"
    return Unreachable(Silence.AGENT, seen.report.from_memory, tries=0, hint=hint)  # it answered
