"""The disk of the root is full: what fills it can be stopped, what is recorded stays whole, nothing is started."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress

import pytest

from fleetctl.host import ballast
from tests.host.driven import Host, RefusedError

SIZE = 16 * 1024 * 1024


@pytest.fixture
def small(tmp_path, python):
    """A host whose root is on a small disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={SIZE},mode=0700"
    mounted = (
        os.getuid() == 0
        and not subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=False).returncode
    )
    if not mounted:
        pytest.skip("needs root that may mount")
    host = Host(disk / "root", python)
    yield host
    host.end()
    subprocess.run(["umount", "-l", disk], check=True)


def fill(host: Host) -> None:
    """To the last byte, and again until no agent takes any of it back."""
    with (host.root.parent / "filler").open("ab", buffering=0) as filler, suppress(OSError):
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while True:
                    filler.write(b"x" * size)


def free(host: Host) -> None:
    (host.root.parent / "filler").unlink()


def generation(host: Host) -> int:
    return int(json.loads((host.root / "guard.json").read_text())["generation"])


def test_on_a_full_disk_a_claim_and_a_stop_work_and_a_start_is_refused(small):
    small.run("web.0@1", "exec sleep 1000")
    small.run(
        "ends.0@1",
        "while [ ! -e go ]; do sleep 0.05; done; exit 6",
        restart={"backoff_min_s": 1000, "backoff_max_s": 1000, "reset_s": 600},
    )
    small.ready("web.0@1")
    small.ready("ends.0@1")
    (small.folder("ends.0@1") / "run" / "go").touch()
    small.kill_agent()  # its end is for the next one to see
    small.until("ends.0@1", lambda row: row["last_exit"])
    assert ballast.left(str(small.root)) == len(ballast.PIECES)
    fill(small)
    status = small.folder("web.0@1") / "status.json"
    small.generation = 2
    small.order("claim", fleet="test", serial=small.report()["serial"], wishes={"jobs": ["x" * 5000]})
    assert generation(small) == 2
    fill(small)
    with pytest.raises(RefusedError) as refused:
        small.run("new.0@1", "exec sleep 1000")
    assert refused.value.kind == "no_space"
    assert "no space left on the disk of" in refused.value.error["message"]
    assert "cordon" in refused.value.error["hint"]
    assert not any("new" in path.name for path in (small.root / "instances").iterdir())
    assert any("is full" in note for note in small.report()["notes"])
    assert json.loads(status.read_text())["state"] == "ready"
    small.stop("web.0@1")
    fill(small)
    assert small.stopped("web.0@1")["phase"] == "stopped"
    order = json.loads((small.folder("web.0@1") / "spec.json").read_text())
    assert order["wanted"] == "stop"
    small.kill_agent()  # the next one finds the order, and a guard that was raised
    assert small.row("web.0@1")["phase"] == "stopped"
    assert small.report()["guard"]["generation"] == 2
    free(small)
    small.run("new.0@1", "exec sleep 1000")
    small.ready("new.0@1")
    assert small.report()["notes"] == []
    assert ballast.left(str(small.root)) == len(ballast.PIECES)


def test_a_program_that_ends_on_a_full_disk_is_recorded_and_started_again(small):
    small.run("web.0@1", "while [ ! -e go$FLEETCTL_EPOCH ]; do sleep 0.05; done; rm go1; exit 6")
    pid = small.ready("web.0@1")["pid"]
    (small.folder("web.0@1") / "run" / "go1").touch()
    small.until("web.0@1", lambda row: row["last_exit"])
    pid = small.ready("web.0@1")["pid"]
    os.mkfifo(small.root.parent / "spare")
    fill(small)
    (small.root.parent / "spare").rename(small.folder("web.0@1") / "run" / "go1")
    row = small.until("web.0@1", lambda row: row["pid"] not in (None, pid))
    assert row["last_exit"] == "exited 6"
    assert small.record("web.0@1").run == row["restarts"] + 1


def test_a_newer_fleetctl_that_finds_no_room_for_its_program_drives_by_the_one_that_is_there(small):
    small.run("web.0@1", "exec sleep 1000")
    small.ready("web.0@1")
    fill(small)
    small.link_now = small.connect(version="0.2.0", change="newer")
    assert small.link_now.linked == {"linked": 1, "by": "agent"}
    assert small.report()["program"]["version"] == "0.1.0"
    small.stop("web.0@1")
    small.stopped("web.0@1")
    free(small)
    small.link_now = small.connect(version="0.2.0", change="newer")
    assert small.report()["program"]["version"] == "0.2.0"


def test_restarts_leave_the_ballast_that_stops_need(tmp_path):
    assert ballast.make(str(tmp_path))
    with suppress(OSError):
        for number in range(100):
            ballast.become(str(tmp_path), str(tmp_path / str(number)), b"record", ballast.FOR_STOPS)
    assert ballast.left(str(tmp_path)) == ballast.FOR_STOPS
    ballast.become(str(tmp_path), str(tmp_path / "stop"), b"x" * 100_000)
    assert (tmp_path / "stop").read_bytes() == b"x" * 100_000
    assert sum(path.stat().st_blocks for path in tmp_path.iterdir()) < 1024  # what was not needed is free
    assert ballast.make(str(tmp_path))
    assert sum(path.stat().st_blocks * 512 for path in (tmp_path / "ballast").iterdir()) >= 1024 * 1024
