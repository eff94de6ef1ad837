"""The bootstrap: roots, looks that write nothing, links that come and go."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partialmethod
from pathlib import Path

import pytest

from tests.host.driven import HERE, LIMIT_S, Host, RefusedError, descriptors, wait_until


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a folder, with what would change if somebody wrote there."""
    found = {}
    for path in [root, *root.rglob("*")] if root.exists() else []:
        state = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (state.st_mode, state.st_mtime_ns, content)
    return found


def test_a_look_at_a_host_with_nothing_on_it_writes_nothing(host, tmp_path):
    before = tree(tmp_path)
    link = host.connect("look")
    assert (link.hello["installed"], link.hello["agent"], link.hello["send"]) == (False, False, True)
    assert link.linked == {"linked": 1, "by": "look"}
    report = link.ask("observe")["report"]
    assert (report["instances"], report["fleet"], report["host_id"]) == ([], None, "")
    assert link.ask("wishes")["wishes"] is None
    assert report["facts"]["cpu_milli"] > 0
    assert "no agent" in report["notes"][0]
    with pytest.raises(RefusedError) as caught:
        link.ask("claim", generation=1, author="x", fleet="test", serial=0, wishes=None)
    assert caught.value.kind == "no_agent"
    assert link.close() == 0
    assert tree(tmp_path) == before
    assert not host.root.exists()


def test_a_look_links_to_a_living_agent(host):
    host.run("web.0@1", "exec sleep 1000")
    host.ready("web.0@1")
    link = host.connect("look", version="0.0.1", change="older")
    assert link.linked == {"linked": 1, "by": "agent"}
    assert link.hello["send"] is False
    assert link.ask("observe")["report"]["instances"][0]["phase"] == "ready"


def test_a_look_where_the_agent_is_dead_tells_what_the_files_and_proc_say(host, tmp_path):
    host.run("web.0@1", "echo hello; exec sleep 1000")
    host.run("web.1@1", "echo bye; exec sleep 1000")
    host.order("claim", generation=2, fleet="test", serial=host.report()["serial"], wishes={"jobs": ["web"]})
    pid = host.ready("web.0@1")["pid"]
    other = host.ready("web.1@1")["pid"]
    host.until("web.1@1", lambda _: host.lines("web.1@1") == ["bye"])
    host.until("web.0@1", lambda _: host.lines("web.0@1") == ["hello"])
    host.kill_all_of_ours()
    host.kill(other)
    before = tree(tmp_path)
    link = host.connect("look")
    assert link.linked == {"linked": 1, "by": "look"}
    assert (link.hello["installed"], link.hello["send"]) == (True, False)
    rows = {row["instance"]: row for row in link.ask("observe")["report"]["instances"]}
    assert (rows["web.0@1"]["phase"], rows["web.0@1"]["pid"]) == ("ready", pid)
    assert (rows["web.1@1"]["phase"], rows["web.1@1"]["pid"]) == ("waiting", None)
    assert rows["web.1@1"]["last_exit"] == "unknown"
    assert link.ask("wishes")["wishes"] == {"jobs": ["web"]}
    assert link.ask("logs", instance="web.0@1", lines=5)["lines"] == ["hello"]
    link.close()
    assert tree(tmp_path) == before


def test_a_new_root_is_private_and_deep_paths_work(tmp_path, python):
    deep = Host(tmp_path / ("d" * 100) / ("e" * 60), python)
    try:
        deep.run("web.0@1", "exec sleep 1000")
        deep.ready("web.0@1")
        assert deep.root.stat().st_mode & 0o777 == 0o700
        assert deep.root.stat().st_uid == os.getuid()
    finally:
        deep.end()


@pytest.mark.parametrize("name", ["with a blank", "jörg", "no \udcff text"])
def test_a_root_may_have_any_name(tmp_path, oldest_python, name, monkeypatch):
    monkeypatch.setattr(Host, "connect", partialmethod(Host.connect, LC_ALL="C"))
    named = Host(tmp_path / name / "root", oldest_python)
    try:
        named.run("web.0@1", "echo said > $FLEETCTL_RUN/here; exec sleep 1000")
        pid = named.ready("web.0@1")["pid"]
        wait_until((named.folder("web.0@1") / "run" / "here").exists, "FLEETCTL_RUN leads there")
        named.kill(named.shim_pid("web.0@1"))
        assert named.ready("web.0@1", for_s=0.2)["pid"] == pid
        named.stop("web.0@1")
        named.stopped("web.0@1", timeout_s=10.0)
    finally:
        named.end()


def test_the_default_root_is_in_the_home_of_a_plain_user(monkeypatch):
    entry = entry_module()
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert entry.default_root() == "/var/lib/fleetctl"
    monkeypatch.setattr(os, "getuid", lambda: 1)
    monkeypatch.setenv("HOME", "/home/ann")
    assert entry.default_root() == "/home/ann/.local/share/fleetctl"
    monkeypatch.delenv("HOME")
    import pwd

    assert entry.default_root() == pwd.getpwuid(1).pw_dir + "/.local/share/fleetctl"


def entry_module():
    spec = importlib.util.spec_from_file_location("entry_under_test", HERE / "entry.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:25 / /home rw,relatime shared:2 - nfs4 filer:/home rw,vers=4.2
31 30 254:2 / /home/local\\040disk rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/home", "nfs4"),
        ("/home/ann/x", "nfs4"),
        ("/homes", "ext4"),
        ("/home/local disk/a", "xfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_its_deepest_mount(path, kind):
    assert entry_module().file_system_of(path, MOUNTS) == kind


def test_a_root_on_a_file_system_of_another_machine_is_refused_with_the_remedy(monkeypatch):
    entry = entry_module()
    monkeypatch.setattr(entry, "file_system_of", lambda *_: "nfs4")
    with pytest.raises(entry.Failure) as caught:
        entry.check_root("/home/ann/.local/share/fleetctl")
    assert caught.value.error()["kind"] == "root"
    assert "nfs4" in caught.value.error()["message"]
    assert "fleet_root" in caught.value.error()["hint"]


def test_a_root_that_can_not_be_made_is_refused_with_the_remedy(tmp_path, python):
    (tmp_path / "file").write_text("")
    host = Host(tmp_path / "file" / "root", python)
    link = host.connect()
    assert link.hello["error"]["kind"] == "root"
    assert "fleet_root" in link.hello["error"]["hint"]
    assert link.process.wait(LIMIT_S) == 1
    host.kill_everything()


@pytest.mark.parametrize(
    "line",
    [
        b"{}\n",
        b"nonsense\n",
        b"x" * 70000 + b"\n",
        b'{"mode":"drive","root":"relative","fleet":"x","program":{"version":"1","digest":"a","bytes":1}}\n',
        b'{"mode":"drive","root":null,"fleet":"x","program":{"version":"1.x","digest":"a","bytes":1}}\n',
        b'{"mode":"drive","root":null,"fleet":"x","program":{"version":"1","digest":"../a","bytes":1}}\n',
    ],
)
def test_what_is_no_handshake_is_refused(python, line):
    run_entry = f"exec(open({str(HERE / 'entry.py')!r}).read(),{{'__name__':'__fleetctl_entry__'}})"
    done = subprocess.run(
        [python, "-I", "-S", "-E", "-c", run_entry], input=line, capture_output=True, timeout=30, check=False
    )
    assert json.loads(done.stdout)["error"]["kind"] == "malformed"
    assert done.returncode == 1


def test_a_broken_bundle_is_refused(host, monkeypatch):
    from tests.host import driven

    digest, data = driven.bundle()
    monkeypatch.setattr(driven, "bundle", lambda *_: (digest, data[:-9] + b"123456789"))
    link = host.connect()
    assert (link.linked["linked"], link.linked["error"]["kind"]) == (0, "bundle")
    assert not list(host.root.glob("program-*"))


def test_an_agent_that_is_slow_to_say_hello_is_waited_for(tmp_path):
    """As on a busy host, where it is not scheduled between our connecting and our reading."""
    here = os.open(tmp_path, os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as agent:
        listener.bind(f"/proc/self/fd/{here}/agent.sock")
        listener.listen()

        def say_hello():
            connection, _ = listener.accept()
            with connection:
                nobody_listens = select.select([connection], [], [], 0.2)[0]
                if not nobody_listens:
                    connection.sendall(b'{"digest":"d"}\n')
                return not nobody_listens

        heard = agent.submit(say_hello)
        connection = entry_module().greeted(str(tmp_path), LIMIT_S, "d")
        assert heard.result(), "it was still listened to"
        assert connection is not None
        connection.close()
    os.close(here)


def test_the_end_of_a_link_ends_neither_agent_nor_program(host):
    host.run("web.0@1", "exec sleep 1000")
    row = host.ready("web.0@1")
    agent = host.agent_pid()
    for _ in range(3):
        link = host.connect()
        link.send("await", instance="web.0@1", until="stopped", for_s=0, timeout_s=1000)
        assert link.close() == 0
    link = host.connect()
    link.process.send_signal(signal.SIGKILL)
    link.process.wait()
    assert host.row("web.0@1")["pid"] == row["pid"]
    assert host.agent_pid() == agent


def test_a_link_ends_when_its_agent_does(host):
    link = host.connect()
    link.ask("observe")
    host.kill_agent()
    assert link.process.wait(LIMIT_S) == 0


def test_nothing_of_ours_keeps_a_session_alive(host):
    """Supervisor and agent hold no descriptor of the channel that started them, or its ssh would hang."""
    link = host.connect()
    ends = {str(Path(f"/proc/{link.process.pid}/fd/{number}").readlink()) for number in (0, 1)}
    for pid in (host.supervisor_pid(), host.agent_pid()):
        assert not set(descriptors(pid)) & ends
        assert os.getsid(pid) != os.getsid(link.process.pid)
    wait_until(lambda: host.role("agent"))
