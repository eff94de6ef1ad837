"""A command's wish laid over memory, and what a run remembers."""

from dataclasses import replace

import pytest

from fleetctl.engine.record import expect, remember
from fleetctl.engine.wishing import Build, Change, Wished, desired, lay_over
from fleetctl.errors import UsageError
from fleetctl.model.desired import Desired
from fleetctl.model.host import HostSpec, Inventory
from fleetctl.model.instant import Instant
from fleetctl.model.job import Digest, JobSpec, PortRequest
from fleetctl.model.memory import Cordon, Failure, HostMemory, Memory
from fleetctl.model.plan import Plan, Stage, Start
from fleetctl.model.replica import Generation, InstanceName, ReplicaName
from fleetctl.model.resources import Bytes, MilliCpu
from fleetctl.model.snapshot import (
    Event,
    Facts,
    Guard,
    HostReport,
    InstanceReport,
    Phase,
    Reachable,
    Silence,
    Snapshot,
    Unreachable,
    Usage,
)
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


def test_a_restart_of_a_stopped_job_is_refused_with_what_to_do():
    stopped = lay_over(deployed(Build(WEB, A)).memory, Change(stops=("web",))).memory
    with pytest.raises(UsageError, match="web is stopped: there is nothing to restart") as caught:
        lay_over(stopped, Change(restarts=("web",)))
    assert caught.value.hint == "fleetctl start web"


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


def test_what_grows_by_itself_is_not_remembered_of_an_instance():
    name = InstanceName.parse("web.0@1")
    lasting = InstanceReport(name, 1, Phase.READY, limits="advisory: no cgroup v2")
    seen = replace(lasting, usage=Usage(1.0, 2, 3, 4), story=(Event(1.0, 1, "started"),), said="busy", age_s=5.0)
    facts = Facts(MilliCpu(1), Bytes(1), Bytes(1), Bytes(1))
    report = HostReport(1, "b", Guard(Generation(1), "me"), facts, fleet="test", instances=(seen,))
    wanted = Desired("test", (HostSpec("h1", "10.0.0.1"),), ())
    judged = {"h1": HostVerdict(Health.HEALTHY, "answers", Instant(0.0))}
    snapshot = Snapshot(Instant(1.0), {"h1": Reachable(report, "10.0.0.1")})
    kept = remember(wanted, Memory(Generation(1)), snapshot, judged, at_start={}, behind={})
    assert kept["h1"].instances == (lasting,)


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
    once = remember(wanted, Memory(Generation(1), at_start), snapshot, judged, at_start=at_start, behind={})
    twice = remember(wanted, Memory(Generation(1), once), snapshot, judged, at_start=at_start, behind={})
    assert once == twice
    assert (once["h1"].silent_runs, once["h1"].silent_since) == (2, 50.0)
    assert once["h1"].instances == (row,)


# -- whose jobs


API = replace(WEB, name="api")


def by(owner, *specs, memory=NOTHING, **more):
    return lay_over(memory, Change(deploys=tuple(Build(spec, A) for spec in specs), owner=owner, **more))


def wish_of(wished, job):
    return wished.memory.jobs[job].wish


def test_a_deploy_owns_the_jobs_of_its_playbook_and_leaves_others_alone():
    first = by("a/web.yml", WEB)
    second = by("b/api.yml", API, memory=first.memory)
    assert [wish.job for wish in second.wishes] == ["api"]
    assert (wish_of(second, "web").owner, wish_of(second, "api").owner) == ("a/web.yml", "b/api.yml")
    assert not wish_of(second, "web").orphan


@pytest.mark.parametrize(("prune", "stopped"), [(False, False), (True, True)])
def test_a_job_gone_from_its_playbook_is_shown_and_stopped_only_when_pruned(prune, stopped):
    both = by("a/web.yml", WEB, API)
    without = by("a/web.yml", WEB, memory=both.memory, prune=prune)
    assert (wish_of(without, "api").orphan, wish_of(without, "api").stopped) == (True, stopped)
    assert [wish.job for wish in without.wishes] == ["api"]


def test_an_orphan_that_is_pruned_later_is_stopped_then():
    orphaned = by("a/web.yml", WEB, memory=by("a/web.yml", WEB, API).memory)
    pruned = by("a/web.yml", WEB, memory=orphaned.memory, prune=True)
    assert wish_of(pruned, "api").stopped


def test_a_job_that_is_back_in_its_playbook_is_started_and_that_is_said():
    pruned = by("a/web.yml", WEB, memory=by("a/web.yml", WEB, API).memory, prune=True)
    back = by("a/web.yml", WEB, API, memory=pruned.memory)
    assert (wish_of(back, "api").orphan, wish_of(back, "api").stopped) == (False, False)
    assert back.notices["api"] == ("api is back in a/web.yml: this deploy starts it",)


def test_another_playbooks_job_is_refused_unless_it_is_adopted():
    first = by("a/web.yml", WEB)
    with pytest.raises(UsageError, match=r"web: this job is a/web\.yml's, and b/site\.yml has one of the same name"):
        by("b/site.yml", WEB, memory=first.memory)
    adopted = by("b/site.yml", WEB, memory=first.memory, adopt=True)
    assert wish_of(adopted, "web").owner == "b/site.yml"
    former = by("a/web.yml", API, memory=adopted.memory)
    assert not wish_of(former, "web").orphan, "it is no longer that playbook's"


def test_what_nobody_owns_any_more_can_be_taken():
    orphaned = by("a/web.yml", API, memory=by("a/web.yml", WEB, API).memory)
    assert wish_of(by("b/site.yml", WEB, memory=orphaned.memory), "web").owner == "b/site.yml"
    unknown = lay_over(NOTHING, Change((Build(WEB, A),)))  # as an older fleetctl left it
    assert wish_of(by("b/site.yml", WEB, memory=unknown.memory), "web").owner == "b/site.yml"


def test_nothing_is_pruned_of_other_playbooks_or_of_a_heal():
    both = by("b/api.yml", API, memory=by("a/web.yml", WEB).memory)
    assert by("a/web.yml", WEB, memory=both.memory, prune=True).wishes == ()
    assert lay_over(both.memory, Change(prune=True)).wishes == ()


def test_a_scale_by_hand_holds_until_the_next_deploy_which_says_so():
    scaled = lay_over(by("a/web.yml", WEB).memory, Change(scales=(("web", 4),)))
    assert (wish_of(scaled, "web").replicas, wish_of(scaled, "web").scaled) == (4, True)
    assert lay_over(scaled.memory, Change()).wishes == ()
    again = by("a/web.yml", WEB, memory=scaled.memory)
    assert (wish_of(again, "web").replicas, wish_of(again, "web").scaled) == (1, False)
    assert again.notices["web"] == ("web was scaled to 4 by a person: this deploy sets 1",)


def test_a_stop_by_hand_is_undone_by_a_start_or_by_the_next_deploy_which_says_so():
    stopped = lay_over(by("a/web.yml", WEB).memory, Change(stops=("web",)))
    assert not wish_of(lay_over(stopped.memory, Change(starts=("web",))), "web").stopped
    again = by("a/web.yml", WEB, memory=stopped.memory)
    assert again.notices["web"] == ("web was stopped by a person: this deploy starts it",)


def test_a_second_cordon_changes_nothing_but_one_that_drains():
    plain, drains = Cordon("ann", 5.0), Cordon("bob", 6.0, drains=True)
    first = lay_over(NOTHING, Change(cordons=(("h1", plain),)))
    assert (first.cordons, first.is_new) == ((("h1", plain),), True)
    assert not lay_over(first.memory, Change(cordons=(("h1", Cordon("bob", 9.0)),))).is_new
    drained = lay_over(first.memory, Change(cordons=(("h1", drains),)))
    assert drained.memory.cordons == {"h1": drains}
    assert not lay_over(drained.memory, Change(cordons=(("h1", plain),))).is_new
    lifted = lay_over(drained.memory, Change(uncordons=("h1", "h2")))
    assert (lifted.uncordons, lifted.memory.cordons) == (("h1",), {})


def test_a_deploy_forgives_the_jobs_it_names_and_no_others():
    def failed(job):
        return Failure(ReplicaName(job, 0), 1, "h1", Instant(5.0))

    memory = replace(by("a/web.yml", WEB, API).memory, failures=(failed("web"), failed("api")))
    assert by("b/api.yml", API, memory=memory, adopt=True).memory.failures == (failed("web"),)
    assert lay_over(memory, Change()).memory.failures == memory.failures


def test_hosts_gone_from_the_inventory_are_looked_at_as_they_were_last_reached(tmp_path):
    old = HostSpec("h2", "10.0.0.2", port=2222)
    memory = replace(
        deployed(Build(WEB, A)).memory,
        hosts={"h1": HostMemory(spec=HostSpec("h1", "old")), "h2": HostMemory(spec=old), "h3": HostMemory("10.0.0.3")},
    )
    inventory = Inventory("test", tmp_path, (HostSpec("h1", "10.0.0.1"),), {"all": ("h1",)})
    wanted = desired(Wished(memory, (), ()), inventory, lambda _: ("h1",), Change(), 1)
    assert [host.address for host in wanted.hosts] == ["10.0.0.1", "10.0.0.2"]
    assert (wanted.gone, wanted.hosts[1], wanted.inventory) == ({"h2"}, old, inventory.hosts)


def test_a_host_is_behind_with_what_the_plan_says_and_with_nothing_else():
    known = {"h1": HostMemory(behind=frozenset({"web", "api"})), "h2": HostMemory(behind=frozenset({"web"}))}
    silent = Unreachable(Silence.SILENT, "silent", tries=3)
    snapshot = Snapshot(Instant(100.0), {"h1": silent, "h2": silent})
    judged = {name: HostVerdict(Health.SUSPECT, "silent", Instant(100.0)) for name in known}
    wanted = Desired("test", (HostSpec("h1", "10.0.0.1"), HostSpec("h2", "10.0.0.2")), ())
    behind = {"h1": frozenset({"web"})}
    after = remember(wanted, Memory(Generation(1), known), snapshot, judged, at_start=known, behind=behind)
    assert (after["h1"].behind, after["h2"].behind) == ({"web"}, frozenset())
