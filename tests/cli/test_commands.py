"""Each command, as it is typed: what it prints in a pipe and how it ends."""

import json

import pytest

from fleetctl.clock import SystemClock
from fleetctl.engine.events import (
    ActionBegan,
    ActionEnded,
    ActionResult,
    FetchBegan,
    FetchEnded,
    HostSeen,
    Outcome,
    PlanMade,
    Uploading,
)
from fleetctl.engine.wishing import Change
from fleetctl.errors import ExitCode, LiveRunError, StaleOrderError, YieldError
from fleetctl.model.plan import Held, HeldKind
from fleetctl.state.store import Store
from tests.cli import given


def test_check_says_nothing_in_a_pipe_where_nothing_is_wrong(typed):
    checked = typed("check", "web.yml", "-i", "inv.yml")
    assert (checked.exit, checked.out, checked.err) == (0, "", "")


def test_check_makes_no_store(typed, here):
    typed("check", "web.yml", "-i", "inv.yml")
    assert not (here / "state").exists()


def test_a_typo_is_told_with_file_line_and_suggestion(typed, here):
    text = (here / "web.yml").read_text().replace("replicas", "repicas")
    (here / "web.yml").write_text(text)
    for command in ("check", "plan", "deploy"):
        refused = typed(command, "web.yml", "-i", "inv.yml")
        assert refused.exit == 2
        assert refused.out == ""
        assert refused.err == 'error: web.yml:6: jobs.web.repicas: unknown key (did you mean "replicas"?)\n'


def test_a_typo_is_told_as_json_too(typed, here):
    (here / "web.yml").write_text((here / "web.yml").read_text().replace("replicas", "repicas"))
    refused = typed("plan", "web.yml", "-i", "inv.yml", "--json")
    document = json.loads(refused.out)
    assert refused.err == ""
    assert (refused.exit, document["exit_code"], document["version"]) == (2, 2, 1)
    [error] = document["errors"]
    assert (error["file"], error["line"], error["path"]) == ("web.yml", 6, "jobs.web.repicas")


NO_CONNECTIONS = """
def refuse(event, values):
    if event == "socket.connect":
        import os
        os._exit(99)
sys.addaudithook(refuse)
"""


def test_nothing_is_connected_to_before_the_files_are_valid(in_a_process, here):
    assert in_a_process("check", "web.yml", "-i", "inv.yml", prelude=NO_CONNECTIONS).exit == 0
    assert in_a_process("plan", "web.yml", "-i", "inv.yml", prelude=NO_CONNECTIONS).exit == 99, "it would be seen"
    (here / "web.yml").write_text((here / "web.yml").read_text().replace("replicas", "repicas"))
    for command in ("check", "plan", "deploy"):
        assert in_a_process(command, "web.yml", "-i", "inv.yml", prelude=NO_CONNECTIONS).exit == 2


def test_extra_variables_reach_the_playbook_the_last_one_winning(typed, engine, here):
    (here / "more.yml").write_text("seconds: 7\n")
    typed("plan", "web.yml", "-i", "inv.yml", "-e", "seconds=5", "-e", "@more.yml", "-e", "seconds=9")
    typed("plan", "web.yml", "-i", "inv.yml", "-e", "seconds=9", "-e", "@more.yml")
    commands = [change.deploys[0].spec.command for change in engine.changes]
    assert commands == [("/bin/sleep", "9"), ("/bin/sleep", "7")]


@pytest.mark.parametrize("wrong", ["seconds", "=5", "two words=5", "@missing.yml", "@web.yml"])
def test_what_is_no_variable_is_refused(typed, wrong):
    refused = typed("plan", "web.yml", "-i", "inv.yml", "-e", wrong)
    assert refused.exit == 2
    assert refused.err.startswith("error: ")


# plan


def test_plan_prints_what_would_be_done(typed, engine):
    engine.view = given.view(given.plan((given.start("web.2@48", "h2"),)))
    planned = typed("plan", "web.yml", "-i", "inv.yml")
    assert planned.exit == 4
    assert "\nstage 1\n  start web.2@48 on h2 (release 3, http 20021): web.2 is missing: h3 is lost\n" in planned.out


def test_deploy_with_check_is_plan_and_drives_nothing(typed, engine):
    engine.view = given.view()
    planned = typed("plan", "web.yml", "-i", "inv.yml")
    assert typed("deploy", "web.yml", "-i", "inv.yml", "--check") == planned
    assert typed("deploy", "web.yml", "-i", "inv.yml", "-C") == planned
    assert typed("heal", "-i", "inv.yml", "-C").out == planned.out
    assert engine.changes[-1] == Change(), "a heal wishes nothing new"


def test_plan_with_nothing_to_do_says_nothing_and_ends_with_0(typed, engine):
    planned = typed("plan", "web.yml", "-i", "inv.yml")
    assert (planned.exit, planned.out, planned.err) == (0, "", "")


def test_plan_as_json(typed, engine):
    engine.view = given.view(given.plan(held=(given.NO_ROOM,)))
    planned = typed("plan", "web.yml", "-i", "inv.yml", "--json")
    assert planned.exit == json.loads(planned.out)["exit_code"] == 3


# deploy


def test_deploy_prints_each_step_and_a_summary(typed, engine):
    began = [ActionBegan(given.upload()), Uploading("h2", given.ARTIFACT, 5, 10)]
    made = PlanMade(given.MOVING, given.DESIRED, given.view().snapshot)
    engine.events = (HostSeen("h1", given.reachable()), made, *began, ActionEnded(given.done(given.upload())))
    engine.result = given.result(ExitCode.AS_WISHED, given.done(given.upload()))
    deployed = typed("deploy", "web.yml", "-i", "inv.yml")
    assert deployed.exit == 0
    assert (
        deployed.out
        == """\
uploaded web 9f3a21c0 to h2
web: 3 of 3 ready, release 3
prod: 1 action done; as wished
"""
    )


def test_what_is_fetched_back_is_told_and_which_hosts_copy_did_not_come(typed, engine):
    what = ("web", given.ARTIFACT)
    engine.events = (FetchBegan("h1", *what), FetchEnded("h1", *what, "its copy is damaged"),
                     FetchBegan("h2", *what), FetchEnded("h2", *what))  # fmt: skip
    engine.result = given.result(ExitCode.AS_WISHED, given.done(given.upload()))
    assert typed("deploy", "web.yml", "-i", "inv.yml").out.startswith(
        "can't fetch back web 9f3a21c0 from h1: its copy is damaged\nfetched back web 9f3a21c0 from h2\n"
    )


def test_deploy_says_first_what_its_wish_undoes(typed, engine):
    notice = Held("web", HeldKind.NOTICE, "web was stopped by a person: this deploy starts it")
    step = given.done(given.start("web.2@48", "h2"))
    made = PlanMade(given.plan((step.action,), held=(notice,)), given.DESIRED, given.well().snapshot)
    later = PlanMade(given.plan(), given.DESIRED, given.well().snapshot)
    engine.events, engine.result = (made, ActionEnded(step), later), given.result(ExitCode.AS_WISHED, step)
    deployed = typed("deploy", "web.yml", "-i", "inv.yml").out
    assert deployed.startswith("notice: web was stopped by a person: this deploy starts it\nstarted web.2@48")
    assert deployed.count("notice") == 1


def test_deploy_that_changes_nothing_says_nothing(typed, engine):
    engine.result = given.result(ExitCode.AS_WISHED)
    deployed = typed("deploy", "web.yml", "-i", "inv.yml")
    assert (deployed.exit, deployed.out, deployed.err) == (0, "", "")


def test_a_failed_deploy_ends_with_1_and_the_instances_last_words(typed, engine):
    failed = ActionResult(given.gate(), Outcome.FAILED, "not ready", log=("no database",))
    engine.events, engine.result = (ActionEnded(failed),), given.result(ExitCode.FAILED, failed)
    deployed = typed("deploy", "web.yml", "-i", "inv.yml")
    assert deployed.exit == 1
    assert "\n  | no database\n" in deployed.out
    assert deployed.out.endswith("prod: 0 actions done, 1 failed; not as wished: an operation failed\n")


def test_force_and_the_artifact_reach_the_engine(typed, engine, here):
    (here / "tool").write_text("#!/bin/sh\n")
    (here / "tool").chmod(0o755)
    playbook = (here / "web.yml").read_text()
    (here / "web.yml").write_text(playbook.replace("command: [/bin/sleep", "artifact: tool\n      command: [./tool"))
    engine.result = given.result(ExitCode.AS_WISHED)
    assert typed("deploy", "web.yml", "-i", "inv.yml", "--force").exit == 0
    [change] = engine.changes
    assert change.force
    assert len(change.deploys[0].artifact) == 64


# heal


def test_heal_with_nothing_to_do_says_nothing(typed, engine):
    engine.result = given.result(ExitCode.AS_WISHED)
    healed = typed("heal", "-i", "inv.yml")
    assert (healed.exit, healed.out, healed.err) == (0, "", "")


def test_heal_says_what_it_found_what_it_did_and_what_needs_a_human(typed, engine):
    step = given.done(given.start("web.2@48", "h2"))
    seen = given.view(given.plan((step.action,), held=(given.NO_ROOM,)))
    engine.events = (PlanMade(seen.plan, seen.desired, seen.snapshot), ActionEnded(step))
    engine.result = given.result(ExitCode.DEGRADED, step, seen=seen, held=(given.NO_ROOM,))
    healed = typed("heal", "-i", "inv.yml")
    assert healed.exit == 3
    assert (
        healed.out
        == """\
found: h3 is lost: silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2
found: web.2 is missing: h3 is lost
started web.2@48 on h2 (release 3): web.2 is missing: h3 is lost
needs a human: h3 is lost; try it by hand: ssh -v -p 22 10.0.0.3
needs a human: web.2: no room: memory is short on 2 of 2 hosts
web: 2 of 3 ready, release 3
prod: 1 action done; degraded: needs a human
"""
    )


def test_heal_beside_a_live_run_yields_without_a_word_in_a_pipe(typed, engine):
    engine.result = LiveRunError("the run lock of prod is held by ann@desk (pid 1)")
    healed = typed("heal", "-i", "inv.yml")
    assert (healed.exit, healed.out, healed.err) == (5, "", "")


def test_heal_whose_order_was_stale_says_who_drives(typed, engine):
    engine.result = StaleOrderError("h1", 48, "bob@lap:77")
    healed = typed("heal", "-i", "inv.yml")
    assert healed.exit == 5
    assert healed.err.startswith("error: h1 refused the order: generation 48 by bob@lap:77 is newer\n")


def test_heal_that_lost_its_lock_in_mid_run_says_so_even_in_a_pipe(typed, engine):
    engine.result = YieldError("the run lock of prod was lost", hint="that run goes on from here")
    healed = typed("heal", "-i", "inv.yml")
    assert (healed.exit, healed.err) == (5, "error: the run lock of prod was lost\n  that run goes on from here\n")


def test_deploy_beside_a_live_run_says_who_holds_the_lock(typed, engine):
    engine.result = LiveRunError("the run lock of prod is held by ann@desk (pid 1)", hint="wait")
    deployed = typed("deploy", "web.yml", "-i", "inv.yml")
    assert deployed.exit == 5
    assert deployed.err == "error: the run lock of prod is held by ann@desk (pid 1)\n  wait\n"


def kept(here, *fleets):
    """As if these had been deployed with `inv.yml`."""
    store = Store.open(here / "state", clock=SystemClock())
    for fleet in fleets:
        with store.lock(fleet, "deploy web.yml") as lock:
            store.write_plan(lock, fleet, given.first_plan(), inventory=here / "inv.yml")
    store.close()


def test_heal_needs_no_inventory_named_after_a_deploy(typed, engine, here, tmp_path_factory, monkeypatch):
    kept(here, "prod")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    engine.result = given.result(ExitCode.AS_WISHED)
    assert typed("heal").exit == 0


def test_without_any_deploy_the_inventory_has_to_be_named(typed, here):
    refused = typed("heal")
    assert refused.exit == 2
    assert "-i" in refused.err
    assert not (here / "state").exists()


def test_with_two_fleets_the_inventory_has_to_be_named(typed, here):
    kept(here, "prod", "staging")
    refused = typed("status")
    assert refused.exit == 2
    assert all(word in refused.err for word in ("prod", "staging", "-i")), refused


def test_a_kept_inventory_that_is_gone_is_named(typed, here):
    kept(here, "prod")
    (here / "inv.yml").unlink()
    refused = typed("heal")
    assert refused.exit == 2
    assert "inv.yml" in refused.err


# status, hosts


def test_status_where_all_is_well_ends_with_0(typed, engine):
    shown = typed("status", "-i", "inv.yml")
    assert shown.exit == 0
    assert shown.out.startswith("web: 3 of 3 ready, release 3\n\nINSTANCE ")


def test_status_with_a_replica_missing_ends_with_3_though_heal_could_mend_it(typed, engine):
    engine.view = given.view()
    shown = typed("status", "-i", "inv.yml", "--json")
    assert shown.exit == json.loads(shown.out)["exit_code"] == 3


def test_status_with_a_dead_host_whose_work_runs_elsewhere_ends_with_4(typed, engine):
    moved = given.reachable(given.instance("web.1@47"), given.instance("web.2@48"))
    engine.view = given.view(given.plan(), h2=moved)
    assert typed("status", "-i", "inv.yml").exit == 4


def test_status_of_one_replica(typed, engine):
    told = typed("status", "web.1", "-i", "inv.yml")
    assert (told.exit, told.out.splitlines()[0]) == (0, "web.1@47 on h2: ready for 3 min, release 3")
    assert json.loads(typed("status", "web.1", "-i", "inv.yml", "--json").out)["named"] == "web.1"
    refused = typed("status", "wbe", "-i", "inv.yml")
    assert (refused.exit, refused.out) == (2, "")
    assert 'did you mean "web"?' in refused.err


def test_hosts_as_json(typed, engine):
    engine.view = given.view(given.plan())
    shown = typed("hosts", "-i", "inv.yml", "--json")
    assert shown.exit == json.loads(shown.out)["exit_code"] == 4
    assert typed("hosts", "-i", "inv.yml").out.startswith("HOST  ADDRESS ")


def test_one_host_explained(typed, engine):
    engine.view = given.view(given.plan())
    told = typed("hosts", "-i", "inv.yml", "--explain", "h3")
    assert told.exit == 4
    assert told.out.startswith("h3 is lost since ")
    assert json.loads(typed("hosts", "-i", "inv.yml", "--explain", "h3", "--json").out)["host"] == "h3"


def test_a_host_that_is_not_known_can_not_be_explained(typed, engine):
    refused = typed("hosts", "-i", "inv.yml", "--explain", "h33")
    assert refused.exit == 2
    assert "h33" in refused.err
    assert not engine.changes, "nobody was asked"
