"""Who tries whom, so that every host has witnesses."""

from __future__ import annotations

from collections import Counter

from fleetctl.plan.neighbours import neighbours
from tests.unit.plan.fleets import host


def ring(*hosts, known=None):
    addresses = {spec.name: spec.address for spec in hosts}
    return neighbours(tuple(hosts), addresses if known is None else {name: addresses[name] for name in known})


def zoned(**zones: str):
    return [host(name, zone=zone) for name, zone in zones.items()]


def test_the_next_three_of_a_ring_in_which_zones_alternate():
    tried = ring(*zoned(a1="a", a2="a", a3="a", b1="b", b2="b", b3="b"))
    assert tried["a1"] == ("b1", "a2", "b2")
    assert tried["b3"] == ("a1", "b1", "a2")


def test_each_host_is_tried_by_three_others():
    tried = ring(*(host(f"h{number}", zone="abc"[number % 3]) for number in range(10)))
    counts = Counter(peer for peers in tried.values() for peer in peers)
    assert set(counts.values()) == {3}
    assert all(name not in peers for name, peers in tried.items())


def test_in_a_small_fleet_each_tries_all_others():
    assert ring(host("h1"), host("h2")) == {"h1": ("h2",), "h2": ("h1",)}
    assert ring(host("h1")) == {"h1": ()}
    assert ring() == {}


def test_a_host_without_a_known_address_is_left_out():
    assert ring(host("h1"), host("h2"), host("h3"), known=["h1", "h3"]) == {"h1": ("h3",), "h3": ("h1",)}


def test_the_order_of_the_inventory_does_not_matter():
    hosts = zoned(a1="a", b1="b", c1="c", a2="a")
    assert ring(*hosts) == ring(*reversed(hosts))
