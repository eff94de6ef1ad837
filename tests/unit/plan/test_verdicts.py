"""What we believe of a host. Not knowing is not the same as dead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.model.desired import Desired
from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.snapshot import Phase, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.plan.verdicts import too_much_lost, verdicts
from tests.unit.plan.fleets import Fleet, instance, names

NOW = Instant(5000.0)
NOTHING_KNOWN = HostMemory()
READY_BEFORE = HostMemory(instances=(instance("web.0@3"),))
DEAD = (Silence.SILENT, Silence.REFUSED, Silence.HUNG)


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


@pytest.mark.parametrize("silence", list(Silence))
def test_any_sign_counts_towards_too_much(silence):
    fleet = Fleet.of(*names(3))
    fleet.doubt("h1", "h2", silence=silence)
    assert "2 of 3 hosts did not answer (h1, h2)" in too_much_lost(fleet.desired(), fleet.verdicts(), fleet.snapshot())


def test_a_host_that_was_not_looked_at_did_not_answer():
    fleet = Fleet.of(*names(3))
    seen = Snapshot(NOW, {"h1": Reachable(fleet.machines["h1"].report(), "10.0.0.1")})
    assert too_much_lost(fleet.desired(), {}, seen)
