"""What a human is told, and how often: plan by plan, as a store would keep the incidents in between."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from fleetctl.model.desired import Desired
from fleetctl.model.instant import Instant
from fleetctl.model.memory import Incident
from fleetctl.model.plan import Held, HeldKind, Plan, Stage, Stop
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.verdict import Health, HostVerdict, Sign
from fleetctl.plan.incidents import Message, incidents_after
from tests.unit.plan.fleets import host, names

LOST, SUSPECT, BROKEN = Health.LOST, Health.SUSPECT, Health.BROKEN


@dataclass
class Night:
    """A fleet of ten, run after run."""

    hosts: int = 10
    incidents: tuple[Incident, ...] = ()
    now_wall: float = 1000.0
    gone: frozenset[str] = frozenset()

    def plan(self, bad=(), held=(), *, health=LOST, sign=Sign.SILENT, ended=True) -> list[Message]:
        """One plan: these hosts are bad, this is held. What is told of it counts as told."""
        ill = bad if isinstance(bad, dict) else dict.fromkeys(bad, (health, sign))
        verdicts = {
            name: HostVerdict(*((ill[name][0], "evidence") if name in ill else (Health.HEALTHY, "")), Instant(0.0),
                              ill[name][1] if name in ill else Sign.NONE)
            for name in names(self.hosts)
        }  # fmt: skip
        desired = Desired("test", tuple(host(name) for name in names(self.hosts)), (), gone=self.gone)
        plan = Plan(Generation(1), (), tuple(held), verdicts)
        after = incidents_after(self.incidents, desired, plan, self.now_wall, began_wall=self.began_wall, ended=ended)
        told = {message.incident for message in after.messages if message.event == "begin"}
        self.incidents = tuple(replace(one, told=True) if one in told else one for one in after.incidents)
        return list(after.messages)

    @property
    def began_wall(self) -> float:
        return self.now_wall - 1.0

    def run(self, bad=(), held=(), **how) -> list[tuple[str, str]]:
        """A run: its first plan and its last, and the minute until the next. Which begins and ends are told."""
        first = self.plan(bad, held, **how, ended=False)
        self.now_wall += 0.5
        told = first + self.plan(bad, held, **how)
        self.now_wall += 60.0
        return [(message.event, message.incident.subject) for message in told]


@pytest.fixture
def night():
    return Night()


def needs(subject, kind=HeldKind.NO_ROOM, reason="no room"):
    return Held(subject, kind, reason)


def test_a_quiet_night_tells_nothing(night):
    assert night.run() == []
    assert night.incidents == ()


def test_a_lost_host_is_told_once_and_once_when_it_is_back(night):
    assert night.run(["h1"]) == [("begin", "h1")]
    assert night.run(["h1"]) == []
    assert night.run() == [("end", "h1")]
    assert night.run() == []


def test_a_host_is_told_with_the_first_plan_and_its_end_only_with_the_last(night):
    (message,) = night.plan(["h1"], ended=False)
    assert (message.event, message.incident.what, message.needs_human) == ("begin", "h1 is lost: evidence", False)
    assert night.plan([], ended=False) == []
    (message,) = night.plan([])
    assert (message.event, message.ended_wall) == ("end", night.now_wall)


def test_a_verdict_that_changes_from_bad_to_bad_is_one_incident(night):
    assert night.run(["h1"], health=SUSPECT) == [("begin", "h1")]
    assert night.run(["h1"]) == []
    assert night.run(["h1"], health=SUSPECT, sign=Sign.FLAPPING) == []
    assert night.run() == [("end", "h1")]


@pytest.mark.parametrize(("health", "held", "needed"), [
    (LOST, [], False), (BROKEN, [], True), (SUSPECT, [needs("h1", HeldKind.SUSPECT)], True), (SUSPECT, [], False),
])  # fmt: skip
def test_a_message_says_whether_it_needs_a_human(night, health, held, needed):
    (message,) = night.plan(["h1"], held, health=health)
    assert message.needs_human is needed


def test_a_job_is_told_by_the_runs_last_plan_alone(night):
    assert night.plan(held=[needs("web.1")], ended=False) == []
    (message,) = night.plan(held=[needs("web.1"), needs("web.2@7", HeldKind.NOT_READY, "not ready")])
    assert (message.incident.kind, message.incident.subject) == ("job", "web")
    assert message.incident.what == "no room; not ready"
    assert message.needs_human


def test_what_heal_repaired_is_only_the_hosts_trouble(night):
    assert night.plan(["h1"], [needs("web.1")], ended=False)[0].incident.subject == "h1"
    assert night.plan(["h1"]) == []


def test_what_heal_could_not_repair_is_told_of_the_job_as_well(night):
    assert night.run(["h1"], [needs("web.1")]) == [("begin", "h1"), ("begin", "web")]
    assert night.run([], []) == [("end", "h1"), ("end", "web")]


@pytest.mark.parametrize("kind", [HeldKind.WAITING, HeldKind.LIMIT, HeldKind.NOTICE, HeldKind.ORPHAN])
def test_what_needs_no_human_is_no_incident(night, kind):
    assert night.run(held=[needs("web.1", kind)]) == []


def test_a_run_that_gave_up_is_its_jobs_trouble(night):
    stop = Stop("h1", InstanceName.parse("web.1@1"), 1.0, "surplus")
    desired = Desired("test", (host("h1"),), ())
    plan = Plan(Generation(1), (Stage((stop,)),), (), {})
    for ended, subjects in ((False, []), (True, ["web"])):
        after = incidents_after((), desired, plan, 1.0, began_wall=0.0, ended=ended)
        assert [message.incident.subject for message in after.messages] == subjects


def test_three_hosts_at_once_are_one_message_and_one_end(night):
    assert night.run(["h1", "h2", "h3"]) == [("begin", "test: hosts silent")]
    assert night.incidents[0].members == ("h1", "h2", "h3")
    assert night.run(["h1"]) == []
    assert night.run() == [("end", "test: hosts silent")]


def test_the_jobs_that_went_with_them_are_no_fifty_messages(night):
    held = [needs(f"job{number}.0") for number in range(50)]
    assert night.run(["h1", "h2", "h3"], held) == [("begin", "test: hosts silent")]
    assert night.run([], held) == [], "the jobs are not well yet"
    assert night.run() == [("end", "test: hosts silent")]


def test_many_jobs_at_once_are_one_message(night):
    held = [needs(f"job{number}.0") for number in range(50)]
    assert night.run(held=held) == [("begin", "test: jobs")]
    assert night.run(held=held[:1]) == []
    assert night.run() == [("end", "test: jobs")]


def test_too_much_lost_is_one_message_with_all_of_them_as_members(night):
    too_much = [Held("test", HeldKind.TOO_MUCH_LOST, "6 of 10 hosts did not answer")]
    assert night.run(names(6), too_much) == [("begin", "test: too much lost")]
    assert night.incidents[0].members == tuple(names(6))
    assert night.run(names(7), too_much) == []
    assert night.run(names(5)) == [], "less is lost, and not all is well"
    assert night.run() == [("end", "test: too much lost")]


def test_that_nothing_is_acted_upon_any_more_is_news(night):
    too_much = [Held("test", HeldKind.TOO_MUCH_LOST, "6 of 10 hosts did not answer")]
    assert night.run(names(3)) == [("begin", "test: hosts silent")]
    assert night.run(names(6), too_much) == [("begin", "test: too much lost")]
    assert night.run() == [("end", "test: hosts silent"), ("end", "test: too much lost")]


def test_a_job_in_trouble_is_not_called_well_while_nothing_is_decided(night):
    too_much = [Held("test", HeldKind.TOO_MUCH_LOST, "6 of 10 hosts did not answer")]
    assert night.run(held=[needs("web.1")]) == [("begin", "web")]
    assert night.run(names(6), too_much) == [("begin", "test: too much lost")]
    assert night.run() == [("end", "test: too much lost"), ("end", "web")]


def test_a_common_cause_of_hosts_that_fell_one_by_one_is_told_once(night):
    common = [Held("test", HeldKind.COMMON_CAUSE, "3 hosts are silent")]
    assert night.run(["h1"]) == [("begin", "h1")]
    assert night.run(["h1", "h2"]) == [("begin", "h2")]
    assert night.run(["h1", "h2", "h3"], common) == [("begin", "test: common cause")]
    assert night.run(["h1", "h2", "h3"], common) == []
    assert night.run() == [("end", "test: common cause"), ("end", "h1"), ("end", "h2")]


def test_another_trouble_during_an_outage_is_told(night):
    three = dict.fromkeys(names(3), (LOST, Sign.SILENT))
    assert night.run(three) == [("begin", "test: hosts silent")]
    assert night.run(three | {"h9": (LOST, Sign.SILENT)}) == [], "one more of the same"
    assert night.run(three | {"h8": (SUSPECT, Sign.HOST_KEY)}) == [("begin", "h8")]


def test_a_host_taken_out_of_the_inventory_is_no_trouble_any_more(night):
    assert night.run(["h1"]) == [("begin", "h1")]
    night.gone = frozenset({"h1"})
    assert night.run(["h1"]) == [("end", "h1")]


def test_a_host_and_a_job_of_one_name_are_two(night):
    assert night.run(["h1"], [needs("h1.0")]) == [("begin", "h1"), ("begin", "h1")]


def test_what_could_not_be_told_is_told_when_it_can_be_and_its_end_only_if_its_beginning_was(night):
    night.plan(["h1"])
    night.incidents = tuple(replace(one, told=False) for one in night.incidents)
    assert night.run(["h1"]) == [("begin", "h1")]
    night.incidents = tuple(replace(one, told=False) for one in night.incidents)
    assert night.run() == []
