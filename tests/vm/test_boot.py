"""Programs come back after a reboot and after a power cut, without fleetctl: by a unit, a user's unit or a crontab.

One machine for all of it, on a disk that outlives its power. Each stage is a fixture that hands on what was seen then.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest

from fleetctl.host.artifacts import digest_of
from tests.host.driven import wait_until
from tests.vm.host import VmHost, program_of
from tests.vm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNTS = """\
trap 'cat "$FLEETCTL_NOTICE" >> told; exit 0' TERM
echo up
n=0; while :; do n=$((n+1)); echo $n > n; sleep 1; done"""
CRASHES = "echo once; sync; exit 3"
QUICK = {"backoff_min_s": 0.3, "backoff_max_s": 0.5, "reset_s": 600.0}
WHOLE, DAMAGED = "#!/bin/sh\nexec sleep 1000\n", "#!/bin/sh\nexec sleep 2000\n"
Seen = dict[str, Any]


class Hosts:
    """The logins of one machine, each with a root of its own."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.root = VmHost(machine)
        self.ops = VmHost(machine, "ops")
        self.eve = VmHost(machine, "eve", "/home/eve/.local/share/fleetctl")
        self.all = (self.root, self.ops, self.eve)

    def copy_program(self, host: VmHost) -> None:
        """From the first root to another, so that it need not be compiled again: that takes long without KVM."""
        place, owner = shlex.quote(host.place), shlex.quote(host.user + ":")
        self.machine.run(f"mkdir -p {place} && cp -r {self.root.place}/program-* {place}/")
        home = f"/home/{host.user}/.local" if host.user != "root" else place
        self.machine.run(f"chown -R {owner} {home} && chmod 700 {place}")

    def forget_links(self) -> None:
        for host in self.all:
            host.forget_links()

    def see(self, *, by: str = "agent") -> dict[str, Seen]:
        """{login: its report} by links that start nothing: an agent has to be there."""
        found = {}
        for name, host in zip(("root", "ops", "eve"), self.all, strict=True):
            links = []
            seen = shlex.quote(f"{host.place}/boot.json")
            self.machine.wait_until(f"grep -q $(cat /proc/sys/kernel/random/boot_id) {seen}", f"an agent of {name}")

            def linked(host: VmHost = host, links: list[Any] = links) -> bool:
                links.append(host.connect("look"))
                return bool(links[-1].linked == {"linked": 1, "by": by})

            wait_until(linked, f"an agent of {name}", limit_s=120)
            host.link_now = links[-1]
            host.ready("web.0@7", timeout_s=120)
            found[name] = host.report()
            told = host.machine.attempt(["cat", str(host.folder("web.0@7") / "run" / "told")]).stdout
            found[name]["told"] = told
        return found


def row_of(report: Seen, name: str) -> Seen:
    return next(row for row in report["instances"] if row["instance"] == name)


def unit_of(machine: Machine, name: str, user: str = "root") -> dict[str, str]:
    scope = "" if user == "root" else "--user "
    text = machine.run(f"systemctl {scope}show -p MainPID -p ActiveState -p NRestarts {name}", user)
    return dict(line.split("=", 1) for line in text.splitlines())


def put_artifact(host: VmHost, folder: Path, text: str) -> str:
    (folder / "web").write_text(text)
    (folder / "web").chmod(0o755)
    digest = digest_of(str(folder))
    host.report()
    host.machine.put(f"{host.place}/incoming/up/web", text, mode=0o755)
    host.order("adopt", digest=digest, incoming="up")
    return digest


@pytest.fixture(scope="module")
def machine(vm_image: Path) -> Iterator[Machine]:
    machine = Machine.thaw(vm_image, lasting=True)
    try:
        machine.run(
            "useradd --create-home --shell /bin/bash eve && cp -a /home/ops/.ssh /home/eve/ && chown -R eve: /home/eve"
        )
        machine.run("echo ops > /etc/cron.deny")
        yield machine
    finally:
        machine.end()


@pytest.fixture(scope="module")
def hosts(machine: Machine) -> Iterator[Hosts]:
    """Every login runs a program, and was told how it comes back."""
    hosts = Hosts(machine)
    yield hosts
    hosts.forget_links()


@pytest.fixture(scope="module")
def arranged(hosts: Hosts) -> dict[str, str]:
    """{login: facts.boot}, of ops before and after root let it linger."""
    hosts.root.report()
    for host in hosts.all[1:]:
        hosts.copy_program(host)
    found = {"ops before": hosts.ops.report()["facts"]["boot"]}
    hosts.machine.run("loginctl enable-linger ops")
    wait_until(lambda: hosts.ops.report()["facts"]["boot"] == "user unit", "ops lingers")
    hosts.ops.end_there({hosts.ops.supervisor_pid(), *hosts.ops.role("agent")})  # its session had started them
    for name, host in zip(("root", "ops", "eve"), hosts.all, strict=True):
        host.run("web.0@7", COUNTS)
        host.until("web.0@7", lambda _, host=host: host.lines("web.0@7") == ["up"])
        found[name] = host.report()["facts"]["boot"]
    return found


def test_each_login_says_how_it_comes_back(hosts, arranged):
    assert arranged.pop("ops before").startswith("none: user ops does not linger, `crontab -l` says: ")
    assert arranged == {"root": "unit", "ops": "user unit", "eve": "crontab"}
    supervisor = str(hosts.ops.supervisor_pid())
    assert unit_of(hosts.machine, "fleetctl.service", "ops")["MainPID"] == supervisor


def test_a_unit_supervises_and_no_end_of_it_ends_a_program(hosts, arranged):
    assert arranged["root"] == "unit"
    host, machine = hosts.root, hosts.machine
    host.run("sleep.0@1", "exec sleep 1000")
    host.ready("sleep.0@1")
    program, supervisor = program_of(host, "sleep.0@1"), host.supervisor_pid()
    assert unit_of(machine, "fleetctl.service")["MainPID"] == str(supervisor)
    host.end_there({supervisor, *host.role("agent")})  # of one of them the other takes the place
    wait_until(lambda: host.supervisor_pid() != supervisor, "another supervisor")
    assert unit_of(machine, "fleetctl.service")["MainPID"] == str(host.supervisor_pid())
    assert program_of(host, "sleep.0@1") == program
    machine.run("systemctl stop fleetctl")
    assert host.start_of(program[0]) == program[1]
    assert not host.role("agent")
    assert program_of(host, "sleep.0@1") == program  # the next link has the unit started
    assert unit_of(machine, "fleetctl.service")["MainPID"] == str(host.supervisor_pid())


@pytest.fixture(scope="module")
def rebooted(hosts: Hosts, arranged: dict[str, str]) -> dict[str, Seen]:
    """After a clean reboot that no fleetctl had a hand in; since then logind kills what a session leaves."""
    assert arranged
    hosts.machine.put("/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\n")
    hosts.forget_links()
    hosts.machine.reboot()
    return hosts.see()


@pytest.mark.parametrize("name", ["root", "ops", "eve"])
def test_a_clean_reboot_brings_back_the_same_replica(rebooted, name):
    row = row_of(rebooted[name], "web.0@7")
    assert (row["phase"], row["wanted"], row["restarts"]) == ("ready", "run", 1), row


@pytest.mark.parametrize("name", ["root", "ops"])
def test_before_a_clean_reboot_programs_were_stopped_in_order(rebooted, name):
    row = row_of(rebooted[name], "web.0@7")
    assert rebooted[name]["told"] == "the machine goes down\n"
    assert row["last_exit"] == "exited 0"
    assert "the host was started again, in good order" in [event["what"] for event in row["story"]]


def test_log_out_ends_nothing_of_a_lingering_user(hosts, rebooted):
    assert rebooted
    program = program_of(hosts.ops, "web.0@7")
    hosts.ops.forget_links()
    hosts.machine.log_out("ops")
    hosts.machine.wait_until("! loginctl list-sessions --no-legend | grep ' ops '", "ops is logged out")
    assert program_of(hosts.ops, "web.0@7") == program


def test_what_would_not_survive_the_log_out_is_refused_with_the_remedy(hosts, rebooted):
    assert rebooted
    hosts.machine.put("/srv/eve/x", "")
    hosts.machine.run("chown -R eve: /srv/eve")
    refused = VmHost(hosts.machine, "eve", "/srv/eve/root").connect()
    assert refused.linked["error"] == {
        "kind": "session",
        "message": "what eve starts would be killed when it logs out (KillUserProcesses=yes of logind)",
        "hint": "run `loginctl enable-linger eve` as root",
    }
    refused.close()


@pytest.fixture(scope="module")
def cut(hosts: Hosts, rebooted: dict[str, Seen], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """After the power was cut while records, statuses and logs were being written."""
    assert rebooted
    host, folder = hosts.root, tmp_path_factory.mktemp("artifact")
    host.forget_links()
    whole, damaged = put_artifact(host, folder, WHOLE), put_artifact(host, folder, DAMAGED)
    host.start("whole.0@7", ["./web"], artifact=whole)
    host.start("damaged.0@7", ["./web"], artifact=damaged)
    for name in ("crash.0@7", "crash.1@7", "crash.2@7"):
        host.run(name, CRASHES, restart=QUICK)
    host.ready("whole.0@7")
    host.ready("damaged.0@7")
    before = host.until("crash.2@7", lambda row: row["restarts"] > 2)
    place = f"{host.place}/artifacts/{damaged}/web"
    hosts.machine.run(f"chmod u+w {place} && echo '# torn' >> {place} && sync {place}")
    host.power_off()
    hosts.forget_links()
    hosts.machine.power_on()
    seen = hosts.see()
    host.until("damaged.0@7", lambda row: row["phase"] == "failed")
    host.ready("whole.0@7", timeout_s=120)
    return {**seen, "root": host.report(), "whole": whole, "damaged": damaged, "restarts": before["restarts"]}


@pytest.mark.parametrize("name", ["root", "ops", "eve"])
def test_a_power_cut_brings_back_the_same_replica(cut, name):
    row = row_of(cut[name], "web.0@7")
    assert (row["phase"], row["restarts"], row["last_exit"]) == ("ready", 2, "unknown (the host was started again)")
    assert "the host was started again, without having been shut down" in [event["what"] for event in row["story"]]


def test_after_a_power_cut_artifacts_are_read_again_and_counters_go_on(cut):
    report = cut["root"]
    row = row_of(report, "damaged.0@7")
    assert row["problem"]["kind"] == "artifact_missing", row
    assert row["problem"]["detail"] == f"artifact {cut['damaged']} is damaged: its content changed"
    assert report["artifacts"] == [cut["whole"]]
    assert row_of(report, "whole.0@7")["restarts"] == 1
    assert row_of(report, "crash.2@7")["restarts"] >= cut["restarts"]
    assert len(report["instances"]) >= 6, report["notes"]


def test_where_a_user_lingers_no_more_no_login_starts_what_its_log_out_would_end(hosts, cut):
    assert cut
    host, machine = hosts.ops, hosts.machine
    host.report()
    machine.run("loginctl disable-linger ops")
    wait_until(lambda: host.report()["facts"]["boot"].startswith("none: user ops does not linger"), "it is noticed")
    host.forget_links()
    machine.log_out("ops")
    machine.wait_until("! loginctl list-users --no-legend | grep ' ops'", "its systemd has ended")
    refused = host.connect()
    assert refused.hello["running"] is None
    assert refused.linked["error"]["hint"] == "run `loginctl enable-linger ops` as root"
    refused.close()
    machine.run("loginctl enable-linger ops")
    assert host.ready("web.0@7", timeout_s=120)["last_exit"] == "exited 0", "stopped in order, started once"
