"""A command's wish laid over memory, and what a run remembers."""

from dataclasses import replace

import pytest

from fleetctl.engine.orders import start_spec
from fleetctl.engine.record import expect, remember
from fleetctl.engine.wishing import Build, Change, Wished, desired, lay_over
from fleetctl.errors import UsageError
from fleetctl.model.desired import Desired
from fleetctl.model.host import HostSpec, Inventory
from fleetctl.model.instant import Instant
from fleetctl.model.job import Digest, JobSpec, PortRequest, ReadyProbe
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.plan import Plan, Stage, Start
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.snapshot import InstanceReport, Phase, Silence, Snapshot, Unreachable
from fleetctl.model.template import Template
from fleetctl.model.verdict import Health, HostVerdict

A, B = Digest("a" * 64), Digest("b" * 64)
WEB = JobSpec("web", "all", ("./web", Template("{{ address }}:{{ ports.http }}")), ports=(PortRequest("http"),))
NOTHING = Memory(Generation(0))


def deployed(*builds, memory=NOTHING):
    return lay_over(memory, Change(deploys=builds))


def test_the_first_deploy_makes_release_one_and_a_wish():
    wished = deployed(Build(WEB, A))
    assert [release.number for release in wished.releases] == [1]
    assert [(wish.job, wish.release, wish.replicas) for wish in wished.wishes] == [("web", 1, 1)]


def test_a_deploy_without_a_change_wishes_nothing_new():
    again = deployed(Build(WEB, A), memory=deployed(Build(WEB, A)).memory)
    assert (again.wishes, again.releases) == ((), ())


def test_going_back_to_an_older_content_is_a_new_release():
    memory = deployed(Build(WEB, B), memory=deployed(Build(WEB, A)).memory).memory
    back = deployed(Build(WEB, A), memory=memory)
    assert [release.number for release in back.releases] == [3]


def test_a_stopped_job_keeps_its_release_and_a_deploy_starts_it():
    stopped = lay_over(deployed(Build(WEB, A)).memory, Change(stops=("web",)))
    assert stopped.wishes[0].stopped
    started = deployed(Build(WEB, A), memory=stopped.memory)
    assert (started.releases, started.wishes[0].stopped, started.wishes[0].release) == ((), False, 1)


def test_stopping_an_unknown_job_names_those_that_are_known():
    with pytest.raises(UsageError, match="wbe: no such job in fleet; known are: web"):
        lay_over(deployed(Build(WEB, A)).memory, Change(stops=("wbe",)))


def test_only_a_deploy_of_a_job_rolls_it(tmp_path):
    memory = deployed(Build(WEB, A)).memory
    inventory = Inventory("test", tmp_path, (HostSpec("h1", "10.0.0.1"),), {"all": ("h1",)})
    heal = desired(Wished(memory, (), ()), inventory, lambda _: ("h1",), Change(), 1)
    deploy = desired(Wished(memory, (), ()), inventory, lambda _: ("h1",), Change(deploys=(Build(WEB, A),)), 1)
    assert (heal.jobs[0].rolls, deploy.jobs[0].rolls) == (False, True)


def start(host="h1"):
    instance = InstanceName.parse("web.0@1")
    return Start(host, instance, 1, (("http", 20000),), "10.0.0.1", "missing")


def test_an_order_to_start_has_everything_rendered():
    spec = replace(WEB, ready=ReadyProbe("http", "http", path="/up"))
    release = deployed(Build(spec, A)).releases[0]
    sent = start_spec(start(), release, fleet="test", replicas=4)
    assert sent["argv"] == ["./web", "10.0.0.1:20000"]
    assert (sent["ready"]["port"], sent["ready"]["path"], sent["wish_replicas"]) == (20000, "/up", 4)


def test_what_a_plan_places_is_known_before_its_first_order(tmp_path):
    memory = deployed(Build(WEB, A)).memory
    inventory = Inventory("test", tmp_path, (HostSpec("h1", "10.0.0.1"),), {"all": ("h1",)})
    wanted = desired(Wished(memory, (), ()), inventory, lambda _: ("h1",), Change(), 1)
    placed = expect(memory, Plan(Generation(1), (Stage((start(),)),), (), {}), wanted)
    assert [str(row.name) for row in placed["h1"].instances] == ["web.0@1"]


def test_silence_is_counted_once_a_run_and_what_ran_there_is_kept():
    row = InstanceReport(InstanceName.parse("web.0@1"), 1, Phase.READY)
    at_start = {"h1": HostMemory("10.0.0.1", 1, Instant(50.0), None, (row,))}
    snapshot = Snapshot(Instant(100.0), {"h1": Unreachable(Silence.SILENT, "silent", tries=3)})
    judged = {"h1": HostVerdict(Health.SUSPECT, "silent", Instant(100.0))}
    wanted = Desired("test", (HostSpec("h1", "10.0.0.1"),), ())
    once = remember(wanted, Memory(Generation(1), at_start), snapshot, judged, at_start=at_start)
    twice = remember(wanted, Memory(Generation(1), once), snapshot, judged, at_start=at_start)
    assert once == twice
    assert (once["h1"].silent_runs, once["h1"].silent_since) == (2, 50.0)
    assert once["h1"].instances == (row,)
