"""Control groups where there are none, or none with controllers. The real thing is seen in tests/vm/test_limits.py."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from fleetctl.host import limits, names, places
from tests.host.driven import lives, wait_until

ASKED = ("places.py", 'get("FLEETCTL_BOOT") == "none"', 'get("FLEETCTL_BOOT") == "never"')
BARE_ALONE = ("places.py", "[(SCOPE, scope), (BARE, bare)]", "[(BARE, bare)]")  # asks no systemd for anything
CLAIMS = {"cpu_milli": 500, "memory_bytes": 40 << 20, "disk_bytes": 0, "pids": 32}


@pytest.fixture
def grouped(host):
    """A host that makes groups right below a mount without controllers."""
    if os.getuid() or places.mount() != "/sys/fs/cgroup/unified":
        pytest.skip("needs root, and control groups of version 2 beside those of version 1")
    host.edits = (ASKED, BARE_ALONE)
    folder = Path(places.mount()) / names.bare_group(str(host.root))
    yield host, folder
    host.end()
    wait_until(lambda: not folder.exists() or places.remove(str(folder)), "the group is gone")


def processes_in(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "cgroup.procs").read_text().split()]


def test_a_host_that_was_asked_not_to_says_so(host):
    host.run("web.0@1", "exec sleep 1000", resources=CLAIMS)
    row = host.ready("web.0@1")
    told = "advisory: asked not to (FLEETCTL_BOOT=none); instead its processes are the first to go when memory runs out"
    assert row["limits"].startswith(told)
    assert host.report()["facts"]["limits"] == row["limits"]
    assert int(Path(f"/proc/{row['pid']}/oom_score_adj").read_text()) >= 500


def test_where_groups_can_not_be_made_programs_start_all_the_same(host):
    host.edits = (ASKED, ("places.py", '"/sys/fs/cgroup", "/sys/fs/cgroup/unified"', '"/proc/nowhere", "/proc/no"'))
    host.run("web.0@1", "exec sleep 1000", resources=CLAIMS)
    assert host.ready("web.0@1")["limits"].startswith("advisory: no control groups of version 2 are mounted here;")


def test_a_search_that_hangs_delays_a_start_by_seconds_and_no_more(host):
    hung = ("places.py", "    reasons = []\n", "    time.sleep(1000)\n    reasons = []\n")
    mount = ("places.py", '"/sys/fs/cgroup", "/sys/fs/cgroup/unified"', f'"{host.root}",')
    host.edits = (ASKED, mount, hung, ("limits.py", "PLACE_WAIT_S = 20.0", "PLACE_WAIT_S = 0.5"))
    host.root.mkdir(parents=True)
    (host.root / "cgroup.controllers").touch()
    host.run("web.0@1", "exec sleep 1000", resources=CLAIMS)
    assert host.ready("web.0@1")["limits"].startswith("advisory: it is being looked for;")


def test_without_controllers_a_group_limits_nothing_and_still_ends_all_that_is_in_it(grouped):
    host, folder = grouped
    script = "trap 'kill %1; exit 0' TERM; sleep 1000 & wait"  # what is frozen can't do that
    host.run("web.0@1", script, resources=CLAIMS, stop={"signal": "TERM", "timeout_s": 0.5})
    row = host.ready("web.0@1")
    assert row["limits"].startswith("advisory: no controller for memory, cpu, pids in")
    group = folder / "web.0@1.1"
    assert row["pid"] in processes_in(group)
    (group / "cgroup.freeze").write_text("1")
    wait_until(lambda: "frozen 1" in (group / "cgroup.events").read_text())
    host.stop("web.0@1")
    assert host.stopped("web.0@1")["last_exit"] == "killed by SIGKILL"
    assert not group.exists()


def test_every_run_has_a_group_of_its_own_that_goes_with_it(grouped):
    host, folder = grouped
    host.run("web.0@1", "sleep 0.2; exit 3")
    host.until("web.0@1", lambda row: row["restarts"] >= 2)
    assert len(list(folder.glob("web.0@1.*"))) <= 1
    host.stop("web.0@1")
    host.stopped("web.0@1")
    assert not list(folder.glob("web.0@1.*"))


def test_what_runs_keeps_its_group_when_the_agent_is_killed_and_leftovers_are_tidied(grouped):
    host, folder = grouped
    host.run("web.0@1", "exec sleep 1000")
    pid = host.ready("web.0@1")["pid"]
    (folder / "old.0@1.7" / "below").mkdir(parents=True)
    host.kill_agent()
    wait_until(lambda: not (folder / "old.0@1.7").exists())
    assert processes_in(folder / "web.0@1.1") == [pid]
    host.stop("web.0@1")
    host.stopped("web.0@1")
    assert not (folder / "web.0@1.1").exists()


def test_without_agent_supervisor_and_shim_what_cleared_its_environment_is_found_by_its_group(grouped):
    host, folder = grouped
    script = "env -i setsid sh -c 'echo $$ > worker; exec sleep 1000' & exec sleep 1001"
    host.run("web.0@1", script, stop={"signal": "TERM", "timeout_s": 20.0})
    host.ready("web.0@1")
    worker = host.folder("web.0@1") / "run" / "worker"
    wait_until(lambda: worker.exists() and worker.read_text())
    host.kill_all_of_ours()
    assert lives(int(worker.read_text()))
    host.stop("web.0@1")
    host.stopped("web.0@1")
    assert not lives(int(worker.read_text()))
    assert not (folder / "web.0@1.1").exists()


def test_a_place_that_is_gone_is_looked_for_again_and_fails_no_start(grouped):
    host, folder = grouped
    host.run("web.0@1", "exec sleep 1000")
    host.ready("web.0@1")
    host.stop("web.0@1")
    host.stopped("web.0@1")
    folder.rmdir()
    row = host.run("web.1@1", "exec sleep 1000") and host.ready("web.1@1")
    assert row["limits"].startswith("advisory: ")
    assert host.report()["facts"]["limits"].startswith("advisory: ")


def test_what_a_program_uses_is_told_of_its_whole_tree(host):
    busy = "import time; b = bytearray(30 << 20)\nwhile time.process_time() < .2: pass"
    last = busy + "\ntime.sleep(1000)"
    host.run("web.0@1", f"{host.python} -c '{busy}'; {host.python} -c '{last}' & wait")
    usage = host.until("web.0@1", lambda row: row["usage"] and row["usage"]["cpu_s"] >= 0.3)["usage"]
    assert usage["cpu_s"] < 10
    assert usage["processes"] == 2
    assert usage["peak_bytes"] >= usage["memory_bytes"] > 30 << 20
    host.stop("web.0@1")
    assert host.stopped("web.0@1")["usage"] is None


# What is written into a group, into files that stand for the kernel's


@pytest.fixture
def group(tmp_path):
    for name in ("memory.max", "memory.swap.max", "memory.oom.group", "cpu.max", "cpu.weight", "pids.max"):
        (tmp_path / name).touch()
    return tmp_path


def bound(group: Path, claims, controllers=places.WANTED) -> tuple[str, dict[str, str]]:
    said = limits.bind(str(group), claims, controllers)
    return said, {path.name: path.read_text() for path in group.iterdir() if path.read_text()}


def test_each_claim_is_a_limit(group):
    said, written = bound(group, CLAIMS)
    assert said == "cgroup: memory 40.0 MiB, no swap, cpu 0.5, pids 32"
    assert written == {
        "memory.max": "41943040",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "50000 100000",
        "cpu.weight": "50",
        "pids.max": "32",
    }


def test_no_claim_is_no_limit(group):
    assert bound(group, {"cpu_milli": 0, "memory_bytes": 0, "disk_bytes": 0}) == ("cgroup: nothing claimed", {})


def test_a_controller_that_is_missing_is_said_and_the_others_bind(group):
    said, written = bound(group, CLAIMS, ("cpu", "pids"))
    assert said == "cgroup: cpu 0.5, pids 32; no controller here for memory"
    assert "memory.max" not in written


def test_the_smallest_and_the_largest_share_of_cpu_are_ones_the_kernel_takes(group):
    assert bound(group, {"cpu_milli": 1})[1] == {"cpu.max": "1000 100000", "cpu.weight": "1"}
    assert bound(group, {"cpu_milli": 256000})[1] == {"cpu.max": "25600000 100000", "cpu.weight": "10000"}


@pytest.mark.parametrize(
    ("oom", "kills", "limit", "why"),
    [(3, 1, 40 << 20, "limit 40.0 MiB"), (0, 1, 40 << 20, "the machine has no more"), (3, 0, 40 << 20, "")],
)
def test_a_kill_for_want_of_memory_says_whose(tmp_path, oom, kills, limit, why):
    (tmp_path / "memory.events").write_text(f"low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {kills}\noom_group_kill 0\n")
    (tmp_path / "pids.events").write_text("max 0\n")
    assert limits.why_killed({"memory_bytes": limit}, limits.events(str(tmp_path))) == why


def test_what_can_not_be_made_is_told_in_words(monkeypatch, tmp_path):
    """As in a container, whose control groups are mounted to be read only."""
    monkeypatch.setattr(places, "mount", lambda: str(tmp_path / "cgroup"))
    monkeypatch.setattr(places, "scope", lambda _root, _base: str(tmp_path / "gone"))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    (tmp_path / "cgroup").write_text("no folder")
    why = places.find("/srv/x", {})["why"]
    assert why == f"{tmp_path}/gone is gone; {tmp_path}/cgroup/{names.bare_group('/srv/x')}: Not a directory"


def test_a_place_of_another_boot_is_not_believed(tmp_path):
    place = dict(places.nowhere("x"), kind="bare", folder="/sys/fs/cgroup/fleetctl", boot="this")
    (tmp_path / "place.json").write_text(json.dumps(place))
    assert limits.remembered(str(tmp_path), "this")["kind"] == "bare"
    assert limits.remembered(str(tmp_path), "another") == {}
    assert limits.said_before(str(tmp_path), "another").startswith("advisory: no agent looked")
    shutil.rmtree(tmp_path)
    assert limits.remembered(str(tmp_path), "this") == {}
