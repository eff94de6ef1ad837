"""Where replicas go: first what is possible, then what is best."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from fleetctl.model.host import Capacity
from fleetctl.model.job import Constraint, PortRequest
from fleetctl.model.plan import HeldKind, Start
from fleetctl.model.resources import Bytes
from tests.unit.plan.fleets import GIB, Fleet, actions, fixed, host, instance, job, names, resources


def placed(fleet: Fleet, **changes) -> dict[str, str]:
    """replica -> host, after a deploy of web."""
    return {str(start.instance.replica): start.host for start in actions(fleet.deploy(job(**changes)), Start)}


def no_room(fleet: Fleet) -> list[str]:
    return [held.reason for held in fleet.held(HeldKind.NO_ROOM)]


def zones(**hosts: str) -> Fleet:
    return Fleet.of(*(host(name, zone=zone) for name, zone in hosts.items()))


# -- what is possible


def test_no_more_than_fits_by_cpu_and_memory():
    fleet = Fleet.of(host("h1", cpu=1000, memory=8), host("h2", cpu=4000, memory=1))
    hosts = placed(fleet, replicas=4, resources=resources(cpu=500, memory=1))
    assert Counter(hosts.values()) == {"h1": 2, "h2": 1}
    (reason,) = no_room(fleet)
    assert reason.startswith("web.3 has no host: cpu short on 1 of 2 hosts, memory short on 1: take one replica off")


def test_what_is_reserved_is_not_given_away():
    fleet = Fleet.of(host("h1", cpu=1000, reserved=resources(cpu=600)))
    assert placed(fleet, resources=resources(cpu=500)) == {}


def test_other_peoples_instances_hold_their_room():
    fleet = Fleet.of(host("h1", cpu=1000), host("h2", cpu=1000))
    fleet.put("h1", instance("old.0@1", resources=resources(cpu=800)))
    assert placed(fleet, resources=resources(cpu=500)) == {"web.0": "h2"}


def test_where_the_inventory_gives_no_capacity_the_hosts_own_facts_count():
    spec = replace(host("h1"), capacity=Capacity())
    fleet = Fleet.of(spec)
    assert len(placed(fleet, replicas=10, resources=resources(cpu=1000))) == 4


def test_disk_is_what_the_file_system_still_has_unless_the_inventory_says_otherwise():
    fleet = Fleet.of(replace(host("h1"), capacity=Capacity()))  # 100 GiB, of which 90 are free
    assert len(placed(fleet, replicas=4, resources=resources(disk=40))) == 2
    fleet = Fleet.of(replace(host("h1"), capacity=Capacity(disk=Bytes(200 * GIB))))
    assert len(placed(fleet, replicas=4, resources=resources(disk=40))) == 4


def test_a_job_that_claims_nothing_fits_on_an_overdrawn_host():
    fleet = Fleet.of(host("h1", cpu=100))
    fleet.put("h1", instance("old.0@1", resources=resources(cpu=800)))
    assert placed(fleet) == {"web.0": "h1"}


def test_a_fixed_port_is_had_once_per_host():
    fleet = Fleet.of("h1", "h2")
    assert len(placed(fleet, replicas=3, ports=fixed(8080))) == 2
    assert "web.2 has no host: port 8080 taken on 2 of 2 hosts" in no_room(fleet)[0]


def test_a_fixed_port_that_something_else_listens_on_is_taken():
    fleet = Fleet.of("h1", "h2")
    fleet.machines["h1"].ports_in_use.add(8080)
    assert placed(fleet, ports=fixed(8080)) == {"web.0": "h2"}


def test_constraints_and_the_pattern_say_where_it_may_run():
    fleet = zones(h1="a", h2="b", h3="c", h4="a")
    spec = {"constraints": (Constraint("zone", "!=", "c"),), "hosts": "h2:h3"}
    assert placed(fleet, replicas=2, **spec) == {"web.0": "h2", "web.1": "h2"}


def test_a_missing_label_differs_from_every_value():
    fleet = Fleet.of(host("h1"), host("h2", zone="a"))
    assert placed(fleet, constraints=(Constraint("zone", "!=", "a"),)) == {"web.0": "h1"}
    fleet = Fleet.of(host("h1"), host("h2", zone="a"))
    assert placed(fleet, constraints=(Constraint("zone", "==", "a"),)) == {"web.0": "h2"}


def test_a_refusal_names_what_was_missing_on_how_many_hosts():
    fleet = Fleet.of(
        host("h1", zone="c"),
        *(host(name, zone="a", memory=1) for name in ("h2", "h3", "h4")),
        host("h5", zone="a"),
        host("h6", zone="a"),
        host("h7", zone="a"),
    )
    fleet.lose("h5")
    fleet.doubt("h6", "h7")
    spec = {"constraints": (Constraint("zone", "!=", "c"),), "resources": resources(memory=2)}
    assert placed(fleet, **spec) == {}
    assert no_room(fleet)[0].startswith(
        "web.0 has no host: memory short on 3 of 7 hosts, 2 suspect, labels.zone != 'c' excludes 1, 1 lost: "
    )


def test_a_pattern_that_matches_nothing_is_told():
    fleet = Fleet.of("h1")
    fleet.wish(job(hosts="nowhere"))
    fleet.run()
    assert no_room(fleet)[0].startswith("web.0 has no host: ")


# -- ports


def test_ports_are_handed_out_from_20000_to_29999_and_never_twice_on_a_host():
    fleet = Fleet.of("h1")
    fleet.machines["h1"].ports_in_use |= set(range(20000, 25000))
    fleet.deploy(job(replicas=50, ports=(PortRequest("http"), PortRequest("admin"))))
    ports = [number for row in fleet.machines["h1"].rows.values() for _, number in row.ports]
    assert len(set(ports)) == 100
    assert all(25000 <= number <= 29999 for number in ports)


def test_a_successor_does_not_get_the_port_that_was_just_left():
    fleet = Fleet.of("h1")
    fleet.deploy(job(ready=None))
    before = next(iter(fleet.machines["h1"].rows.values())).ports
    fleet.stop("web")
    fleet.deploy(job(ready=None, command=("./web", "2")))
    assert [row.ports == before for row in fleet.machines["h1"].rows.values()] == [True, False]


# -- what is best


def test_replicas_are_spread_over_hosts():
    assert Counter(placed(Fleet.of(*names(3)), replicas=6).values()) == {"h1": 2, "h2": 2, "h3": 2}


def test_spread_over_zones_comes_before_spread_over_hosts():
    hosts = placed(zones(h1="a", h2="a", h3="a", h4="b"), replicas=4, spread="zone")
    assert Counter(hosts.values()) == {"h1": 1, "h2": 1, "h4": 2}


def test_a_host_without_the_label_is_a_domain_of_its_own():
    fleet = Fleet.of(host("h1", zone="a"), host("h2", zone="a"), host("h3"), host("h4"))
    assert sorted(placed(fleet, replicas=3, spread="zone").values()) == ["h1", "h3", "h4"]


def test_never_two_in_one_zone_while_another_has_room():
    fleet = Fleet.of(host("h1", zone="a"), host("h2", zone="b", cpu=500), host("h3", zone="c"))
    hosts = placed(fleet, replicas=4, spread="zone", resources=resources(cpu=500))
    zones_used = Counter(hosts.values())
    assert zones_used["h2"] == 1
    assert zones_used["h1"] + zones_used["h3"] == 3


def test_what_already_runs_counts_in_the_spread():
    fleet = zones(h1="a", h2="a", h3="b")
    fleet.wish(job(replicas=2, spread="zone"))
    fleet.put("h1", instance("web.0@1"))
    assert placed(fleet, replicas=2, spread="zone") == {"web.1": "h3"}


def test_small_jobs_are_packed_tightly_so_that_a_large_one_still_fits():
    fleet = Fleet.of(host("h1", cpu=4000), host("h2", cpu=4000))
    for index in range(4):
        fleet.deploy(job(f"small{index}", resources=resources(cpu=1000, memory=2)))
    fleet.deploy(job("large", resources=resources(cpu=4000, memory=8)))
    assert fleet.held(HeldKind.NO_ROOM) == []


def test_the_largest_is_placed_first():
    fleet = Fleet.of(host("h1", cpu=2000), host("h2", cpu=1000))
    fleet.wish(job("a", resources=resources(cpu=1000)))
    fleet.wish(job("b", resources=resources(cpu=2000)))
    fleet.heal()
    assert fleet.held(HeldKind.NO_ROOM) == []


def test_where_one_way_of_packing_strands_a_replica_another_is_taken():
    fleet = Fleet.of(host("h1", cpu=3000, memory=3), host("h2", cpu=3000, memory=3))
    for name, cpu, memory in (("a", 2000, 1), ("b", 1000, 2), ("c", 1000, 2), ("d", 2000, 1)):
        fleet.wish(job(name, resources=resources(cpu=cpu, memory=memory)))
    fleet.heal()
    assert fleet.held(HeldKind.NO_ROOM) == []


@pytest.mark.parametrize("replicas", [1, 3])
def test_ties_break_on_names(replicas):
    assert list(placed(Fleet.of(*reversed(names(4))), replicas=replicas).values()) == names(replicas)
