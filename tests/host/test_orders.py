"""Orders, claims and questions: who may say what, and that nothing that is sent ends the agent."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from fleetctl.host.artifacts import digest_of
from tests.host.driven import RefusedError, free_port, lives, wait_until
from tests.host.test_life import http_ready, server


@pytest.fixture
def python(oldest_python):
    """The one with the least: what these tests are about does not differ between versions."""
    return oldest_python


def claim(host, **changes):
    request = {"fleet": host.fleet, "serial": host.report()["serial"], "wishes": {"jobs": ["web"]}}
    return host.order("claim", **{**request, **changes})


def refused(call, *arguments, **named):
    with pytest.raises(RefusedError) as caught:
        call(*arguments, **named)
    return caught.value.error


# Claims


def test_a_claim_raises_the_guard_durably_and_keeps_the_wishes(host):
    before = host.report()
    assert (before["fleet"], before["guard"]["generation"], host.ask("wishes")["wishes"]) == (None, 0, None)
    serial = claim(host, generation=7, author="ann@laptop")["serial"]
    assert serial > before["serial"]
    host.kill_agent()
    after = host.report()
    assert (after["fleet"], after["host_id"]) == ("test", before["host_id"])
    assert host.ask("wishes")["wishes"] == {"jobs": ["web"]}
    assert "wishes" not in after, "a report goes with every look: what may be large is asked for"
    assert (after["guard"]["generation"], after["guard"]["author"]) == (7, "ann@laptop")
    assert abs(after["guard"]["at"] - after["wallclock_s"]) < 60


def test_a_claim_of_a_host_that_changed_meanwhile_is_refused(host):
    serial = host.report()["serial"]
    host.run("web.0@1", "exec sleep 1000")
    host.ready("web.0@1")
    error = refused(claim, host, serial=serial, generation=2)
    assert (error["kind"], error["serial"]) == ("changed", host.report()["serial"])
    assert host.report()["guard"]["generation"] == 1
    claim(host, generation=2)


def test_readiness_and_facts_do_not_change_the_serial_but_an_end_does(host):
    asked = {"kind": "command", "argv": ["test", "-e", "well"], "interval_s": 0.1, "timeout_s": 20.0}
    asked.update(failures=1, successes=1, grace_s=0.0)
    host.run("web.0@1", "while [ ! -e go ]; do sleep 0.02; done; exit 1", ready=asked)
    host.until("web.0@1", lambda row: row["phase"] == "starting" and row["pid"])
    serial = host.report()["serial"]
    (host.folder("web.0@1") / "run" / "well").touch()
    host.ready("web.0@1")
    assert host.report()["serial"] == serial
    (host.folder("web.0@1") / "run" / "go").touch()
    host.until("web.0@1", lambda row: row["last_exit"])
    assert host.report()["serial"] > serial


def test_a_claim_made_twice_is_answered_twice(host):
    serial = host.report()["serial"]
    first = claim(host, serial=serial, generation=3)
    second = claim(host, serial=serial, generation=3)
    assert first["serial"] == second["serial"]


def test_another_fleets_claim_is_foreign(host):
    claim(host)
    error = refused(claim, host, fleet="staging", generation=9)
    assert (error["kind"], error["fleet"]) == ("foreign", "test")
    assert host.report()["guard"]["generation"] == 1


@pytest.mark.parametrize(("generation", "author"), [(4, "ann"), (5, "bob")])
@pytest.mark.parametrize("do", ["claim", "start", "stop", "adopt", "discard"])
def test_a_stale_order_is_refused_and_says_who_drives(standing, do, generation, author):
    standing.order(
        "start", instance="kept.0@1", spec=standing.spec("kept.0@1", ["sleep", "1000"]), generation=5, author="ann"
    )
    content = {
        "claim": {"fleet": "test", "serial": standing.report()["serial"], "wishes": None},
        "start": {"instance": "web.0@4", "spec": standing.spec("web.0@4", ["sleep", "1000"])},
        "stop": {"instance": "kept.0@1", "reason": "no"},
        "adopt": {"digest": "0" * 64, "incoming": "x"},
        "discard": {"incoming": "x"},
    }[do]
    error = refused(standing.order, do, generation=generation, author=author, **content)
    assert (error["kind"], error["generation"], error["author"]) == ("stale", 5, "ann")
    assert [(row["instance"], row["wanted"]) for row in standing.report()["instances"]] == [("kept.0@1", "run")]


# Starts and stops


def test_a_repeated_start_is_harmless(host):
    first = host.run("web.0@1", "exec sleep 1000")
    ready = host.ready("web.0@1")
    serial = host.report()["serial"]
    again = host.run("web.0@1", "exec sleep 1000")
    assert (again["pid"], again["restarts"]) == (ready["pid"], 0)
    assert first["instance"] == again["instance"]
    assert host.report()["serial"] == serial


def test_a_start_with_another_spec_or_after_a_stop_is_refused(host):
    host.run("web.0@1", "exec sleep 1000")
    assert refused(host.run, "web.0@1", "exec sleep 1001")["kind"] == "exists"
    host.stop("web.0@1")
    host.stopped("web.0@1")
    error = refused(host.run, "web.0@1", "exec sleep 1000")
    assert (error["kind"], error["instance"]["phase"]) == ("exists", "stopped")


def test_a_repeated_stop_is_harmless(host):
    host.run("web.0@1", "exec sleep 1000")
    host.ready("web.0@1")
    host.stop("web.0@1", "first")
    host.stopped("web.0@1")
    again = host.stop("web.0@1", "second")
    assert (again["phase"], again["reason"]) == ("stopped", "first")


def test_a_stop_right_after_the_start_leaves_nothing(host):
    for epoch in range(1, 6):
        link = host.link
        name = f"web.0@{epoch}"
        order = {"generation": 1, "author": "tester", "instance": name}
        started = link.send("start", spec=host.spec(name, ["sleep", "1000"]), **order)
        stopped = link.send("stop", reason="at once", **order)
        link.answer(started)
        link.answer(stopped)
        host.stopped(name)
    assert not [command for command in host.processes().values() if "sleep 1000" in command]


def test_many_waits_and_orders_share_one_link(host):
    link = host.link
    names = [f"web.{index}@1" for index in range(8)]
    waits = []
    for name in names:
        order = {"generation": 1, "author": "tester", "instance": name}
        link.answer(link.send("start", spec=host.spec(name, ["sleep", "1000"]), **order))
        waits.append(link.send("await", instance=name, until="ready", for_s=0.1, timeout_s=30))
    assert {link.answer(number)["instance"]["instance"] for number in reversed(waits)} == set(names)


# What is wrong with a request


@pytest.mark.parametrize(
    "request_",
    [
        {"do": "observe"},
        {"id": 1, "do": "explode"},
        {"id": 1, "do": ["observe"]},
        {"id": 1},
        {"id": 1, "do": "stop", "instance": "../../etc@1", "generation": 1, "author": "x", "reason": ""},
        {"id": 1, "do": "stop", "instance": "web.0@1\n", "generation": 1, "author": "x", "reason": ""},
        {"id": 1, "do": "start", "instance": "web.0@1", "generation": 1, "author": "x", "spec": {}},
        {"id": 1, "do": "start", "instance": "web.0@1", "generation": 1, "author": "x", "spec": None},
        {"id": 1, "do": "start", "instance": "web.0@1", "generation": "1", "author": "x", "spec": {}},
        {"id": 1, "do": "adopt", "digest": "0" * 64, "incoming": "..", "generation": 1, "author": "x"},
        {"id": 1, "do": "adopt", "digest": "../x", "incoming": "x", "generation": 1, "author": "x"},
        {"id": 1, "do": "discard", "incoming": "../artifacts", "generation": 1, "author": "x"},
        {"id": 1, "do": "probe", "targets": [{"key": "k", "kind": "http", "address": "::1", "port": 0}]},
        {"id": 1, "do": "neighbours", "peers": [{"host": 1}]},
        {"id": 1, "do": "await", "instance": "web.0@1", "until": "rich", "for_s": 0, "timeout_s": 1},
    ],
)
def test_a_malformed_request_is_refused_and_changes_nothing(standing, request_):
    link = standing.link
    link.write(json.dumps(request_).encode() + b"\n")
    answer = json.loads(link.read_line())
    assert answer["ok"] is False
    assert answer["error"]["kind"] in ("malformed", "unknown_instance")
    assert not [row for row in link.ask("observe")["report"]["instances"] if row["job"] == "web"]


@pytest.mark.parametrize("line", [b"hello\n", b"[1]\n", b"\xff\xfe\n", b"[" * 100000 + b"\n", b"null\n"])
def test_a_line_that_is_no_request_is_refused(standing, line):
    standing.report()
    agent = standing.agent_pid()
    standing.link.write(line)
    assert json.loads(standing.link.read_line())["error"]["kind"] == "malformed"
    standing.report()
    assert standing.agent_pid() == agent


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"argv": []}, "argv"),
        ({"argv": ["a\0b"]}, "argv"),
        ({"env": {"A B": "x"}}, "env"),
        ({"env": {"A": 5}}, "env"),
        ({"ports": {"http": 70000}}, "ports"),
        ({"ports": {"../x": 7000}}, "ports"),
        ({"artifact": "../../x"}, "artifact"),
        ({"stop": {"signal": "NOPE", "timeout_s": 1}}, "signal"),
        ({"stop": {"signal": "TERM", "timeout_s": -1}}, "timeout_s"),
        ({"log": {"size_bytes": 0, "keep": 1}}, "size_bytes"),
        ({"ready": {"kind": "telepathy"}}, "ready"),
        ({"ready": http_ready(80, path="/x\r\nHost: y")}, "path"),
        ({"ready": http_ready(80, interval_s=0)}, "interval"),
        ({"job": "other"}, "job"),
    ],
)
def test_a_spec_that_can_not_be_carried_out_is_refused_by_name(standing, changes, word):
    spec = {**standing.spec("web.0@1", ["sleep", "1"]), **changes}
    error = refused(standing.order, "start", instance="web.0@1", spec=spec, generation=9)
    assert error["kind"] == "malformed"
    assert word in error["message"]


def test_what_is_not_there_is_said_to_be_unknown(standing):
    assert refused(standing.stop, "web.0@1")["kind"] == "unknown_instance"
    assert refused(standing.lines, "web.0@1")["kind"] == "unknown_instance"
    assert refused(standing.ready, "web.0@1")["kind"] == "unknown_instance"


# Artifacts


def upload(host, name: str, content: dict[str, str]) -> Path:
    folder = host.root / "incoming" / name
    for path, text in content.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if text.startswith("#!") else 0o644)
    return folder


def test_an_upload_is_verified_made_immutable_and_runs(host):
    host.report()
    folder = upload(
        host, "up1", {"web": "#!/bin/sh\ncat $FLEETCTL_ARTIFACT/data/file\nexec sleep 1000\n", "data/file": "content\n"}
    )
    (folder / "link").symlink_to("data/file")
    digest = digest_of(str(folder))
    host.order("adopt", digest=digest, incoming="up1")
    assert not folder.exists()
    artifact = host.root / "artifacts" / digest
    assert digest_of(str(artifact)) == digest
    for path in (artifact, *artifact.rglob("*")):
        if not path.is_symlink():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o222, path
    assert host.report()["artifacts"] == [digest]
    host.order("adopt", digest=digest, incoming="up1")  # repeated: it is there
    host.start("web.0@1", ["./web"], artifact=digest)
    host.ready("web.0@1")
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["content"])
    assert refused_to_leave(host, digest) == "not_executable"


def refused_to_leave(host, digest):
    host.start("web.1@1", ["../../instances/web.0@1/run/x"], artifact=digest)
    return host.until("web.1@1", lambda row: row["phase"] == "failed")["problem"]["kind"]


def test_a_plain_user_can_do_all_of_it(plain_host):
    host = plain_host
    claim(host)
    folder = upload(host, "up1", {"web": "#!/bin/sh\nid -u; exec sleep 1000\n", "data/file": "x"})
    for path in (folder, *folder.rglob("*")):
        os.chown(path, host.uid, host.uid)
    digest = digest_of(str(folder))
    host.order("adopt", digest=digest, incoming="up1")
    host.start("web.0@1", ["./web"], artifact=digest)
    row = host.ready("web.0@1")
    assert Path(f"/proc/{row['pid']}").stat().st_uid == host.uid
    host.until("web.0@1", lambda _: host.lines("web.0@1") == [str(host.uid)])
    other = upload(host, "up2", {"web": "other"})
    for path in (other, *other.rglob("*")):
        os.chown(path, host.uid, host.uid)
    assert refused(host.order, "adopt", digest="0" * 64, incoming="up2")["kind"] == "mismatch"
    host.order("discard", incoming="up2")
    assert not other.exists()
    host.kill_agent()
    host.stop("web.0@1")
    host.stopped("web.0@1")


def test_an_upload_of_other_content_is_refused_with_its_digest(host):
    host.report()
    folder = upload(host, "up1", {"web": "#!/bin/sh\n"})
    found = digest_of(str(folder))
    error = refused(host.order, "adopt", digest="0" * 64, incoming="up1")
    assert (error["kind"], error["found"]) == ("mismatch", found)
    assert host.report()["artifacts"] == []
    host.order("discard", incoming="up1")
    assert not folder.exists()
    host.order("discard", incoming="up1")
    assert refused(host.order, "adopt", digest=found, incoming="up1")["kind"] == "malformed"


def test_the_digest_is_what_its_docstring_says(tmp_path):
    import hashlib

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run").write_text("x")
    (tmp_path / "b" / "run").chmod(0o700)
    (tmp_path / "b.txt").write_text("y")
    (tmp_path / "b.txt").chmod(0o600)
    (tmp_path / "a").symlink_to("b/run")
    (tmp_path / "empty").mkdir()
    x, y = (hashlib.sha256(text).hexdigest() for text in (b"x", b"y"))
    lines = f"link b/run a\n644 {y} b.txt\n755 {x} b/run\n"
    assert digest_of(str(tmp_path)) == hashlib.sha256(lines.encode()).hexdigest()
    (tmp_path / "new\nline").write_text("")
    with pytest.raises(ValueError, match="line feed"):
        digest_of(str(tmp_path))


def test_what_is_left_of_an_upload_is_removed_after_a_day(host):
    host.report()
    fresh, stale = (upload(host, name, {"web": "x"}) for name in ("fresh", "stale"))
    os.utime(stale, (1, 1))
    host.kill_agent()
    host.report()
    wait_until(lambda: not stale.exists())
    assert fresh.exists()


def test_an_instance_whose_order_can_not_be_read_is_left_alone_and_told(host):
    host.run("web.0@1", "exec sleep 1000")
    pid = host.ready("web.0@1")["pid"]
    (host.folder("web.0@1") / "spec.json").write_text("{")
    host.kill_agent()
    report = host.report()
    assert report["instances"] == []
    assert "web.0@1" in report["notes"][0]
    assert lives(pid)


# Questions about others


def test_probes_run_at_once_and_each_gives_its_answer(host):
    port, closed = free_port(), free_port()
    host.start("web.0@1", server(port), ready=http_ready(port))
    host.ready("web.0@1")
    target = {"address": "127.0.0.1", "port": port, "timeout_s": 5.0, "path": ""}
    targets = [
        {**target, "key": "good", "kind": "http", "path": "/healthz"},
        {**target, "key": "bad", "kind": "http", "path": "/else"},
        {**target, "key": "tcp", "kind": "tcp"},
        {**target, "key": "closed", "kind": "tcp", "port": closed},
        {**target, "key": "not ssh", "kind": "banner", "timeout_s": 0.3},
        {**target, "key": "name", "kind": "tcp", "address": "localhost"},
    ]
    answers = {answer["key"]: answer for answer in host.ask("probe", targets=targets)["answers"]}
    assert {key: answer["ok"] for key, answer in answers.items()} == {
        "good": True,
        "bad": False,
        "tcp": True,
        "closed": False,
        "not ssh": False,
        "name": True,
    }
    assert answers["bad"]["detail"] == "answered 503"
    assert answers["closed"]["detail"] == "Connection refused"
    assert answers["not ssh"]["detail"] == "no answer in 0.3 s"


SSHD = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    connection.sendall(b"hello\\r\\nSSH-2.0-test\\r\\n")
    connection.close()
"""


def test_a_neighbour_once_reached_stays_reached(host):
    import sys

    port = free_port()
    host.start("sshd.0@1", [sys.executable, "-c", SSHD, str(port)], ready=http_ready(port, kind="tcp"))
    host.ready("sshd.0@1")
    peers = [
        {"host": "h2", "address": "127.0.0.1", "port": port},
        {"host": "h3", "address": "127.0.0.1", "port": free_port()},
    ]
    assert [row["ok"] for row in host.ask("neighbours", peers=peers)["reach"]] == [True, False]
    host.stop("sshd.0@1")
    host.stopped("sshd.0@1")
    assert [row["ok"] for row in host.ask("neighbours", peers=peers)["reach"]] == [False, False]
    host.kill_agent()
    kept = {row["host"]: row["ok"] for row in host.report()["reach"]}
    assert kept == {"h2": True, "h3": False}


def test_the_report_has_what_a_planner_needs(host):
    port = free_port()
    host.start("web.0@1", server(port), ports={"http": port}, ready=http_ready(port))
    host.ready("web.0@1")
    report = host.report()
    facts = report["facts"]
    assert 0 < facts["cpu_milli"] <= 1000 * os.cpu_count()
    memory = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) * 1024
    assert 0 < facts["memory_bytes"] <= memory
    assert 0 < facts["disk_free_bytes"] <= facts["disk_total_bytes"]
    assert (facts["kernel"], facts["arch"]) == (os.uname().release, os.uname().machine)
    assert facts["limits"].startswith("advisory: asked not to")
    assert port in report["ports_in_use"]
    assert len(report["host_id"]) == 32
    assert report["boottime_s"] > 0
    link = host.connect(SSH_CONNECTION="10.0.0.1 50000 127.0.0.9 22")
    assert link.hello["address"] == "127.0.0.9"
    seen = link.ask("observe")["report"]
    assert seen["address"] == "127.0.0.9"
    assert port not in seen["ports_in_use"], "a loopback host is not bothered by its neighbour's ports"
