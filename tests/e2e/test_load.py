"""A steady load over everything that moves instances of a healthy fleet: no request fails that need not."""

from tests.e2e.load import WORKERS, Load

DRAIN_S = 5.0  # status takes a second or two to be asked: the client knows in time
STOP = {"drain": f"{DRAIN_S:g}s", "timeout": "5s"}
UPDATE = {"min_healthy": "1500ms", "deadline": "60s"}
READY = {"http": "/", "port": "http", "interval": "200ms", "timeout": "500ms", "failures": 2}
BRISK = {"stop": STOP, "update": UPDATE, "ready": READY}


def named(fleet, *argv):
    return fleet.run(*argv, "-i", str(fleet.inventory)).ends(0)


def failures(load, figure):
    """Of a client that followed: whoever looks less often than a drain lasts is not warned by it."""
    figure("requests over all that moves instances", load.asked)
    figure("s that the client used what status had said, at most", load.stalest_s)
    assert load.asked > 500
    return [failure for failure in load.failures if failure.known_for_s < DRAIN_S]


def test_no_request_fails_where_instances_surge_and_serve_until_their_drain_ends(fleet, figure):
    fleet.deployed(replicas=2, **BRISK)
    before = fleet.programs()
    load = Load(fleet)
    with load.running():
        named(fleet, "restart", "web")
        assert not set(before) & set(fleet.programs())
        load.await_places(4, "two, and two that were restarted")
        named(fleet, "scale", "web=4")
        load.await_places(6, "and two more")
        named(fleet, "scale", "web=2")
        host = fleet.host_of("web.1")
        named(fleet, "drain", host)
        assert host not in {program.host for program in fleet.programs()}
        load.await_places(7, "and one that moved")
        fleet.heal().ends(0)
    assert failures(load, figure) == []


def test_at_most_what_is_in_flight_fails_where_they_stop_first(fleet, figure):
    fleet.deployed(replicas=3, constraints=["labels.zone == 'a'"], ports={"http": 8080}, **BRISK)
    before = fleet.programs()
    load = Load(fleet)
    with load.running():
        named(fleet, "restart", "web")
    assert not set(before) & set(fleet.programs())
    assert len(failures(load, figure)) <= WORKERS * len(before), load.failures
