"""Inventories give the hosts, groups and variables that `ansible-inventory --list` (2.19) gave for them.

Each folder below `ansible/` is an inventory with what was printed, as `expected.json`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetctl.config.inventory import load_inventory

CASES = sorted(path for path in (Path(__file__).parent / "ansible").iterdir() if path.is_dir())


def source(case: Path) -> Path:
    folder = case / "inv"
    return folder if folder.is_dir() else next(path for path in case.glob("hosts*") if path.is_file())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_inventory_means_what_it_means_to_ansible(case):
    expected = json.loads((case / "expected.json").read_text())

    inventory = load_inventory(source(case))

    assert inventory.variables == expected["hosts"]
    groups = {name: sorted(hosts) for name, hosts in inventory.groups.items() if hosts}
    assert groups == {name: hosts for name, hosts in expected["groups"].items() if hosts}


def test_there_are_cases():
    assert len(CASES) >= 8
