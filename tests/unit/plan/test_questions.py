"""Whom we ask about a host that does not answer us, and what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetctl.model.desired import Desired
from fleetctl.model.instant import Instant
from fleetctl.model.job import Probe
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.replica import Generation
from fleetctl.model.snapshot import Phase, Reach, Reachable, Silence, Snapshot, Unreachable
from fleetctl.plan.questions import questions
from tests.unit.plan.fleets import HTTP, Fleet, Machine, host, instance, job

TCP = Probe("tcp", "http")


def ask(
    *,
    silence: Silence = Silence.SILENT,
    reached_by: tuple[str, ...] = ("h2", "h3", "h4"),
    probe: Probe | None = HTTP,
    phase: Phase = Phase.READY,
    zones: str = "abab",
    known_address: str = "10.9.9.1",
    reached_address: str = "10.9.9.1",
):
    """What is asked about h1 of four hosts, where web.0 was before it fell silent."""
    fleet = Fleet.of(*(host(f"h{number}", zone=zone) for number, zone in enumerate(zones, 1)))
    fleet.wish(job(ready=probe))
    fleet.put("h1", instance("web.0@3", phase))
    reach = Reach("h1", reached_address, 22, ok=True)
    hosts = {}
    for name, machine in fleet.machines.items():
        report = replace(machine.report(), reach=(reach,) if name in reached_by else ())
        hosts[name] = Reachable(report, machine.spec.address) if name != "h1" else Unreachable(silence, "nothing", 1)
    memory = Memory(Generation(3), {"h1": HostMemory(known_address, instances=fleet.known["h1"])}, fleet.jobs)
    return questions(fleet.desired(), Snapshot(Instant(0.0), hosts), memory)


def witnesses(asked) -> set[str]:
    return {question.witness for question in asked}


def test_three_peers_are_asked_for_the_banner_and_for_the_ready_probe_of_what_was_there():
    asked = ask()
    assert witnesses(asked) == {"h2", "h3", "h4"}
    assert {(q.kind, q.port, q.path, str(q.instance)) for q in asked} == {
        ("banner", 22, "/", "None"),
        ("http", 20030, "/healthz", "web.0@3"),
    }
    assert len(asked) == 6
    assert {q.address for q in asked} == {"10.9.9.1"}


def test_an_http_probe_is_repeated_whole():
    page = {"status": (200, 200), "header": (("Content-Type", "json"),), "body": "ok"}
    asked = [q for q in ask(probe=Probe("http", "http", "/up", **page)) if q.kind == "http"]
    assert {(q.path, q.status, q.header, q.body) for q in asked} == {("/up", *page.values())}


@pytest.mark.parametrize("probe", [Probe("command", command=("./ask",)), Probe("notify")], ids=["command", "notify"])
def test_what_only_its_own_host_can_hear_no_witness_is_asked(probe):
    assert {q.kind for q in ask(probe=probe)} == {"banner"}


def test_the_inventorys_peer_address_comes_before_the_last_known_one():
    spec = host("h1", peer_address="192.168.0.1")
    fleet = Fleet({"h1": Machine(spec), "h2": Machine(host("h2"))})
    fleet.machines["h1"].silence = Silence.SILENT
    memory = Memory(Generation(1), {"h1": HostMemory("10.9.9.1")})
    assert {q.address for q in questions(fleet.desired(), fleet.snapshot(), memory)} == {"192.168.0.1"}


def test_a_host_never_seen_is_asked_about_where_we_connect_to():
    fleet = Fleet.of("h1", "h2")
    fleet.machines["h1"].silence = Silence.SILENT
    (question,) = questions(fleet.desired(), fleet.snapshot(), Memory(Generation(1)))
    assert (question.kind, question.address) == ("banner", "10.0.0.1")


def test_only_a_peer_that_reached_that_very_address_has_reached_it_before():
    assert all(q.reached_before for q in ask())
    assert not any(q.reached_before for q in ask(reached_address="10.9.9.2"))


def test_with_more_peers_than_needed_those_that_reached_it_are_asked():
    assert witnesses(ask(zones="aaaaa", reached_by=("h3", "h4", "h5"))) == {"h3", "h4", "h5"}


def test_peers_are_from_different_zones_where_there_are_any():
    assert witnesses(ask(zones="aaaabc", reached_by=())) == {"h2", "h5", "h6"}


def test_a_bare_connect_proves_nothing_on_a_hung_host_so_it_is_not_asked_for():
    assert {q.kind for q in ask(probe=TCP, silence=Silence.HUNG)} == {"banner"}
    assert {q.kind for q in ask(probe=TCP, silence=Silence.SILENT)} == {"banner", "tcp"}
    assert {q.kind for q in ask(probe=TCP, silence=Silence.REFUSED)} == {"banner", "tcp"}
    assert {q.kind for q in ask(probe=HTTP, silence=Silence.HUNG)} == {"banner", "http"}


def test_what_lies_behind_a_jump_host_that_is_down_is_asked_about_but_a_bare_connect_is_not():
    """It never makes it lost; but whether it lives is what a person wants to know next."""
    assert witnesses(ask(silence=Silence.JUMP)) == {"h2", "h3", "h4"}
    assert {q.kind for q in ask(probe=HTTP, silence=Silence.JUMP)} == {"banner", "http"}
    assert {q.kind for q in ask(probe=TCP, silence=Silence.JUMP)} == {"banner"}


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.STUCK])
def test_what_was_to_end_is_not_asked_for(phase):
    assert {q.kind for q in ask(phase=phase)} == {"banner"}


def test_a_job_without_a_probe_can_only_be_judged_by_the_banner():
    assert {q.kind for q in ask(probe=None)} == {"banner"}


@pytest.mark.parametrize("silence", [Silence.LOGIN, Silence.HOST_KEY, Silence.AGENT])
def test_a_host_that_answered_with_a_no_is_alive_and_needs_no_witness(silence):
    assert ask(silence=silence) == ()


def test_where_nobody_else_answers_nobody_is_asked():
    fleet = Fleet.of("h1", "h2")
    for machine in fleet.machines.values():
        machine.silence = Silence.SILENT
    assert questions(fleet.desired(), fleet.snapshot(), Memory(Generation(1))) == ()


def test_a_host_that_only_the_store_knows_is_not_asked_about():
    fleet = Fleet.of("h1", "h2")
    fleet.machines["h1"].silence = Silence.SILENT
    desired = Desired("test", (fleet.machines["h2"].spec,), ())
    assert questions(desired, fleet.snapshot(), Memory(Generation(1))) == ()
