"""What hosts keep of a fleet comes back equal; what they make of it is not believed."""

import base64
import json
import random
import zlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetctl.errors import StateError
from fleetctl.host import protocol
from fleetctl.model.job import Digest, JobSpec, Release
from fleetctl.model.memory import Cordon, HostMemory, JobMemory, Memory, Wish
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.snapshot import InstanceReport, Phase
from fleetctl.state import handover
from fleetctl.state.handover import BYTES_MAX, Driver, NotEnoughError, opened, pack, seal
from tests.unit.state.scene import release
from tests.unit.state.values import any_value

DRIVER = Driver("root", "ops1", "/root/.local/state/fleetctl")


def memory(*releases, good=(), wished=None, cordons=None, **wish):
    jobs = {}
    for made in releases:
        known = jobs[made.job].releases if made.job in jobs else {}
        number = wished or made.number
        jobs[made.job] = JobMemory(
            Wish(made.job, number, **{"replicas": 2, **wish}), {**known, made.number: made}, frozenset(good)
        )
    return Memory(Generation(47), jobs=jobs, cordons=cordons or {})


def packed(known=None):
    """What is inside: a test may change it, and has it sealed again."""
    return opened(json.loads(json.dumps(pack(Generation(47), DRIVER, known or memory(release(1))))))


def unpack(inside):
    return handover.unpack(seal(inside))


def test_wish_releases_and_cordons_come_back_equal():
    known = memory(release(1), release(2), good={1, 2}, owner="playbooks/web.yml", orphan=True, scaled=True)
    cordons = {"h1": Cordon("ann", 5.0, "disk", drains=True)}
    kept = unpack(packed(memory(release(1), cordons=cordons)))
    assert (kept.generation, kept.driver, kept.cordons) == (47, DRIVER, cordons)
    assert unpack(packed(known)).job_memories() == known.jobs


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_value(JobSpec), st.integers(1, 2**31 - 1))
def test_any_spec_comes_back_equal(spec, number):
    made = Release(number, replace(spec, name="web"))
    assert unpack(packed(memory(made))).job_memories()["web"].releases == {number: made}


def test_of_the_releases_the_wished_and_the_two_newest_good_ones_are_kept():
    known = memory(*(release(number) for number in range(1, 8)), good={1, 2, 4, 5}, wished=6)
    job = unpack(packed(known)).job_memories()["web"]
    assert (sorted(job.releases), job.good, job.wish.release) == ([4, 5, 6], {4, 5}, 6)


def test_what_a_host_keeps_fits_into_one_of_its_lines():
    assert BYTES_MAX < protocol.LINE_BYTES_MAX - 1024 * 1024
    noise = random.Random(1).randbytes(BYTES_MAX).hex()  # nothing makes it smaller than it is
    big = release(1, job="big", command=(noise,))
    with pytest.raises(StateError, match=f"more than {BYTES_MAX}") as told:
        pack(Generation(1), DRIVER, memory(release(1), big))
    assert "big's" in told.value.hint


def test_many_hosts_with_many_instances_take_little():
    rows = tuple(
        InstanceReport(InstanceName.parse(f"web.{n}@{n + 1}"), 1, Phase.READY, (("http", 20000 + n),), "10.0.0.1")
        for n in range(10)
    )
    hosts = {f"app{n:03}": HostMemory(f"10.0.0.{n}", instances=rows, host_id=f"{n:032x}") for n in range(100)}
    sent = pack(Generation(47), DRIVER, replace(memory(release(1)), hosts=hosts))
    assert len(json.dumps(sent)) < 20 * 1024


def test_what_unpacks_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(handover, "UNPACKED_MAX", 1024)
    bomb = base64.b64encode(zlib.compress(b'{"a": "' + b"x" * 2048 + b'"}')).decode()
    with pytest.raises(NotEnoughError, match="damaged"):
        handover.unpack({"version": 2, "packed": bomb})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "keeps no wishes"),
        ("web", "another version"),
        ({}, "another version"),
        ({"generation": 3, "jobs": [{"job": "web"}]}, "another version"),
        ({"version": 3}, "another version"),
        ({"version": 2}, "damaged"),
        ({"version": 2, "packed": 5}, "damaged"),
        ({"version": 2, "packed": "e30="}, "damaged"),
    ],
)
def test_what_is_not_enough_is_told_apart(said, why):
    with pytest.raises(NotEnoughError, match=why):
        handover.unpack(said)


def changed(path, value):
    said = packed(memory(release(1), release(2)))
    *way, last = path
    place = said
    for step in way:
        place = place[step]
    place[last] = value
    return said


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("generation",), "many"),
        (("jobs",), {}),
        (("jobs", 0, "wish", "job"), "../web"),
        (("jobs", 0, "wish", "job"), "db"),
        (("jobs", 0, "wish", "release"), 7),
        (("jobs", 0, "wish", "replicas"), -1),
        (("jobs", 0, "wish", "replicas"), 10**9),
        (("jobs", 0, "releases"), []),
        (("jobs", 0, "releases", 0, "number"), 2**70),
        (("jobs", 0, "releases", 0, "number"), 0),
        (("jobs", 0, "releases", 0, "artifact"), "../../etc"),
        (("jobs", 0, "releases", 0, "spec", "name"), "db"),
        (("jobs", 0, "releases", 0, "spec", "command"), 5),
        (("cordons", "h1"), {"by": 5}),
    ],
)
def test_what_a_host_made_of_it_is_refused(path, value):
    with pytest.raises(NotEnoughError, match=r"damaged|contradict"):
        unpack(changed(path, value))


def test_a_job_told_twice_is_refused():
    said = packed()
    with pytest.raises(NotEnoughError, match="contradict"):
        unpack({**said, "jobs": said["jobs"] * 2})


def test_what_nests_without_end_is_refused():
    deep = b'{"version": 2, "jobs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(NotEnoughError, match="damaged"):
        handover.unpack({"version": 2, "packed": base64.b64encode(zlib.compress(deep)).decode()})


def test_words_that_are_shown_hold_nothing_that_a_terminal_obeys():
    said = packed(memory(release(1), cordons={"h1": Cordon("ann\x1b[2J", 5.0, "why\u202e")}, owner="a\nb"))
    kept = unpack({**said, "driver": {"user": "ro\x07ot", "host": "ops1", "state": "/root"}})
    shown = repr([kept.cordons, kept.driver, kept.job_memories()["web"].wish])
    assert shown.count("\ufffd") == 4
    assert "\\x1b" not in shown


def test_where_what_runs_was_placed_comes_back_as_far_as_it_is_needed_of_a_silent_host():
    row = InstanceReport(
        InstanceName.parse("web.0@4"), 3, Phase.READY, (("http", 20000),), "10.0.0.1", Digest("a" * 64), pid=7
    )
    host = HostMemory("10.0.0.1", 2, instances=(row,), host_id="X", behind=frozenset({"web", "api"}))
    kept = unpack(packed(replace(memory(release(1)), hosts={"h1": host})))
    there = InstanceReport(row.name, 3, Phase.READY, row.ports, row.address)
    expected = HostMemory("10.0.0.1", instances=(there,), host_id="X", behind=frozenset({"web", "api"}))
    assert kept.host_memories() == {"h1": expected}


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "../web"), ("release", 2**40), ("phase", "asleep"), ("ports", [["http", 70000]]), ("address", "a\nb")],
)
def test_a_placement_that_can_not_be_is_refused(key, value):
    row = InstanceReport(InstanceName.parse("web.0@4"), 3, Phase.READY, (("http", 20000),), "10.0.0.1")
    said = packed(replace(memory(release(1)), hosts={"h1": HostMemory(instances=(row,))}))
    said["hosts"]["h1"]["instances"][0][key] = value
    with pytest.raises(NotEnoughError, match=r"damaged|contradict"):
        unpack(said)
