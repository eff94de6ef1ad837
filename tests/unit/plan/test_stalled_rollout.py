"""A rollout that never got ready, and then the host of the older instance that served beside it is lost."""

import pytest

from fleetctl.model.plan import HeldKind, Start, Stop
from fleetctl.model.snapshot import Phase
from tests.unit.plan.fleets import Fleet, actions, fixed, instance, job, names

OVERDUE_S = 301.0  # a job's deadline is 300 s


def stalled(*, age_s=OVERDUE_S, **changes):
    """web.0@1 and web.1@1 serve the good release; web.0@2 of the next never got ready."""
    fleet = Fleet.of(*names(4))
    fleet.wish(job(replicas=2, **changes), good=True)
    fleet.put("h1", instance("web.0@1"))
    fleet.put("h2", instance("web.1@1"))
    fleet.wish(job(replicas=2, command=("./web", "broken"), **changes))
    fleet.put("h3", instance("web.0@2", Phase.STARTING, release=2, age_s=age_s))
    return fleet


def test_heal_brings_the_lost_one_back_on_the_old_release_and_stops_the_useless_one_once_that_is_ready():
    fleet = stalled()
    fleet.lose("h1")
    (plan,) = fleet.heal()
    (start,) = actions(plan, Start)
    (stop,) = actions(plan, Stop)
    assert (str(start.instance.replica), start.release) == ("web.0", 1)
    assert str(stop.instance) == "web.0@2"
    assert [type(stage.actions[0]).__name__ for stage in plan.stages][-3:] == ["Start", "AwaitReady", "Stop"]
    assert fleet.held(HeldKind.STALLED_ROLLOUT), "a person has to deploy again"


def test_while_the_old_one_serves_heal_leaves_both():
    assert stalled().heal() == []


def test_what_still_has_time_is_awaited_first():
    fleet = stalled(age_s=10.0)
    fleet.lose("h1")
    plan = fleet.decide()
    assert actions(plan, Start) == []


def test_while_the_old_one_may_live_nothing_is_started():
    fleet = stalled()
    fleet.doubt("h1")
    assert fleet.heal() == []


def test_what_was_stopped_by_the_deploy_itself_is_not_rolled_back():
    fleet = stalled()
    fleet.put("h1", instance("web.0@1", Phase.STOPPED))
    assert fleet.heal() == []


@pytest.mark.parametrize("ready_before", [True, False])
def test_only_what_was_never_ready_is_useless(ready_before):
    fleet = stalled()
    fleet.put("h3", instance("web.0@2", Phase.UNREADY, release=2, age_s=OVERDUE_S, ever_ready=ready_before))
    fleet.lose("h1")
    assert bool(fleet.heal()) is not ready_before


def test_where_a_fixed_port_leaves_no_room_it_says_so():
    fleet = stalled(ports=fixed(8080))
    held = {"ports": (("http", 8080),)}
    fleet.put("h1", instance("web.0@1", **held))
    fleet.put("h2", instance("web.1@1", **held))
    fleet.put("h3", instance("web.0@2", Phase.STARTING, release=2, age_s=OVERDUE_S, **held))
    fleet.lose("h1")
    fleet.doubt("h4")
    assert fleet.heal() == []
    assert fleet.held(HeldKind.NO_ROOM)
