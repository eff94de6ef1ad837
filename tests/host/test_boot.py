"""What comes back after a boot, and what is believed then. Units and real power cuts are in tests/vm/test_boot.py."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from fleetctl.host import boot, comeback, commands, crontab, going_down, session
from fleetctl.host.artifacts import digest_of
from tests.host.driven import RefusedError, lives, wait_until
from tests.host.test_orders import upload

if TYPE_CHECKING:
    from pathlib import Path

TELLS = 'trap "echo told >> told; cat $FLEETCTL_NOTICE >> told; exit 0" TERM; echo up; while :; do sleep 0.05; done'


def artifact(host, text: str) -> str:
    """A program that says a word and stays, on the host."""
    folder = upload(host, "up", {"web": f"#!/bin/sh\necho {text}\nexec sleep 1000\n"})
    digest = digest_of(str(folder))
    host.order("adopt", digest=digest, incoming="up")
    return digest


def spoil(host, digest: str) -> None:
    """What a disk may do to a file whose blocks were on their way."""
    path = host.root / "artifacts" / digest / "web"
    path.chmod(0o755)
    path.write_text("#!/bin/sh\nexec sleep 1001\n")


def refused(call) -> str:
    with pytest.raises(RefusedError) as caught:
        call()
    return str(caught.value.error["message"])


# Going down


def test_a_machine_that_goes_down_stops_programs_by_their_policy_and_starts_them_again(host):
    host.run("web.0@7", TELLS)
    host.run("web.1@7", "exec sleep 1000")
    host.run("old.0@1", "exec sleep 1000")
    host.until("web.0@7", lambda _: host.lines("web.0@7") == ["up"])
    host.stop("old.0@1")
    host.stopped("old.0@1")
    digest = artifact(host, "one")
    host.ask("go_down")
    assert (host.folder("web.0@7") / "run" / "told").read_text() == "told\nthe machine goes down\n"
    assert {row["instance"]: (row["phase"], row["wanted"]) for row in host.report()["instances"]} == {
        "old.0@1": ("stopped", "stop"),
        "web.0@7": ("stopped", "run"),
        "web.1@7": ("stopped", "run"),
    }
    assert "goes down" in refused(lambda: host.run("web.2@7", "exec sleep 1000"))
    host.power_off()
    spoil(host, digest)  # which nobody looks for: it went down in good order
    assert {row["phase"] for row in host.connect("look").ask("observe")["report"]["instances"]} == {
        "stopped",
        "waiting",
    }
    row = host.ready("web.0@7")
    assert (row["last_exit"], row["restarts"]) == ("exited 0", 1)
    assert "the host was started again, in good order" in [event["what"] for event in row["story"]]
    assert not (host.folder("web.0@7") / "notice").exists()
    assert host.ready("web.1@7")["restarts"] == 1
    assert host.row("old.0@1")["phase"] == "stopped"
    host.start("web.3@7", ["./web"], artifact=digest)
    host.ready("web.3@7")


def test_what_systemd_alone_stopped_is_started_again_in_the_same_boot(host):
    """A user's systemd ends and begins again while the machine runs on."""
    host.run("web.0@7", "exec sleep 1000")
    host.ready("web.0@7")
    host.ask("go_down")
    host.kill_everything()
    assert host.ready("web.0@7")["last_exit"] == "killed by SIGTERM"


def test_where_no_agent_is_to_be_reached_the_machine_goes_down_all_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    going_down.ask(str(tmp_path), patience_s=0.2)


# A power cut


def test_artifacts_are_read_again_after_a_power_cut_and_a_damaged_one_is_not_run(host):
    whole, damaged, unused = artifact(host, "whole"), artifact(host, "damaged"), artifact(host, "unused")
    host.start("web.0@7", ["./web"], artifact=whole)
    host.start("web.1@7", ["./web"], artifact=damaged)
    for name in ("web.0@7", "web.1@7"):
        host.ready(name)
    host.power_off()
    spoil(host, damaged)
    spoil(host, unused)
    row = host.ready("web.0@7")
    assert row["restarts"] == 1
    assert "the host was started again, without having been shut down" in [event["what"] for event in row["story"]]
    row = host.until("web.1@7", lambda row: row["phase"] == "failed")
    assert row["problem"]["kind"] == "artifact_missing"
    assert row["problem"]["detail"] == f"artifact {damaged} is damaged: its content changed"
    assert set(host.report()["artifacts"]) == {whole, unused}
    host.start("web.2@7", ["./web"], artifact=unused)  # doubted until something of it is to start
    assert host.until("web.2@7", lambda row: row["phase"] == "failed")["problem"]["kind"] == "artifact_missing"
    assert artifact(host, "damaged") == damaged
    host.start("web.1@8", ["./web"], artifact=damaged)
    host.ready("web.1@8")


def test_whatever_a_power_cut_tore_keeps_nothing_else_from_running(host):
    for name in ("web.0@7", "web.1@7", "web.2@7", "web.3@7"):
        host.run(name, "exec sleep 1000")
        host.ready(name)
    host.power_off()
    (host.folder("web.0@7") / "status.json").write_bytes(b"\0" * 300)
    (host.folder("web.1@7") / "spec.json").write_text('{"spec": {"job"')
    (host.folder("web.2@7") / "exit" / "1").write_bytes(b"")
    (host.folder("web.3@7") / "launch").write_bytes(b"\xff" * 64)
    for name in ("boot.json", "serial.json", "reach.json", "fleet.json", "program", "arranged"):
        (host.root / name).write_bytes(b"{\0")
    for name in ("web.0@7", "web.2@7", "web.3@7"):
        assert host.ready(name)["restarts"] == 1, name
    notes = "\n".join(host.report()["notes"])
    assert "instances/web.1@7: its spec.json can't be read" in notes
    assert "fleet.json can't be read" in notes


@pytest.mark.parametrize(
    ("name", "content"),
    [("guard.json", b"\0" * 40), ("guard.json", b'{"generation": "7", "author": "x"}'), ("host.json", b"{")],
)
def test_where_nobody_can_tell_who_drives_every_order_is_refused(host, name, content):
    host.run("web.0@7", "exec sleep 1000")
    host.ready("web.0@7")
    (host.root / name).write_bytes(content)
    host.kill_agent()
    for order in (
        lambda: host.stop("web.0@7"),
        lambda: host.run("web.1@7", "exec sleep 1000"),
        lambda: host.order("claim", fleet="test", serial=host.report()["serial"], wishes=None),
    ):
        assert "nobody can tell who drives this host" in refused(order)
    assert (host.root / name).read_bytes() == content
    assert any(name in note for note in host.report()["notes"])
    assert host.row("web.0@7")["phase"] in ("ready", "starting")
    (host.root / name).unlink()
    host.stop("web.0@7")
    host.stopped("web.0@7")


# What is arranged


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose commands are scripts of ours: each writes down how it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(commands, "FOLDERS", (str(folder), "/usr/bin", "/bin"))
    monkeypatch.setattr(crontab, "daemon_runs", lambda: True)
    kept = tmp_path / "crontab"
    command(
        folder,
        "crontab",
        f'case "$1" in -l) cat {kept} 2>&- || {{ echo no crontab for us >&2; exit 1; }};; -) cat > {kept};; esac',
    )
    return tmp_path


def command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder.parent}/called-{name}\n{script}\n')
    path.chmod(0o755)


def test_a_crontab_gets_one_line_and_keeps_the_others(machine):
    root = "/srv/it's 100% mine"
    (machine / "crontab").write_text("MAILTO=me\n5 4 * * * backup # fleetctl is backed up, too\n")
    crontab.write(root + "/boot", root)
    crontab.write(root + "/boot", root)
    lines = (machine / "crontab").read_text().splitlines()
    assert lines[:2] == ["MAILTO=me", "5 4 * * * backup # fleetctl is backed up, too"]
    assert len(lines) == 3
    assert lines[2].startswith("@reboot ")
    run_by_cron = lines[2].removeprefix("@reboot ").replace("\\%", "%")  # as cron unquotes it for the shell
    assert shlex.split(run_by_cron, comments=True) == [sys.executable, "-I", "-S", "-E", root + "/boot", "crontab"]
    crontab.drop(root)
    assert (machine / "crontab").read_text().splitlines() == lines[:2]


def test_roots_that_write_their_lines_at_once_lose_none(machine, tmp_path):
    """Of one user, on one machine. Each is a process of its own, as boot.py is."""
    kept, roots = machine / "crontab", [f"/srv/{number}" for number in range(4)]
    command(
        machine / "bin",
        "crontab",
        f"case $1 in -l) cat {kept}; sleep 0.2;; -) cat > {kept}.new; mv {kept}.new {kept};; esac",
    )
    kept.write_text("MAILTO=me\n")
    writers = []
    for root in roots:
        pid = os.fork()
        if pid == 0:
            try:
                crontab.write(root + "/boot", root)
                os._exit(0)
            finally:
                os._exit(1)
        writers.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in writers] == [0, 0, 0, 0]
    lines = kept.read_text().splitlines()
    assert lines[0] == "MAILTO=me"
    assert {line.rpartition("# fleetctl ")[2] for line in lines[1:]} == set(roots)


def test_a_crontab_that_can_not_be_read_is_left_alone(machine):
    command(machine / "bin", "crontab", "echo the disk is gone >&2; exit 1")
    with pytest.raises(crontab.Unusable, match="the disk is gone"):
        crontab.write("/r/boot", "/r")
    assert (machine / "called-crontab").read_text() == "-l\n"


def test_a_unit_is_written_once_enabled_and_never_over_anothers(machine, monkeypatch):
    command(machine / "bin", "systemctl", "")
    monkeypatch.setattr(boot, "has_systemd", lambda: True)
    root, units = machine / "root 100%", machine / "units"
    root.mkdir()
    write = lambda: boot.write_unit(str(root), str(units), "multi-user.target")  # noqa: E731
    write()
    write()
    (unit,) = units.glob("*.service")
    assert (machine / "called-systemctl").read_text().split()[-1:] == ["daemon-reload"]
    assert (machine / "called-systemctl").read_text().count("daemon-reload") == 1
    link = units / "multi-user.target.wants" / unit.name
    assert link.resolve() == unit
    if shutil.which("systemd-analyze") and os.getuid() == 0:
        (root / "boot").touch()
        verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert "fleetctl" not in verified.stderr, verified.stderr
    link.unlink()
    with pytest.raises(boot.Impossible, match="was disabled"):
        write()
    unit.write_text("[Unit]\nDescription=of somebody else\n")
    with pytest.raises(boot.Impossible, match="somebody else's"):
        write()


def test_the_unit_of_a_user_who_lingers_no_more_is_passed_over_at_their_logins(monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert "linger" not in boot.unit_text("/srv/100%", "multi-user.target")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(commands, "login", lambda: "ops")
    lines = boot.unit_text("/srv/100%", "default.target").splitlines()
    assert [line for line in lines if line.startswith("Condition")] == [
        "ConditionPathExists=/srv/100%%/boot",
        "ConditionPathExists=/var/lib/systemd/linger/ops",
    ]


@pytest.mark.parametrize("how", ["user unit", "crontab", "none: user ops does not linger"])
@pytest.mark.parametrize("did", [True, False])
def test_a_report_notices_that_lingering_was_switched_on_or_off(how, did, monkeypatch):
    seen, arranged = comeback.Comeback(SimpleNamespace(login={"USER": "ops"})), []
    seen.how, seen.lingered = how, did
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(seen, "arrange", lambda: arranged.append("now"))
    monkeypatch.setattr(comeback, "lingers", lambda _user: did)
    seen.look()
    assert arranged == []
    monkeypatch.setattr(comeback, "lingers", lambda _user: not did)
    seen.look()
    assert arranged == ["now"]
    seen.how = comeback.ASKED_NOT_TO
    seen.look()
    assert arranged == ["now"]


@pytest.mark.parametrize(
    ("said", "killed"),
    [
        ({}, False),
        ({"KillUserProcesses": ["yes"]}, True),
        ({"KillUserProcesses": ["no"]}, False),
        ({"KillUserProcesses": ["true"], "KillExcludeUsers": ["root", "ops"]}, False),
        ({"KillUserProcesses": ["true"], "KillOnlyUsers": ["eve"], "KillExcludeUsers": []}, False),
        ({"KillUserProcesses": ["true"], "KillOnlyUsers": ["ops"], "KillExcludeUsers": ["root"]}, True),
    ],
)
def test_who_is_killed_at_log_out_is_logind_s_decision(said, killed):
    assert session.kills(said, "ops") is killed


def test_where_nothing_starts_programs_at_boot_the_report_says_so(host, tmp_path):
    """And where cron does, its line does."""
    bin_folder, table = tmp_path / "bin", tmp_path / "crontab"
    bin_folder.mkdir()
    host.edits = (
        ("commands.py", 'FOLDERS = ("/usr/local/bin", "/usr/bin",', f'FOLDERS = ("{bin_folder}",'),
        ("boot.py", '"/run/systemd/system"', '"/nowhere"'),
        ("crontab.py", '"/run/crond.pid"', f'"{table}"'),
    )
    host.link_now = host.connect(FLEETCTL_BOOT="as it is")
    assert host.report()["facts"]["boot"] == "none: no systemd, no cron"
    host.end()
    table.write_text("# mine\n")
    command(bin_folder, "crontab", f'if [ "$1" = -l ]; then cat {table}; else cat > {table}; fi')
    host.link_now = host.connect(FLEETCTL_BOOT="as it is")
    assert host.report()["facts"]["boot"] == "crontab"
    host.run("web.0@7", "exec sleep 1000")
    pid = host.ready("web.0@7")["pid"]
    host.power_off()
    mine, ours = table.read_text().splitlines()
    assert mine == "# mine"
    subprocess.run(
        ["/bin/sh", "-c", ours.removeprefix("@reboot ")], check=True, timeout=30, env={"PATH": "/usr/bin:/bin"}
    )
    status = host.folder("web.0@7") / "status.json"
    again = wait_until(lambda: {json.loads(status.read_text())["pid"]} - {None, pid}, "another process").pop()
    assert lives(again)
    assert host.report()["facts"]["boot"] == "crontab"
