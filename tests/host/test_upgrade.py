"""A newer fleetctl takes a host over without touching a program; an older one is told which version to install."""

from __future__ import annotations

import json
import shutil

import pytest

from fleetctl.host import proc, records
from tests.host.driven import LIMIT_S, Host, lives, wait_until
from tests.host.keep_records import FIXTURES

LONG = {"backoff_min_s": 1000, "backoff_max_s": 1000, "reset_s": 600}
QUICK = {"backoff_min_s": 0.05, "backoff_max_s": 0.05, "reset_s": 600}


def test_instances_of_every_kind_go_on_over_an_upgrade(host):
    host.run("ready.0@1", "while :; do echo tick; sleep 0.05; done")
    host.run("waiting.0@1", "echo once; exit 3", restart=LONG)
    host.run("stopping.0@1", "trap 'echo asked' TERM; echo up; while [ ! -e go ]; do sleep 0.05; done; exit 7",
             stop={"signal": "TERM", "timeout_s": 60.0})  # fmt: skip
    host.run("missed.0@1", "while [ ! -e go ]; do sleep 0.05; done; exit 6", restart=QUICK)
    pids = {name: host.ready(f"{name}.0@1")["pid"] for name in ("ready", "stopping", "missed")}
    host.until("waiting.0@1", lambda row: row["phase"] == "waiting")
    host.until("stopping.0@1", lambda _: host.lines("stopping.0@1") == ["up"])
    host.stop("stopping.0@1")
    wait_until(lambda: "asked" in host.lines("stopping.0@1"), "the signal")
    guard, supervisor, agent = host.report()["guard"], host.supervisor_pid(), host.agent_pid()
    host.kill(agent)
    (host.folder("missed.0@1") / "run" / "go").touch()  # it ends while agents change
    host.link_now = host.connect(version="0.2.0", change="newer")
    report = host.report()
    rows = {row["instance"]: row for row in report["instances"]}
    assert (report["program"]["version"], report["guard"], host.supervisor_pid()) == ("0.2.0", guard, supervisor)
    assert not lives(agent)
    assert (rows["ready.0@1"]["pid"], rows["ready.0@1"]["restarts"]) == (pids["ready"], 0)
    assert (rows["stopping.0@1"]["pid"], rows["stopping.0@1"]["phase"]) == (pids["stopping"], "stopping")
    waiting = rows["waiting.0@1"]
    assert (waiting["phase"], waiting["restarts"], waiting["last_exit"]) == ("waiting", 0, "exited 3")
    again = host.until("missed.0@1", lambda row: row["restarts"] >= 1)  # each run ends at once: none is to be caught
    assert again["last_exit"] == "exited 6"
    (host.folder("stopping.0@1") / "run" / "go").touch()
    assert host.stopped("stopping.0@1")["last_exit"] == "exited 7"
    said = len(host.lines("ready.0@1", 10000))
    wait_until(lambda: len(host.lines("ready.0@1", 10000)) > said, "the log goes on")


@pytest.mark.parametrize("living", [True, False], ids=["living", "killed"])
def test_an_older_fleetctl_is_told_which_version_to_install(host, living):
    host.link_now = host.connect(version="0.3.0", change="newer")
    host.run("web.0@1", "exec sleep 1000")
    pid = host.ready("web.0@1")["pid"]
    program = host.report()["program"]
    if not living:
        host.kill_all_of_ours()
    old = host.connect(version="0.1.0")
    assert old.hello["error"] == {
        "kind": "newer",
        "message": "driven by fleetctl 0.3.0; this is 0.1.0",
        "hint": "install fleetctl 0.3.0 or newer",
    }
    assert old.process.wait(LIMIT_S) == 1
    seen = host.connect("look", version="0.1.0").ask("observe")["report"]
    assert seen["instances"][0]["pid"] == pid
    if living:
        assert seen["program"] == program
    else:
        assert host.role("agent") == [], "an older one starts nothing here"


@pytest.fixture(params=[(kept.name, boot) for kept in sorted(FIXTURES.iterdir()) for boot in ("this boot", "another")])
def kept(request, tmp_path, oldest_python):
    """A host on which an earlier version left its records, and which of its boots that was in."""
    version, boot = request.param
    root = tmp_path / "root"
    shutil.copytree(FIXTURES / version, root)
    root.chmod(0o700)
    was = json.loads((root / "instances/web.0@1/status.json").read_text())["boot"]
    now = proc.boot() if boot == "this boot" else "of-another-time"
    for path in [*root.glob("*.json"), *root.glob("instances/*/*.json")]:
        path.write_text(path.read_text().replace(was, now))
    for path in root.glob("instances/*/exit/*"):
        record = records.read(str(path))
        record.boot = now
        record.write(str(path))
    host = Host(root, oldest_python, "shop")
    yield host, boot
    host.end()


def test_the_records_of_every_version_are_read(kept):
    host, boot = kept
    id_before = json.loads((host.root / "host.json").read_text())["id"]
    look = host.connect("look")
    seen = look.ask("observe")["report"]
    said = {"web.0@1": "serving", "talks.0@3": "20000"}
    for name, line in said.items():
        assert look.ask("logs", instance=name, lines=1)["lines"] == [line]
    report = host.report()
    for told in (seen, report):
        assert (told["guard"]["generation"], told["guard"]["author"]) == (7, "ann@desk")
        assert (told["fleet"], told["host_id"]) == ("shop", id_before)
        assert [(row["host"], row["ok"]) for row in told["reach"]] == [("h2", False)]
        assert len(told["instances"]) == 6
    assert report["notes"] == []
    assert report["serial"] >= 2 << 24, "no serial of an earlier agent means anything"
    assert host.ask("wishes")["wishes"] == {"jobs": {"web": {"replicas": 2}}}
    rows = {row["instance"]: row for row in report["instances"]}
    assert (rows["stopped.0@2"]["phase"], rows["stopped.0@2"]["wanted"]) == ("stopped", "stop")
    assert "release 2 replaces it" in rows["stopped.0@2"]["reason"]
    for name, line in said.items():
        again = host.ready(name)
        assert again["restarts"] == 1
        assert again["last_exit"].startswith("unknown")
        wait_until(lambda name=name, line=line: host.lines(name, 1) == [line], "it says the same again")
    assert host.until("waits.0@1", lambda row: row["phase"] == "waiting")["last_exit"] == "exited 3"
    for name, problem in (("final.0@1", "exit_125"), ("broken.0@1", "not_executable")):
        row = host.until(name, lambda row: row["phase"] == "failed")
        assert row["problem"]["kind"] == problem
        assert row["restarts"] == (0 if boot == "this boot" else 1)
