"""What we believe of a host. Not knowing is not the same as dead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.engine.record import remember
from fleetctl.model.desired import Desired
from fleetctl.model.host import HostSpec, Jump
from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.plan import Answer, HeldKind, Question, Said
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.snapshot import Phase, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, HostVerdict, Sign
from fleetctl.plan.outcome import exit_code
from fleetctl.plan.reconcile import make_plan
from fleetctl.plan.verdicts import common_causes, is_stale, too_much_lost, verdicts
from tests.unit.plan.fleets import Fleet, instance, job, names

NOW = Instant(5000.0)
NOTHING_KNOWN = HostMemory()
READY_BEFORE = HostMemory(instances=(instance("web.0@3"),))
DEAD = (Silence.SILENT, Silence.REFUSED, Silence.HUNG)
ILL = [silence for silence in Silence if silence is not Silence.NEWER]


def heard(
    said: Said, kind: str = "banner", *, witness: str = "h2", reached: bool = True, whose: str | None = None
) -> Answer:
    name = InstanceName.parse(whose) if whose else None
    return Answer(Question("h1", witness, "10.0.0.1", 22, kind, instance=name, reached_before=reached), said)


def judge(
    silence: Silence, *answers: Answer, tries: int = 3, known: HostMemory = NOTHING_KNOWN, now: Instant = NOW
) -> HostVerdict:
    snapshot = Snapshot(now, {"h1": Unreachable(silence, "no route to host", tries)})
    desired = Desired("test", (), ())
    return verdicts(desired, snapshot, answers, Memory(Generation(1), {"h1": known}), now)["h1"]


def test_a_host_that_answers_is_healthy():
    fleet = Fleet.of("h1")
    judged = verdicts(fleet.desired(), fleet.snapshot(), (), fleet.memory(), NOW)
    assert judged["h1"].health is Health.HEALTHY


@pytest.mark.parametrize("silence", [Silence.SILENT, Silence.HUNG])
def test_lost_is_what_neither_we_nor_a_witness_reaches(silence):
    verdict = judge(silence, heard(Said.NO), heard(Said.NO, witness="h3"))
    assert verdict.health is Health.LOST
    assert "nor does it answer h2 and h3" in verdict.evidence


@pytest.mark.parametrize("silence", DEAD)
def test_a_witness_that_gets_the_banner_shows_that_our_own_path_is_broken(silence):
    verdict = judge(silence, heard(Said.NO), heard(Said.YES, witness="h3"))
    assert verdict.health is Health.SUSPECT
    assert "h3 can reach its SSH: our own path to it is broken" in verdict.evidence


def test_the_banner_counts_from_a_witness_that_never_reached_it_before():
    assert judge(Silence.SILENT, heard(Said.NO), heard(Said.YES, reached=False)).health is Health.SUSPECT


@pytest.mark.parametrize("silence", DEAD)
def test_a_service_that_answers_a_witness_is_not_taken_from_its_host(silence):
    verdict = judge(silence, heard(Said.NO), heard(Said.YES, "http", whose="web.0@3"), known=READY_BEFORE)
    assert verdict.health is Health.SUSPECT
    assert "web.0@3 still answers h2" in verdict.evidence


@pytest.mark.parametrize(("silence", "health"), [(Silence.SILENT, Health.SUSPECT), (Silence.HUNG, Health.LOST)])
def test_a_bare_connect_proves_a_service_but_not_on_a_hung_host_whose_kernel_accepts_for_the_dead(silence, health):
    assert judge(silence, heard(Said.NO), heard(Said.YES, "tcp", whose="web.0@3")).health is health


def test_refused_is_lost_only_when_an_instance_that_was_ready_there_gives_no_answer():
    gone = heard(Said.NO, "http", whose="web.0@3")
    assert judge(Silence.REFUSED, heard(Said.NO), gone, known=READY_BEFORE).health is Health.LOST


def test_refused_without_an_instance_to_ask_for_is_suspect():
    assert judge(Silence.REFUSED, heard(Said.NO)).health is Health.SUSPECT


def test_an_instance_that_was_not_ready_anyway_proves_nothing_by_its_silence():
    crashing = HostMemory(instances=(instance("web.0@3", Phase.WAITING),))
    gone = heard(Said.NO, "http", whose="web.0@3")
    assert judge(Silence.REFUSED, heard(Said.NO), gone, known=crashing).health is Health.SUSPECT


@pytest.mark.parametrize("silence", [Silence.LOGIN, Silence.HOST_KEY, Silence.AGENT])
def test_what_answers_with_a_no_is_never_more_than_suspect(silence):
    long_silent = HostMemory(silent_runs=9, silent_since=Instant(0.0))
    assert judge(silence, heard(Said.NO), known=long_silent).health is Health.SUSPECT


@pytest.mark.parametrize("tries", [0, 1, 2])
def test_every_verdict_needs_three_failed_tries_of_this_run_whatever_is_remembered(tries):
    long_silent = HostMemory(silent_runs=9, silent_since=Instant(0.0))
    assert judge(Silence.SILENT, heard(Said.NO), tries=tries, known=long_silent).health is Health.SUSPECT


def test_the_no_of_a_peer_that_never_reached_it_does_not_count():
    assert judge(Silence.SILENT, heard(Said.NO, reached=False)).health is Health.SUSPECT


def test_a_witness_that_could_not_be_asked_is_no_evidence():
    assert judge(Silence.SILENT, heard(Said.NOTHING)).health is Health.SUSPECT
    long_silent = HostMemory(silent_runs=9, silent_since=Instant(0.0))
    assert judge(Silence.SILENT, heard(Said.NOTHING), known=long_silent).health is Health.SUSPECT


def test_probes_alone_without_a_word_on_the_banner_are_not_enough():
    gone = heard(Said.NO, "http", whose="web.0@3")
    assert judge(Silence.SILENT, heard(Said.NOTHING), gone, known=READY_BEFORE).health is Health.SUSPECT


@pytest.mark.parametrize(
    ("runs", "since", "health"),
    [
        (0, None, Health.SUSPECT),
        (1, 4000.0, Health.SUSPECT),
        (2, 4941.0, Health.SUSPECT),
        (2, 4940.0, Health.LOST),
        (7, 4000.0, Health.LOST),
    ],
)
@pytest.mark.parametrize("silence", [Silence.SILENT, Silence.HUNG])
def test_without_any_witness_it_takes_two_earlier_runs_the_first_a_minute_ago(silence, runs, since, health):
    known = HostMemory(silent_runs=runs, silent_since=None if since is None else Instant(since))
    assert judge(silence, known=known).health is health
    assert judge(silence, heard(Said.NO, reached=False), known=known).health is health


def test_a_machine_that_refuses_is_up_and_never_lost_without_a_witness():
    known = HostMemory(silent_runs=9, silent_since=Instant(0.0))
    assert judge(Silence.REFUSED, known=known).health is Health.SUSPECT


def test_since_stays_while_the_health_does_and_is_now_once_it_changes():
    before = HostVerdict(Health.LOST, "was so", Instant(17.0))
    assert judge(Silence.SILENT, heard(Said.NO), known=HostMemory(verdict=before)).since == 17.0
    assert judge(Silence.SILENT, heard(Said.YES), known=HostMemory(verdict=before)).since == NOW


def test_what_is_said_of_one_host_says_nothing_of_another():
    of_h1 = heard(Said.NO)
    of_h3 = replace(of_h1, question=replace(of_h1.question, about="h3"), said=Said.YES)
    assert judge(Silence.SILENT, of_h1, of_h3).health is Health.LOST


def fleet_with(*, hosts: int, silent: int = 0, broken: int = 0) -> Fleet:
    fleet = Fleet.of(*names(hosts))
    fleet.lose(*names(hosts)[:silent])
    for name in names(hosts)[silent : silent + broken]:
        fleet.machines[name].health = Health.BROKEN
    return fleet


@pytest.mark.parametrize(
    ("hosts", "silent", "broken", "too_much"),
    [
        (1, 0, 0, False),
        (1, 1, 0, True),
        (2, 1, 0, False),
        (2, 2, 0, True),
        (3, 1, 0, False),
        (3, 2, 0, True),
        (4, 2, 0, False),
        (5, 2, 0, False),
        (5, 3, 0, True),
        (5, 2, 1, True),
        (5, 0, 3, True),
        (20, 10, 0, False),
        (20, 11, 0, True),
    ],
)
def test_too_much_lost_is_all_hosts_or_55_percent_of_three_or_more(hosts, silent, broken, too_much):
    fleet = fleet_with(hosts=hosts, silent=silent, broken=broken)
    assert bool(too_much_lost(fleet.desired(), fleet.verdicts(), fleet.snapshot())) is too_much


@pytest.mark.parametrize("silence", ILL)
def test_any_sign_counts_towards_too_much(silence):
    fleet = Fleet.of(*names(3))
    fleet.doubt("h1", "h2", silence=silence)
    assert "2 of 3 hosts did not answer (h1, h2)" in too_much_lost(fleet.desired(), fleet.verdicts(), fleet.snapshot())


def test_a_host_that_was_not_looked_at_did_not_answer():
    fleet = Fleet.of(*names(3))
    seen = Snapshot(NOW, {"h1": Reachable(fleet.machines["h1"].report(), "10.0.0.1")})
    assert too_much_lost(fleet.desired(), {}, seen)


def test_a_host_gone_from_the_inventory_counts_on_neither_side():
    fleet = Fleet.of(*names(4))
    fleet.lose("h1", "h2", "h3")
    inventory = replace(fleet.desired(), gone=frozenset({"h1", "h2"}))
    assert too_much_lost(fleet.desired(), fleet.verdicts(), fleet.snapshot())
    assert not too_much_lost(inventory, fleet.verdicts(), fleet.snapshot()), "1 of 2, and a pair is too small to judge"
    last = replace(fleet.desired(), gone=frozenset({"h4"}))
    assert too_much_lost(last, fleet.verdicts(), fleet.snapshot()) == "no host answers"


# signs


@pytest.mark.parametrize("silence", ILL)
def test_a_silence_of_any_layer_is_its_own_sign(silence):
    assert judge(silence, heard(Said.NO)).sign.value == silence.value


def test_a_host_that_answers_shows_no_sign():
    fleet = Fleet.of("h1")
    assert verdicts(fleet.desired(), fleet.snapshot(), (), fleet.memory(), NOW)["h1"].sign is Sign.NONE


# paths


BASTION = (Jump("bastion", user="ops"),)


def judge_behind(
    *, silent: str, jumps: tuple[Jump, ...] = BASTION, silence: Silence = Silence.SILENT, said: Said = Said.NO
) -> dict[str, HostVerdict]:
    """h1 to h3 behind one jump host, h4 to h6 reached directly; those named are silent, and a witness says so."""
    fleet = Fleet.of(*names(6))
    specs = tuple(replace(host, jumps=jumps if host.name < "h4" else ()) for host in fleet.desired().hosts)
    hosts = {
        name: Unreachable(silence, "no answer", 3) if name in silent.split() else seen
        for name, seen in fleet.snapshot().hosts.items()
    }
    asked = [Question(name, "h6", "10.0.0.9", 22, "banner", reached_before=True) for name in silent.split()]
    desired, answers = Desired("test", specs, ()), tuple(Answer(one, said) for one in asked)
    return verdicts(desired, Snapshot(NOW, hosts), answers, fleet.memory(), NOW)


def test_where_all_behind_one_jump_host_fail_it_may_be_the_path():
    judged = judge_behind(silent="h1 h2 h3")
    assert {judged[name].health for name in ("h1", "h2", "h3")} == {Health.SUSPECT}
    assert {judged[name].sign for name in ("h1", "h2", "h3")} == {Sign.JUMP}
    assert "all 3 hosts behind ops@bastion fail: the path may be what is broken" in judged["h1"].evidence


def test_where_one_behind_it_answers_the_others_are_judged_by_themselves():
    judged = judge_behind(silent="h1 h2")
    assert {judged[name].health for name in ("h1", "h2")} == {Health.LOST}


def test_hosts_without_a_jump_host_are_no_path():
    assert judge_behind(silent="h4 h5")["h4"].health is Health.LOST
    assert judge_behind(silent="h1 h2 h3", jumps=())["h1"].health is Health.LOST


def test_the_only_host_behind_a_jump_host_is_a_path_too():
    desired = Desired("test", (HostSpec("h1", "10.0.0.1", jumps=BASTION),), ())
    silent = Snapshot(NOW, {"h1": Unreachable(Silence.SILENT, "no answer", 3)})
    judged = verdicts(desired, silent, (heard(Said.NO),), Memory(Generation(1)), NOW)["h1"]
    assert judged.health is Health.SUSPECT
    assert "the only host behind ops@bastion fails" in judged.evidence


def test_a_jump_host_that_could_not_be_passed_to_one_host_speaks_for_its_whole_path():
    desired = Desired("test", tuple(HostSpec(name, name, jumps=BASTION) for name in ("h1", "h2", "h3")), ())
    fleet = Fleet.of("h1", "h2", "h3")
    hosts = {
        **fleet.snapshot().hosts,
        "h1": Unreachable(Silence.SILENT, "no answer", 3),
        "h2": Unreachable(Silence.JUMP, "ops@bastion: no answer", 3),
    }
    judged = verdicts(desired, Snapshot(NOW, hosts), (heard(Said.NO),), Memory(Generation(1)), NOW)
    assert judged["h1"].health is Health.SUSPECT
    assert "ops@bastion, which it is behind, can't be passed" in judged["h1"].evidence
    assert judged["h2"].health is Health.SUSPECT
    assert judged["h3"].health is Health.HEALTHY


@pytest.mark.parametrize(("jumps", "runs"), [(BASTION, 0), ((), 2)])
def test_silence_that_may_be_the_paths_is_not_held_against_the_host_later(jumps, runs):
    desired = Desired("test", tuple(HostSpec(name, name, jumps=jumps) for name in ("h1", "h2")), ())
    snapshot = Snapshot(NOW, dict.fromkeys(("h1", "h2"), Unreachable(Silence.SILENT, "no answer", 3)))
    once = HostMemory(silent_runs=1, silent_since=Instant(0.0))
    memory = Memory(Generation(1), dict.fromkeys(("h1", "h2"), once))
    judged = verdicts(desired, snapshot, (), memory, NOW)
    remembered = remember(desired, memory, snapshot, judged, at_start=memory.hosts, behind={})
    assert remembered["h1"].silent_runs == runs


@pytest.mark.parametrize("said", list(Said))
def test_a_jump_host_that_can_not_be_passed_never_makes_lost_what_is_behind_it(said):
    long_silent = HostMemory(silent_runs=9, silent_since=Instant(0.0), instances=READY_BEFORE.instances)
    gone = heard(said, "http", whose="web.0@3")
    assert judge(Silence.JUMP, heard(said), gone, known=long_silent).health is Health.SUSPECT


def test_a_witness_that_reaches_what_we_can_not_pass_to_is_told():
    assert "h2 can reach its SSH" in judge(Silence.JUMP, heard(Said.YES)).evidence


# identity


def judge_report(known: HostMemory, **changes) -> HostVerdict:
    fleet = Fleet.of("h1", "h2", "h3")
    hosts = fleet.snapshot().hosts
    seen = {**hosts, "h1": Reachable(replace(fleet.machines["h1"].report(), **changes), "10.0.0.1")}
    memory = Memory(Generation(1), {"h1": known})
    return verdicts(fleet.desired(), Snapshot(NOW, seen), (), memory, NOW)["h1"]


def test_a_root_with_another_identity_is_not_the_host_we_knew():
    judged = judge_report(HostMemory(host_id="old"), host_id="new")
    assert (judged.health, judged.sign) == (Health.SUSPECT, Sign.IDENTITY)
    assert "its root has another identity than h1 had: a reinstalled or another machine" in judged.evidence


@pytest.mark.parametrize(("was", "tells"), [("same", "same"), ("", "new"), ("old", "")])
def test_the_same_identity_or_none_to_compare_is_no_cause_for_doubt(was, tells):
    assert judge_report(HostMemory(host_id=was), host_id=tells).health is Health.HEALTHY


def test_what_ran_on_the_root_we_knew_is_neither_forgotten_nor_replaced():
    fleet = Fleet.of("h1", "h2", "h3")
    fleet.wish(job(), good=True)
    fleet.put("h1", instance("web.0@1"))
    memory = fleet.memory()
    memory = replace(memory, hosts={**memory.hosts, "h1": replace(memory.hosts["h1"], host_id="old")})
    fleet.machines["h1"].rows.clear()
    other = replace(fleet.machines["h1"].report(), host_id="new")
    snapshot = Snapshot(NOW, {**fleet.snapshot().hosts, "h1": Reachable(other, "10.0.0.1")})
    judged = verdicts(fleet.desired(), snapshot, (), memory, NOW)
    assert make_plan(fleet.desired(), snapshot, judged, memory, NOW).actions == ()
    remembered = remember(fleet.desired(), memory, snapshot, judged, at_start=memory.hosts, behind={})["h1"]
    assert remembered.host_id == "old"
    assert remembered.instances == fleet.known["h1"]
    assert remembered.verdict.sign is Sign.IDENTITY


# clocks


def judge_clocks(*clocks: float) -> list[HostVerdict]:
    fleet = Fleet.of(*names(len(clocks)))
    seen = {
        name: Reachable(replace(fleet.machines[name].report(), wallclock_s=clock), "10.0.0.1")
        for name, clock in zip(names(len(clocks)), clocks, strict=True)
    }
    judged = verdicts(fleet.desired(), Snapshot(NOW, seen), (), Memory(Generation(1)), NOW)
    return [judged[name] for name in names(len(clocks))]


OURS = 1.7e9


def test_a_clock_that_is_off_against_the_other_hosts_is_a_sign_of_a_bad_machine():
    *others, wrong = judge_clocks(OURS, OURS + 1, OURS - 1, OURS + 86500)
    assert {verdict.health for verdict in others} == {Health.HEALTHY}
    assert (wrong.health, wrong.sign) == (Health.BROKEN, Sign.CLOCK)
    assert wrong.evidence == "its clock is more than a day ahead of the other hosts'"


@pytest.mark.parametrize(("off_s", "health"), [(60, Health.HEALTHY), (-60, Health.HEALTHY), (61, Health.BROKEN),
                                               (-61, Health.BROKEN)])  # fmt: skip
def test_up_to_a_minute_is_no_sign(off_s, health):
    assert judge_clocks(OURS, OURS, OURS, OURS + off_s)[-1].health is health


def test_our_own_clock_is_nobodys_measure():
    assert {verdict.health for verdict in judge_clocks(5.0, 5.0, 5.0)} == {Health.HEALTHY}, "all of them in 1970"


@pytest.mark.parametrize("clocks", [(OURS, 5.0), (OURS, OURS, 5.0, 9e9, 7e9), (OURS, OURS, 5.0, 5.0)])
def test_where_too_few_tell_the_time_or_most_disagree_no_clock_is_wrong(clocks):
    assert {verdict.health for verdict in judge_clocks(*clocks)} == {Health.HEALTHY}


def test_a_host_that_does_not_tell_the_time_is_no_witness_of_it():
    assert {verdict.health for verdict in judge_clocks(OURS, OURS + 500, 0.0, 0.0)} == {Health.HEALTHY}
    assert [verdict.health for verdict in judge_clocks(0.0, OURS, OURS, OURS + 500)][-1] is Health.BROKEN


# common causes


def causes(
    since: dict[str, float], *, sign: Sign = Sign.SILENT, health: Health = Health.SUSPECT, gone: str = ""
) -> list[str]:
    fleet = Fleet.of(*names(9))
    judged = {name: HostVerdict(health, "in this test", Instant(at), sign) for name, at in since.items()}
    desired = replace(fleet.desired(), gone=frozenset(gone.split()))
    found = common_causes(desired, {**fleet.verdicts(), **judged}, fleet.memory(), NOW)
    assert {held.kind for held in found} <= {HeldKind.COMMON_CAUSE}
    return [held.reason for held in found]


@pytest.mark.parametrize("sign", [sign for sign in Sign if sign is not Sign.NONE])
def test_one_sign_on_three_hosts_within_ten_minutes_has_one_cause(sign):
    (told,) = causes({"h1": 0.0, "h2": 300.0, "h3": 600.0}, sign=sign)
    assert told.startswith("3 hosts ")
    assert " since within 10 min (h1, h2, h3): one cause is likely: " in told


@pytest.mark.parametrize("since", [{"h1": 0.0, "h2": 0.0}, {"h1": 0.0, "h2": 1.0, "h3": 601.0}])
def test_two_hosts_or_three_one_after_the_other_have_not(since):
    assert causes(since) == []


def test_two_troubles_of_one_sign_are_two_causes():
    first, second = causes(dict(zip(names(6), (0.0, 1.0, 2.0, 2000.0, 2001.0, 2002.0), strict=True)))
    assert "(h1, h2, h3)" in first
    assert "(h4, h5, h6)" in second


def test_a_host_gone_from_the_inventory_shares_no_cause():
    assert causes({"h1": 0.0, "h2": 0.0, "h3": 0.0}, gone="h3") == []


def test_a_common_cause_needs_a_human_and_lost_hosts_are_still_moved():
    fleet = Fleet.of(*names(8))
    fleet.wish(job(replicas=3), good=True)
    for number, name in enumerate(("h1", "h2", "h3")):
        fleet.put(name, instance(f"web.{number}@1"))
    fleet.see()
    fleet.lose("h1", "h2", "h3")
    judged = {
        name: replace(verdict, sign=Sign.SILENT if verdict.health is Health.LOST else Sign.NONE)
        for name, verdict in fleet.verdicts().items()
    }
    plan = make_plan(fleet.desired(), fleet.snapshot(), judged, fleet.memory(), NOW)
    assert HeldKind.COMMON_CAUSE in {held.kind for held in plan.held}
    assert plan.actions
    assert exit_code(plan, judged, fleet.snapshot(), fleet.desired(), failed=False) == 3


def test_hosts_that_fell_silent_together_are_not_lost_by_lasting_silence_alone():
    fleet = Fleet.of(*names(6))
    long_silent = HostMemory(silent_runs=5, silent_since=Instant(4000.0))
    memory = Memory(Generation(1), dict.fromkeys(("h1", "h2", "h3"), long_silent))
    fleet.lose("h1", "h2")
    pair = verdicts(fleet.desired(), fleet.snapshot(), (), memory, NOW)
    assert {pair["h1"].health, pair["h2"].health} == {Health.LOST}
    fleet.lose("h3")
    three = verdicts(fleet.desired(), fleet.snapshot(), (), memory, NOW)
    assert {three[name].health for name in ("h1", "h2", "h3")} == {Health.SUSPECT}
    assert "3 hosts are silent since within 10 min (h1, h2, h3)" in three["h1"].evidence
    denied = verdicts(fleet.desired(), fleet.snapshot(), (heard(Said.NO, witness="h6"),), memory, NOW)
    assert denied["h1"].health is Health.LOST, "a witness's word counts for itself"


# age


def test_what_was_seen_more_than_half_a_minute_ago_is_seen_again():
    assert not is_stale(Instant(100.0), Instant(130.0))
    assert is_stale(Instant(100.0), Instant(130.1))
