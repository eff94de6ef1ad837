"""What a plan says of jobs that nobody deploys any more, and of what a command's wish undoes."""

from dataclasses import replace

from fleetctl.model.plan import HARMLESS, HeldKind
from fleetctl.plan.reconcile import make_plan
from tests.unit.plan.fleets import Fleet, job


def orphaned(owner: str = "playbooks/web.yml") -> Fleet:
    fleet = Fleet.of("h1", "h2")
    fleet.deploy(job())
    known = fleet.jobs["web"]
    fleet.jobs["web"] = replace(known, wish=replace(known.wish, orphan=True, owner=owner))
    return fleet


def test_a_job_gone_from_its_playbook_is_told_and_kept_running():
    fleet = orphaned()
    assert fleet.heal() == []
    (held,) = fleet.held(HeldKind.ORPHAN)
    assert held.reason == "web is gone from playbooks/web.yml and still runs: deploy --prune stops it"
    assert held.kind in HARMLESS


def test_its_work_is_brought_back_as_any_other():
    fleet = orphaned(owner="")
    fleet.lose(*fleet.where("web.0"))
    fleet.force = True
    assert len(fleet.heal()) == 1
    (held,) = fleet.held(HeldKind.ORPHAN)
    assert "gone from its playbook" in held.reason


def test_once_stopped_it_is_told_no_more():
    fleet = orphaned()
    fleet.stop("web")
    assert fleet.held(HeldKind.ORPHAN) == []


def test_what_a_wish_undoes_is_said():
    fleet = Fleet.of("h1", "h2")
    fleet.deploy(job())
    wish = fleet.desired()
    notice = "web was scaled to 3 by a person: this deploy sets 1"
    wish = replace(wish, jobs=tuple(replace(one, notices=(notice,)) for one in wish.jobs))
    plan = make_plan(wish, fleet.snapshot(), fleet.verdicts(), fleet.memory(), fleet.now)
    assert [(held.subject, held.kind, held.reason) for held in plan.held] == [("web", HeldKind.NOTICE, notice)]
