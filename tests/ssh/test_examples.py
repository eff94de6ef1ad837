"""Each example playbook, deployed as it stands: what README's readers copy must run."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from fleetctl.embedded.fleet import EmbeddedFleet

PLAYBOOKS = sorted(Path(__file__).parents[2].joinpath("playbooks").glob("*.yml"))
NAMES = ("app1", "app2", "worker01", "worker02", "worker04")


def inventory_of_groups(fleet, path):
    """The fleet's hosts under the names and groups that the examples speak of."""
    hosts = list(yaml.safe_load(fleet.inventory_path.read_text())["all"]["hosts"].values())
    named = dict(zip(NAMES, hosts, strict=True))
    for variables in named.values():
        variables["labels"]["disk"] = "ssd"
    groups = {
        group: {"hosts": {name: variables for name, variables in named.items() if name.startswith(group)}}
        for group in ("app", "worker")
    }
    keys = {
        key: value for key, value in yaml.safe_load(fleet.inventory_path.read_text())["all"].items() if key == "vars"
    }
    path.write_text(yaml.safe_dump({"all": {**keys, "children": groups}}))


async def fleetctl(folder, *argv):
    environ = {**os.environ, "FLEETCTL_STATE": str(folder / "state")}
    environ.pop("FLEETCTL_INVENTORY", None)
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("fleetctl"), *argv, env=environ, stdout=-1, stderr=-2, cwd=folder
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def deployed(folder, playbook):
    async with EmbeddedFleet(folder / "fleet", count=len(NAMES)) as fleet:
        inventory = fleet.folder / "groups.yml"
        inventory_of_groups(fleet, inventory)
        code, output = await fleetctl(folder, "deploy", str(playbook), "-i", str(inventory))
        assert code == 0, output
        code, output = await fleetctl(folder, "status", "--json")
        assert code == 0, output
        return json.loads(output)


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_the_example_runs(playbook, tmp_path):
    status = asyncio.run(deployed(tmp_path, playbook))
    wished = {
        job: spec.get("replicas", 1)
        for play in yaml.safe_load(playbook.read_text())
        for job, spec in play["jobs"].items()
    }
    assert {job["job"]: job["ready"] for job in status["jobs"]} == wished


def test_there_are_examples():
    assert len(PLAYBOOKS) >= 3
