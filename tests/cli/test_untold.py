"""Where the command that tells a human failed, whoever looks is told so: by status, and by a heal that has news."""

import json
from dataclasses import replace
from types import SimpleNamespace

from fleetctl.cli.account import Account
from fleetctl.cli.show_run import NEEDS_A_HUMAN, is_worth_telling, run_lines
from fleetctl.cli.show_status import status_json, status_lines
from fleetctl.cli.wiring import OpenFleet
from fleetctl.engine.events import PlanMade
from fleetctl.errors import ExitCode
from fleetctl.model.host import Inventory
from tests.cli import given

UNTOLD = "the notify command failed at 2026-01-02 14:02: exit 3: no such channel"


def heal(before=None, untold=UNTOLD):
    """What a heal of a fleet that is well tells, and what the next one knows of that."""
    view, told = given.well(), []
    account = Account(told.extend, 1e6, before=before, all_of_it=False)
    account.hear(PlanMade(view.plan, view.desired, view.snapshot))
    account.close(replace(given.result(ExitCode.AS_WISHED, seen=view), untold=untold))
    return [line.text for line in told], account.told


def test_status_tells_it_and_its_json_has_it():
    assert UNTOLD in [line.text for line in status_lines(given.well(), 1e6, UNTOLD)]
    assert UNTOLD not in [line.text for line in status_lines(given.well(), 1e6)]
    assert json.loads(json.dumps(status_json(given.well(), ExitCode.AS_WISHED, UNTOLD)))["untold"] == UNTOLD


def test_a_heal_of_a_fleet_that_is_well_tells_it_once_and_once_that_it_works_again():
    told, known = heal()
    assert NEEDS_A_HUMAN + UNTOLD in told
    assert heal(known)[0] == []
    assert heal(known, untold="")[0][0] == f"no longer: {UNTOLD}"


def test_every_run_tells_it_where_it_tells_anything():
    result = replace(given.result(ExitCode.AS_WISHED), untold=UNTOLD)
    assert is_worth_telling(result)
    assert NEEDS_A_HUMAN + UNTOLD in [line.text for line in run_lines(result)]


def test_a_command_that_is_named_no_more_can_not_have_failed(tmp_path):
    (tmp_path / "notify-prod.json").write_text(json.dumps({"ok": False, "at_wall": 0, "how": "exit 3", "stderr": ""}))
    inventory = Inventory("prod", tmp_path / "prod.yml", (), {}, notify="./tell")
    fleet = OpenFleet(inventory, SimpleNamespace(), SimpleNamespace(), tmp_path)
    assert fleet.untold().endswith(": exit 3")
    assert replace(fleet, inventory=replace(inventory, notify=None)).untold() == ""
