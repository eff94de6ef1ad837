"""The machine does what its verbs say. What the other files of this folder show rests on that."""

from __future__ import annotations

import time


def test_a_reboot_is_another_boot_and_a_power_cut_keeps_what_was_synced_alone(fresh_machine):
    first = fresh_machine.boot_id()
    fresh_machine.run("echo kept > /root/kept && sync /root/kept /root")
    fresh_machine.reboot()
    second = fresh_machine.boot_id()
    fresh_machine.run("cat /root/kept && echo lost > /root/lost")
    fresh_machine.power_cut()
    fresh_machine.power_on()
    assert len({first, second, fresh_machine.boot_id()}) == 3
    assert fresh_machine.run("ls /root") == "kept"
    assert fresh_machine.run("systemctl is-system-running --wait") == "running"


def test_a_frozen_machine_accepts_connections_and_says_nothing(machine):
    machine.freeze()
    begun = time.monotonic()
    assert machine.banner(2) == b""
    assert time.monotonic() - begun > 1.9  # it was waited for: nobody refused
    machine.go_on()
    assert machine.banner(30).startswith(b"SSH-2.0")


def test_without_its_cable_nothing_reaches_a_machine_that_runs_on(machine):
    machine.run("(sleep 1; touch /run/ran-on) >/dev/null 2>&1 &")
    machine.cable(plugged=False)
    assert machine.banner(5) == b""
    machine.cable(plugged=True)
    machine.wait_until("[ -e /run/ran-on ]")


def test_the_wall_clock_jumps_alone(machine):
    def clocks():
        return [float(word) for word in machine.run("date +%s; cut -d' ' -f1 /proc/uptime").split()]

    (wall, up), _ = clocks(), machine.set_clock(86400)
    later_wall, later_up = clocks()
    machine.set_clock(-86400)
    assert 86400 <= later_wall - wall < 86400 + 300
    assert 0 <= later_up - up < 300
    assert abs(clocks()[0] - time.time()) < 300


def test_a_disk_hangs_and_breaks_and_the_kernel_says_so(machine):
    disk = machine.disk_of("/srv/disk")
    machine.run("echo content > /srv/disk/file && sync")
    disk.suspend()
    assert not machine.succeeds("timeout 2 cat /srv/disk/file")
    disk.resume()
    assert machine.read("/srv/disk/file") == "content"
    disk.fail()
    assert not machine.succeeds("cat /srv/disk/file; echo more > /srv/disk/other && sync /srv/disk/other")
    machine.wait_until("dmesg | grep -q 'Buffer I/O error'")
    disk.remove()


def test_ops_is_a_plain_user_with_a_manager_of_its_own(machine):
    assert machine.run("id -u; systemctl --user is-system-running --wait", "ops").split() == ["1000", "running"]
    assert not machine.succeeds("cat /etc/shadow || systemctl restart cron", "ops")
    machine.run("loginctl enable-linger ops")
    machine.log_out("ops")
    machine.wait_until("loginctl list-users --no-legend | grep -q 'ops'", "its manager lingers")
    machine.run("loginctl disable-linger ops")
