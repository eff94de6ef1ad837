"""What a sweep's end means to whoever typed the command."""

from __future__ import annotations

import pytest

from fleetctl.errors import ExitCode
from fleetctl.model.snapshot import Phase, Silence
from fleetctl.model.verdict import Health
from fleetctl.plan.outcome import exit_code, newly_good
from tests.unit.plan.fleets import Fleet, instance, job, names


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet.of(*names(5))
    fleet.deploy(job(replicas=4))
    return fleet


def code(fleet: Fleet, *, failed: bool = False) -> ExitCode:
    fleet.heal()
    assert fleet.plan is not None
    return exit_code(fleet.plan, fleet.verdicts(), fleet.snapshot(), fleet.desired(), failed=failed)


def test_0_all_is_as_wished(fleet):
    assert code(fleet) is ExitCode.AS_WISHED


def test_4_heal_replaced_all_that_a_dead_host_had(fleet):
    fleet.lose("h2")
    assert code(fleet) is ExitCode.UNREACHED


def test_4_a_suspect_host_with_nothing_on_it(fleet):
    fleet.doubt("h5")
    assert code(fleet) is ExitCode.UNREACHED


def test_3_a_suspect_host_with_instances_on_it(fleet):
    fleet.doubt("h2", silence=Silence.LOGIN)
    assert code(fleet) is ExitCode.DEGRADED


def test_3_replicas_are_missing(fleet):
    fleet.wish(job(replicas=4, hosts="h1:h2"))
    fleet.lose("h1", "h2")
    assert code(fleet) is ExitCode.DEGRADED


def test_3_too_much_is_lost_to_act(fleet):
    fleet.lose("h1", "h2", "h3")
    assert code(fleet) is ExitCode.DEGRADED


def test_3_a_stalled_rollout(fleet):
    fleet.wish(job(replicas=4, command=("./new",)))
    assert code(fleet) is ExitCode.DEGRADED


def test_3_a_broken_host(fleet):
    fleet.machines["h5"].health = Health.BROKEN
    assert code(fleet) is ExitCode.DEGRADED


def test_3_an_instance_that_is_not_ready(fleet):
    fleet.put("h1", instance("web.0@1", Phase.UNREADY))
    assert code(fleet) is ExitCode.DEGRADED


def test_0_somebody_elses_job_runs_on_a_host(fleet):
    fleet.put("h1", instance("old.0@1"))
    assert code(fleet) is ExitCode.AS_WISHED


def test_1_comes_before_3(fleet):
    fleet.doubt("h2")
    assert code(fleet, failed=True) is ExitCode.FAILED


def good(fleet: Fleet) -> tuple[tuple[str, int], ...]:
    return newly_good(fleet.desired(), fleet.snapshot(), fleet.memory())


def test_a_release_is_good_once_all_its_replicas_were_ready_for_min_healthy_together():
    fleet = Fleet.of("h1", "h2")
    fleet.wish(job(replicas=2))
    fleet.put("h1", instance("web.0@1"))
    assert good(fleet) == ()
    fleet.put("h2", instance("web.1@1", ready_for_s=9.9))
    assert good(fleet) == ()
    fleet.put("h2", instance("web.1@1", ready_for_s=10.0))
    assert good(fleet) == (("web", 1),)


def test_a_replica_that_cannot_be_seen_is_not_counted_as_ready(fleet):
    fleet.wish(job(replicas=4, min_healthy_s=1.0))
    assert good(fleet) == (("web", 2),)
    fleet.doubt("h2")
    assert good(fleet) == ()


def test_a_release_that_is_known_to_be_good_or_stopped_is_not_told_again(fleet):
    assert good(fleet) == ()
    fleet.jobs["web"] = type(fleet.jobs["web"])(fleet.jobs["web"].wish, fleet.jobs["web"].releases)
    assert good(fleet) == (("web", 1),)
    fleet.stop("web")
    assert good(fleet) == ()


def test_a_job_without_a_probe_is_good_once_it_is_ready():
    fleet = Fleet.of("h1")
    fleet.wish(job(ready=None))
    fleet.put("h1", instance("web.0@1", ready_for_s=0.0))
    assert good(fleet) == (("web", 1),)


def test_what_runs_under_another_fleets_root_shows_nothing_of_a_release():
    fleet = Fleet.of(*names(3))
    fleet.wish(job(replicas=2))
    fleet.put("h1", instance("web.0@1"))
    fleet.put("h2", instance("web.1@1"))
    assert newly_good(fleet.desired(), fleet.snapshot(), fleet.memory()) == (("web", 1),)
    fleet.machines["h2"].fleet = "staging"
    assert newly_good(fleet.desired(), fleet.snapshot(), fleet.memory()) == ()
