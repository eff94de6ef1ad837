"""Whose hosts these are: names that are one machine, and who drove them last."""

from dataclasses import replace

import pytest

from fleetctl.errors import UsageError
from fleetctl.model.desired import Desired
from fleetctl.model.host import HostSpec
from fleetctl.model.instant import Instant
from fleetctl.model.memory import Cordon, HostMemory, Memory
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.resources import Bytes, MilliCpu
from fleetctl.model.snapshot import (
    Facts,
    Guard,
    HostReport,
    InstanceReport,
    Phase,
    Reachable,
    Silence,
    Snapshot,
    Unreachable,
)
from fleetctl.model.verdict import Health, HostVerdict
from fleetctl.plan.ownership import (
    GENERATION_MAX,
    LEAP,
    leap_over,
    one_name_each,
    other_driver,
    owes_a_claim,
    refuse_shared_roots,
    why_not_forget,
)

US = "ann@desk:1111"
SILENT = Unreachable(Silence.SILENT, "no answer", tries=3)


def row(name="web.0@4", phase=Phase.READY):
    return InstanceReport(InstanceName.parse(name), 1, phase)


def seen(host_id="", *rows, generation=0, author="", fleet="prod"):
    facts = Facts(MilliCpu(1000), Bytes(1), Bytes(1), Bytes(1))
    guard = Guard(Generation(generation), author)
    report = HostReport(1, "boot", guard, facts, host_id=host_id, fleet=fleet, instances=rows)
    return Reachable(report, "10.0.0.1")


def snapshot(**hosts):
    return Snapshot(Instant(100.0), hosts)


def wanted(*names, gone=()):
    return Desired("prod", tuple(HostSpec(name, name) for name in (*names, *gone)), (), gone=frozenset(gone))


def remembered(cordons=None, **hosts):
    return Memory(Generation(5), hosts, cordons=cordons or {})


def known(host_id="", *rows, **more):
    return HostMemory("10.0.0.1", host_id=host_id, instances=rows, **more)


# -- one machine, one name


@pytest.mark.parametrize("old", [seen("X", row()), SILENT])
def test_a_gone_host_that_is_one_of_the_inventory_now_is_that_one(old):
    cordon = Cordon("ann", 5.0)
    named = one_name_each(
        wanted("new", "b", gone=("old",)),
        snapshot(new=seen("X", row()), b=seen("Y"), old=old),
        remembered({"old": cordon}, old=known("X", row(), behind=frozenset({"web"})), b=known("Y")),
    )
    assert named.renamed == {"old": "new"}
    assert (set(named.desired.gone), [host.name for host in named.desired.hosts]) == (set(), ["new", "b"])
    assert sorted(named.snapshot.hosts) == ["b", "new"]
    assert sorted(named.memory.hosts) == ["b", "new"]
    assert named.memory.hosts["new"].behind == {"web"}
    assert named.memory.cordons == {"new": cordon}
    refuse_shared_roots(named.snapshot)


def test_a_gone_host_that_is_no_other_stays():
    desired, looked = wanted("b", gone=("old",)), snapshot(b=seen("Y"), old=seen("X", row()))
    memory = remembered(old=known("X", row()), b=known("Y"))
    named = one_name_each(desired, looked, memory)
    assert (named.desired, named.snapshot, named.memory, named.renamed) == (desired, looked, memory, {})


def test_without_an_identity_an_instance_tells_who_it_is():
    named = one_name_each(
        wanted("new", gone=("old",)), snapshot(new=seen("X", row()), old=SILENT), remembered(old=known("", row()))
    )
    assert named.renamed == {"old": "new"}


def test_two_old_names_of_one_machine_that_has_no_new_one_are_one():
    named = one_name_each(
        wanted("b", gone=("old1", "old2")),
        snapshot(b=seen("Y"), old1=seen("X", row()), old2=seen("X", row())),
        remembered(old1=known("X", row()), old2=known("X", row())),
    )
    assert named.renamed == {"old2": "old1"}


def test_another_machine_at_the_address_of_a_gone_host_is_not_taken_for_it():
    named = one_name_each(
        wanted("b", gone=("old",)),
        snapshot(b=seen("Y"), old=seen("Y")),
        remembered(old=known("X", row()), b=known("Y")),
    )
    assert named.renamed == {}
    assert named.snapshot.hosts["old"] == Unreachable(Silence.HOST_KEY, "b answers at its last address now", tries=0)
    assert named.memory.hosts["old"].instances == (row(),)
    refuse_shared_roots(named.snapshot)


def test_two_names_of_the_inventory_for_one_root_are_refused_though_one_had_a_third():
    named = one_name_each(
        wanted("a", "b", gone=("old",)), snapshot(a=seen("X"), b=seen("X"), old=seen("X")), remembered(old=known("X"))
    )
    with pytest.raises(UsageError, match="a and b of the inventory have the same root"):
        refuse_shared_roots(named.snapshot)


def test_the_order_of_the_names_does_not_matter():
    hosts = {"new": seen("X"), "old1": seen("X"), "old2": SILENT, "b": seen("Y")}
    memory = {"old1": known("X"), "old2": known("X"), "b": known("Y")}
    desired = wanted("new", "b", gone=("old1", "old2"))
    forward = one_name_each(desired, snapshot(**hosts), remembered(**memory))
    backward = one_name_each(
        replace(desired, hosts=desired.hosts),
        snapshot(**dict(reversed(hosts.items()))),
        remembered(**dict(reversed(memory.items()))),
    )
    assert forward == backward
    assert forward.renamed == {"old1": "new", "old2": "new"}


# -- who drives


def test_nobody_else_drives_where_we_are_ahead_or_drove_last():
    looked = snapshot(a=seen(generation=5, author=US), b=seen(generation=4, author="bob@lap:2222"), c=seen())
    assert other_driver("prod", looked, remembered(), US) is None
    assert other_driver("prod", snapshot(a=SILENT), remembered(), US) is None


@pytest.mark.parametrize("author", ["bob@lap:2222", US])
def test_a_newer_guard_is_somebody_elses_or_of_a_newer_memory_of_ours(author):
    looked = snapshot(a=seen(generation=7, author=author), b=seen(generation=7, author=author), c=seen(generation=6))
    driver = other_driver("prod", looked, remembered(), US)
    assert (driver.guard.generation, driver.guard.author, driver.hosts) == (7, author, ("a", "b"))


def test_the_same_generation_by_another_author_is_somebody_elses():
    looked = snapshot(a=seen(generation=5, author="bob@lap:2222"))
    assert other_driver("prod", looked, remembered(), US).hosts == ("a",)
    same_store = snapshot(a=seen(generation=5, author="root@desk:1111"))
    assert other_driver("prod", same_store, remembered(), US) is None, "another user of the same store is no stranger"


def test_of_two_drivers_of_one_generation_the_first_host_decides_and_their_hosts_are_not_mixed():
    looked = snapshot(b=seen(generation=7, author="bob@lap:2222"), a=seen(generation=7, author="eve@pad:3333"))
    assert other_driver("prod", looked, remembered(), US).hosts == ("a",)


def test_hosts_of_another_fleet_say_nothing_about_ours():
    looked = snapshot(a=seen(generation=99, author="bob@lap:2222", fleet="other"))
    assert other_driver("prod", looked, remembered(), US) is None
    assert leap_over("prod", looked, Generation(5)) == 5 + LEAP
    assert not owes_a_claim("prod", looked, remembered(), US)


def test_a_take_over_leaps_over_all_that_was_seen():
    looked = snapshot(a=seen(generation=7), b=seen(generation=47), c=SILENT)
    assert leap_over("prod", looked, Generation(12)) == 47 + LEAP
    assert leap_over("prod", looked, Generation(60)) == 60 + LEAP
    with pytest.raises(UsageError, match=r"d says that it has seen generation \d+, which no fleetctl gave"):
        leap_over("prod", snapshot(d=seen(generation=GENERATION_MAX + 1)), Generation(1))


@pytest.mark.parametrize(
    ("looked", "generation", "owed"),
    [
        (snapshot(a=seen(generation=5, author=US), b=seen(generation=3, author=US)), 5, False),
        (snapshot(a=seen(generation=5, author=US), b=seen(generation=3, author="bob@lap:2222")), 5, True),
        (snapshot(a=seen(generation=4, author=US), b=seen()), 5, True),
        (snapshot(a=seen(), b=seen()), 0, False),
        (snapshot(a=SILENT), 5, False),
    ],
)
def test_a_claim_is_owed_where_a_host_obeys_another_or_none_keeps_the_newest_wishes(looked, generation, owed):
    assert owes_a_claim("prod", looked, Memory(Generation(generation)), US) is owed


# -- forgetting


def judged(health):
    return {"h1": HostVerdict(health, "its evidence", Instant(0.0))}


@pytest.mark.parametrize(
    ("gone", "observed", "rows", "health", "why"),
    [
        (True, seen("X", row()), (), Health.HEALTHY, "h1 answers, and runs web.0@4"),
        (True, seen("X", row(phase=Phase.STOPPED)), (), Health.HEALTHY, ""),
        (False, seen("Z", row()), (row(),), Health.SUSPECT, ""),
        (True, SILENT, (row(),), Health.SUSPECT, "h1 may still run web.0@4 (its evidence)"),
        (False, SILENT, (row(),), Health.SUSPECT, "h1 may still run web.0@4"),
        (True, SILENT, (row(),), Health.LOST, ""),
        (True, SILENT, (), Health.SUSPECT, ""),
        (True, seen("X", row(), fleet="other"), (row(),), Health.SUSPECT, "may still run"),
    ],
)
def test_a_host_is_forgotten_only_where_nothing_is_lost_from_sight(gone, observed, rows, health, why):
    desired = wanted("b", gone=("h1",)) if gone else wanted("h1", "b")
    told = why_not_forget("h1", desired, snapshot(h1=observed), judged(health), remembered(h1=known("X", *rows)))
    assert why in told if why else told == ""


def test_of_many_instances_some_are_named():
    rows = tuple(row(f"web.{n}@4") for n in range(7))
    memory = remembered(h1=known("X", *rows))
    told = why_not_forget("h1", wanted("h1"), snapshot(h1=SILENT), judged(Health.SUSPECT), memory)
    assert "web.4@4 and 2 more" in told
