"""The hosts the other tests stand on are what they are taken for: each fault looks as its name says."""

import pytest

from tests.e2e.image import command
from tests.e2e.machines import HOSTS, ROOTS, Answer, wait_until


def ssh(machines, host, *argv):
    return command(
        "ssh", "-F", "none", "-i", str(machines.key), "-o", f"UserKnownHostsFile={machines.known_hosts}",
        "-o", "BatchMode=yes", f"{machines.users[host]}@{machines.addresses[host]}", *argv,
    )  # fmt: skip


def test_every_host_is_reached_by_the_plain_client_as_its_inventory_says(machines):
    said = {host: ssh(machines, host, "hostname; id -un").split("\n") for host in HOSTS}
    for host in HOSTS:
        assert said[host][-3:] == [host, machines.users[host], ""]
    assert {host for host in HOSTS if machines.users[host] != "root"} == {"h5"}
    assert {host for host in HOSTS if len(said[host]) > 3} == {"h3"}, "h3 alone has a noisy login shell"


def test_every_host_tells_of_python3_and_of_an_init_that_is_not_sshd(machines):
    for host in HOSTS:
        assert ssh(machines, host, "python3 --version").splitlines()[-1].startswith("Python 3.")
        assert "init" in machines.exec(host, "cat", "/proc/1/cmdline")


@pytest.mark.parametrize(
    ("fault", "meets"),
    [("kill", "silent"), ("pause", "hung"), ("cut_off", "silent"), ("stop_sshd", "refused")],
)
def test_each_fault_meets_a_caller_as_its_name_says(machines, fault, meets):
    getattr(machines, fault)("h2")
    assert machines.first_words("h2") == meets
    assert all(machines.shows_a_banner(host) for host in HOSTS if host != "h2")


def test_a_killed_host_boots_without_its_processes(machines):
    machines.exec("h2", "sh", "-c", "sleep 4242 >/dev/null 2>&1 &")
    machines.kill("h2")
    machines.start_again("h2")
    assert "4242" not in machines.exec("h2", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").replace("cat", "")


@pytest.mark.parametrize(
    ("fault", "mend"), [("pause", "unpause"), ("cut_off", "come_back"), ("stop_sshd", "start_sshd")]
)
def test_what_is_not_killed_lives_on(machines, fault, mend):
    machines.exec("h2", "sh", "-c", "sleep 4242 >/dev/null 2>&1 & echo $! > /tmp/pid")
    getattr(machines, fault)("h2")
    getattr(machines, mend)("h2")
    assert machines.exec("h2", "sh", "-c", "tr '\\0' ' ' < /proc/$(cat /tmp/pid)/cmdline").split() == ["sleep", "4242"]


def test_a_host_cut_from_the_controller_is_reached_by_its_peers(machines):
    machines.cut_from_controller("h2")
    assert machines.first_words("h2") == "silent"
    knock = f"exec 3<>/dev/tcp/{machines.addresses['h2']}/22; read -r words <&3; echo $words"
    assert machines.exec("h4", "bash", "-c", knock).startswith("SSH-2.0")


def test_reset_leaves_a_host_as_it_was_first_booted(machines):
    machines.exec("h1", "sh", "-c", "mkdir -p /var/lib/fleetctl/instances /tmp/x; (sleep 4242 >/dev/null 2>&1 &)")
    machines.cut_off("h1")
    machines.stop_sshd("h3")
    machines.reset()
    assert machines.shows_a_banner("h1")
    assert machines.shows_a_banner("h3")
    left = machines.exec("h1", "sh", "-c", "ls /var/lib/fleetctl /tmp 2>/dev/null; cat /proc/[0-9]*/comm; true").split()
    assert set(left) <= {"/tmp:", "docker-init", "sleep", "sshd", "sh", "cat"}
    assert left.count("sleep") == 1


@pytest.mark.parametrize("host", ["h1", "h5"])
def test_a_program_under_fleetctls_root_is_seen_with_who_it_is(machines, host):
    root, user = ROOTS[machines.users[host]], machines.users[host]
    start = f"""
        mkdir -p {root}/artifacts/0 {root}/instances/web.1@7/run && cd {root}/instances/web.1@7/run
        cp /bin/busybox {root}/artifacts/0/ && echo web.1 7 2 > index.html
        export FLEETCTL_REPLICA=web.1 FLEETCTL_EPOCH=7 FLEETCTL_ADDRESS=0.0.0.0 FLEETCTL_PORT_HTTP=20000
        {root}/artifacts/0/busybox httpd -f -p 20000 > /dev/null 2>&1 &
        cd / && sleep 4242 > /dev/null 2>&1 &
    """
    machines.exec(host, "sh", "-c", start, user=user)
    address = machines.addresses[host]
    wait_until(lambda: machines.answers(address, 20000) == Answer("web.1", 7, 2), 30, "it answers")
    (program,) = machines.programs()
    assert (program.host, program.replica, program.epoch, program.port) == (host, "web.1", 7, 20000)
    with machines.watched(host) as looks:
        wait_until(lambda: machines.look(host).programs == (program,), 0, "the same program is seen again")
    assert looks[-1] == [("web.1", 7)]

    machines.kill_pid(host, program.pid)
    assert machines.programs() == ()
    assert machines.answers(address, 20000) is None


def test_a_programs_child_is_no_program_of_its_own_until_it_outlives_it(machines):
    start = f"""
        mkdir -p {ROOTS["root"]}/instances/web.1@7/run && cd {ROOTS["root"]}/instances/web.1@7/run
        export FLEETCTL_REPLICA=web.1
        sh -c 'sleep 4242 & sh -c "sleep 4242 & wait" & wait' > /dev/null 2>&1 &
    """
    machines.exec("h1", "sh", "-c", start)
    count = "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c '^4242$'"
    wait_until(lambda: machines.exec("h1", "sh", "-c", count) == "2\n", 30, "both sleep")
    (program,) = machines.programs()

    machines.kill_pid("h1", program.pid)
    assert [left.argv[:2] for left in machines.programs()] == [("sleep", "4242"), ("sh", "-c")]


def test_knocks_at_port_22_are_counted(machines):
    assert machines.connections_counted("h1") == 0
    machines.first_words("h1")
    assert machines.connections_counted("h1") == 1
