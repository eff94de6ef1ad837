"""Hosts that a newer fleetctl drives: they live, are left alone and said; all others are driven as ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.engine.record import remember
from fleetctl.errors import ExitCode
from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory
from fleetctl.model.plan import HeldKind, Plan, Start
from fleetctl.model.snapshot import Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, HostVerdict, Sign
from fleetctl.plan.check import violations
from fleetctl.plan.flapping import answered
from fleetctl.plan.incidents import incidents_after
from fleetctl.plan.outcome import exit_code
from fleetctl.plan.reconcile import make_plan
from fleetctl.plan.verdicts import too_much_lost, verdicts
from tests.unit.plan.fleets import Fleet, actions, instance, job, names

REFUSES = Unreachable(
    Silence.NEWER, "driven by fleetctl 0.3.0; this is 0.1.0", 1, hint="install fleetctl 0.3.0 or newer"
)
SAID = "h1 is driven by fleetctl 0.3.0; this is 0.1.0"


class Look:
    """What comes of one look at a fleet on some hosts of which a newer fleetctl drives."""

    def __init__(self, fleet: Fleet, *newer: str, force: bool = False) -> None:
        fleet.see()
        self.desired, self.memory = replace(fleet.desired(), force=force), fleet.memory()
        self.snapshot = Snapshot(fleet.now, {**fleet.snapshot().hosts, **dict.fromkeys(newer, REFUSES)})
        judged = verdicts(self.desired, self.snapshot, (), self.memory, fleet.now)
        lost = {name: machine.verdict for name, machine in fleet.machines.items() if machine.silence is not None}
        self.verdicts: dict[str, HostVerdict] = {**judged, **lost}
        self.plan: Plan = make_plan(self.desired, self.snapshot, self.verdicts, self.memory, fleet.now)
        assert not violations(self.plan, self.desired, self.snapshot, self.verdicts, self.memory)

    def held(self, kind: HeldKind) -> list[str]:
        return [held.reason for held in self.plan.held if held.kind is kind]

    def exit_code(self, *, failed: bool = False) -> ExitCode:
        return exit_code(self.plan, self.verdicts, self.snapshot, self.desired, failed=failed)


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet.of(*names(5))
    fleet.deploy(job(replicas=4))
    return fleet


def test_such_a_host_is_well_and_said_with_the_version_to_install(fleet):
    look = Look(fleet, "h1")
    assert (look.verdicts["h1"].health, look.verdicts["h1"].sign) == (Health.HEALTHY, Sign.NONE)
    assert look.held(HeldKind.NEWER) == [
        f"{SAID}: web.0@1 there left alone, and not replaced; install fleetctl 0.3.0 or newer"
    ]
    assert {held.kind for held in look.plan.held} == {HeldKind.NEWER}
    assert not look.plan.actions


def test_one_with_nothing_of_ours_on_it_is_said_too(fleet):
    assert Look(fleet, "h5").held(HeldKind.NEWER) == [
        "h5 is driven by fleetctl 0.3.0; this is 0.1.0; install fleetctl 0.3.0 or newer"
    ]


def test_the_others_are_healed_as_ever_and_nothing_is_put_there(fleet):
    fleet.lose("h2")
    plan = Look(fleet, "h1").plan
    assert [start.instance.replica.index for start in actions(plan, Start)] == [1]
    assert actions(plan, Start)[0].host != "h1"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("newer", [3, 4, 5])
def test_they_are_no_sign_that_too_much_is_lost_and_force_is_no_remedy(fleet, newer, force):
    look = Look(fleet, *names(newer), force=force)
    assert not too_much_lost(look.desired, look.verdicts, look.snapshot)
    assert {held.kind for held in look.plan.held} == {HeldKind.NEWER}
    assert not any("--force" in held.reason for held in look.plan.held)
    assert not look.plan.actions


def test_where_too_much_is_lost_they_are_said_beside_it(fleet):
    fleet.lose("h3", "h4", "h5")
    look = Look(fleet, "h1")
    (excess,) = look.held(HeldKind.TOO_MUCH_LOST)
    assert excess.startswith("3 of 5 hosts did not answer (h3, h4, h5)")
    assert len(look.held(HeldKind.NEWER)) == 1
    assert look.exit_code() is ExitCode.YIELDED


def test_a_replica_without_a_host_is_told_what_keeps_it_off(fleet):
    fleet.wish(job(name="api", replicas=1, hosts="h1"))
    (held,) = [held for held in Look(fleet, "h1").plan.held if held.subject == "api.0"]
    assert "1 of 1 hosts driven by a newer fleetctl" in held.reason


@pytest.mark.parametrize("failed", [False, True])
def test_5_where_a_host_refuses_us_for_being_older_and_only_there(fleet, failed):
    assert Look(fleet, "h1").exit_code(failed=failed) is ExitCode.YIELDED
    assert Look(fleet).exit_code(failed=failed) is (ExitCode.FAILED if failed else ExitCode.AS_WISHED)


def test_an_older_and_a_newer_one_that_take_turns_make_no_host_flap(fleet):
    known, at = HostMemory(answered=True, instances=(instance("web.0@1"),)), Instant(2000.0)
    for turn in range(8):
        fleet.now = Instant(at + turn * 10)
        look = Look(fleet, *(["h1"] if turn % 2 else []))
        look.verdicts = verdicts(look.desired, look.snapshot, (), replace(look.memory, hosts={"h1": known}), fleet.now)
        before = replace(look.memory, hosts={**look.memory.hosts, "h1": known})
        known = remember(look.desired, before, look.snapshot, look.verdicts, at_start={}, behind={})["h1"]
        assert known.verdict is not None
        assert (known.verdict.health, known.turns, known.answered) == (Health.HEALTHY, (), True)
        assert [str(row.name) for row in known.instances] == ["web.0@1"]
    assert answered(REFUSES) is None


def test_earlier_silence_of_many_hosts_and_a_refusal_now(fleet):
    """What was silent until now, and refuses us at this look."""
    silent = {name: HostMemory(silent_runs=1, silent_since=Instant(990.0)) for name in names(3)}
    snapshot = Snapshot(fleet.now, {**fleet.snapshot().hosts, **dict.fromkeys(names(3), REFUSES)})
    judged = verdicts(fleet.desired(), snapshot, (), replace(fleet.memory(), hosts=silent), fleet.now)
    assert {judged[name].health for name in names(3)} == {Health.HEALTHY}


def test_a_human_is_told_once_of_the_host_and_not_of_its_jobs(fleet):
    look = Look(fleet, "h1")
    first = incidents_after((), look.desired, look.plan, 100.0, began_wall=99.0, ended=True)
    assert [(message.event, message.incident.kind, message.incident.subject) for message in first.messages] == [
        ("begin", "host", "h1")
    ]
    assert first.messages[0].incident.what.startswith(SAID)
    told = tuple(replace(incident, told=True) for incident in first.incidents)
    assert incidents_after(told, look.desired, look.plan, 200.0, began_wall=199.0, ended=True).messages == ()
