"""What we show people is valid: the example inventories and playbooks, and those in the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleetctl.config.inventory import load_inventory
from fleetctl.config.playbook import load_playbook

ROOT = Path(__file__).parents[3]
INVENTORIES = sorted(path for path in (ROOT / "inventories").iterdir() if path.suffix in (".yml", ".ini"))
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.name)
def test_an_example_inventory_is_valid(path):
    assert load_inventory(path).hosts


def test_the_example_in_yaml_and_in_ini_are_the_same_fleet():
    yaml, ini = (load_inventory(ROOT / f"inventories/example.{ending}") for ending in ("yml", "ini"))

    assert (yaml.fleet, [host.name for host in yaml.hosts]) == (ini.fleet, [host.name for host in ini.hosts])
    assert [host.labels for host in yaml.hosts] == [host.labels for host in ini.hosts]


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_an_example_playbook_is_valid(path):
    inventory = load_inventory(ROOT / "inventories/example.yml")

    playbook = load_playbook(path, inventory)

    assert playbook.jobs
    assert playbook == load_playbook(path, inventory)


def test_there_are_examples():
    assert len(PLAYBOOKS) >= 3
    assert len(INVENTORIES) >= 2


def test_the_readmes_inventory_and_playbook_are_valid(files):
    blocks = re.findall(r"```yaml\n# (\S+\.yml)[^\n]*\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    paths = {name.split("/")[0]: files.write(name.rstrip(":"), text) for name, text in blocks}
    files.program("dist/web-1.4.2/web")

    playbook = load_playbook(paths["playbooks"], load_inventory(paths["inventories"]))

    assert [job.spec.name for job in playbook.jobs] == ["web"]
