"""The state folder is found from cron's environment, or from none, and is nobody else's."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from fleetctl.clock import SystemClock
from fleetctl.errors import StateError
from fleetctl.state.folder import prepare, state_folder
from fleetctl.state.store import Store

HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"FLEETCTL_STATE": "/srv/fleet", "HOME": "/home/ann"}, Path("/srv/fleet")),
        ({"FLEETCTL_STATE": "~/fleet", "HOME": "/home/ann"}, Path("/home/ann/fleet")),
        ({"FLEETCTL_STATE": "~", "HOME": "/home/ann"}, Path("/home/ann")),
        ({"FLEETCTL_STATE": "fleet", "HOME": "/home/ann"}, Path.cwd() / "fleet"),
        ({"FLEETCTL_STATE": "", "HOME": "/home/ann"}, Path("/home/ann/.local/state/fleetctl")),
        ({"HOME": "/home/ann", "XDG_STATE_HOME": "/elsewhere"}, Path("/home/ann/.local/state/fleetctl")),
        ({"HOME": ""}, HOME / ".local/state/fleetctl"),
        ({"HOME": "not/absolute"}, HOME / ".local/state/fleetctl"),
        ({}, HOME / ".local/state/fleetctl"),
    ],
)
def test_the_folder_is_found_from_any_environment(environ, folder):
    assert state_folder(environ) == folder


def test_a_process_without_any_environment_finds_the_same_folder_as_its_user():
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os; from fleetctl.state.folder import state_folder; print(state_folder(os.environ))",
        ],
        env={},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout.strip() == str(HOME / ".local/state/fleetctl")


def test_a_user_without_a_home_is_told_which_variable_helps(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    with pytest.raises(StateError, match="no user 54321") as told:
        state_folder({})
    assert "FLEETCTL_STATE" in told.value.hint


def test_folder_and_store_are_for_their_owner_alone_whatever_the_umask(tmp_path):
    folder = tmp_path / "new" / "state"
    before = os.umask(0)
    try:
        Store.open(folder, clock=SystemClock()).close()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "store.sqlite": 0o600,
        "store.sqlite-journal": 0o600,
    }


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_may_write_is_refused_and_left_as_it_is(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(StateError, match="can be written by other users") as told:
        prepare(tmp_path)
    assert f"chmod 700 {tmp_path}" in told.value.hint
    assert tmp_path.stat().st_mode & 0o7777 == mode


def test_a_file_where_the_folder_should_be_is_told_and_left(tmp_path):
    (tmp_path / "state").write_text("mine")
    with pytest.raises(StateError, match="can't be used: File exists"):
        prepare(tmp_path / "state")
    assert (tmp_path / "state").read_text() == "mine"


def test_finding_folder_inventory_and_copies_loads_neither_database_nor_parser():
    """They are on the way of commands that need no store."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, fleetctl.state.folder, fleetctl.state.chosen, fleetctl.state.artifacts; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
    )
    assert not {"sqlalchemy", "pydantic"} & set(told.stdout.split())
