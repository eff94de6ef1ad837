"""Which folders of earlier demos are tidied up: those whose demo is dead, and no others."""

import os
import subprocess
import sys
import tempfile

import pytest

from fleetctl.cli.demo_folder import BEGINNING_S, demo_folder, remove_dead_demos
from fleetctl.state.identity import Process, this_process
from fleetctl.state.records import dump


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def dead():
    """A process that has ended."""
    imports = "from fleetctl.state.identity import *; from fleetctl.state.records import *"
    code = f"{imports}; print(dump(Process, this_process()))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def demo(place, name, owner):
    folder = place / f"fleetctl-demo-{name}"
    (folder / "fleet" / "h1").mkdir(parents=True)
    (folder / "fleet" / "id_ed25519").touch()
    if owner is not None:
        (folder / "owner.json").write_text(owner)
    return folder


def aged(folder):
    os.utime(folder, (0, 0))
    return folder


def test_a_dead_demos_folder_is_removed_with_what_runs_in_it(place, dead):
    folder = demo(place, "dead", dead)
    with subprocess.Popen(["sleep", "1000"], cwd=folder / "fleet" / "h1") as sleeper:
        assert remove_dead_demos() == (folder,)
        assert sleeper.wait(10) == -9
    assert not folder.exists()


def test_a_removal_that_was_cut_short_is_ended(place, dead):
    folder = demo(place, "dead", dead)
    (folder / "fleet" / "id_ed25519").unlink()
    (folder / "fleet" / "h1").chmod(0o500)
    assert remove_dead_demos() == (folder,)


def test_a_living_demos_folder_stays(place):
    living = demo(place, "living", dump(Process, this_process()))
    assert remove_dead_demos() == ()
    assert (living / "fleet" / "h1").is_dir()


def test_what_has_no_owner_is_left_to_whoever_made_it(place):
    stranger = aged(demo(place, "stranger", None))
    damaged = aged(demo(place, "damaged", "{"))
    assert remove_dead_demos() == ()
    assert stranger.is_dir()
    assert damaged.is_dir()


def test_a_demo_killed_before_it_could_say_whose_it_is_is_removed_after_a_while(place):
    begun, just_begun = place / "fleetctl-demo-begun", place / "fleetctl-demo-new"
    for folder in (begun, just_begun):
        folder.mkdir()
    (begun / "owner.json").touch()
    os.utime(begun, (begun.stat().st_mtime - BEGINNING_S - 1,) * 2)
    assert remove_dead_demos() == (begun,)


def test_a_link_to_somewhere_is_not_followed(place, dead):
    elsewhere = demo(place, "elsewhere", dead).rename(place / "mine")
    (place / "fleetctl-demo-link").symlink_to(elsewhere)
    assert remove_dead_demos() == ()
    assert elsewhere.is_dir()


def test_a_demos_own_folder_is_gone_in_the_end_however_that_came(place):
    def interrupted():
        with demo_folder() as fleet:
            fleet.mkdir()
            (fleet / "left").touch()
            assert remove_dead_demos() == (), "ours is alive"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(place.iterdir()) == []
