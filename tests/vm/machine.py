"""A Debian 12 machine under qemu, and what befalls machines: reboots, power cuts, freezes, wrong clocks, dead cables.

    def test_something(machine):            # one for a whole file, thawed from a saved state: up within seconds
        machine.run("systemctl is-system-running")                   # shell text or argv, as root; what it printed
        machine.run(["id", "-u"], "ops")                             # a plain user, who may not become root
        machine.put("/etc/cron.d/x", "…"); machine.reboot(); machine.set_clock(86400); machine.freeze(); machine.go_on()
    def test_of_a_power_cut(fresh_machine):  # of this test alone, on a disk that outlives the power
        fresh_machine.power_cut(); fresh_machine.power_on()
    def test_of_the_host_program(root_host):  # or ops_host: tests.host.driven's verbs, in there (see tests/vm/host.py)
        root_host.run("web.0@1", "exec sleep 1000"); root_host.ready("web.0@1"); root_host.kill_all_of_ours()

A file takes `machine` (and hosts on it) or `fresh_machine` (and `fresh_host`), never both: a process has one machine
at a time. Without KVM a python3 takes a second there and a boot up to a minute: wait for events, bound generously.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.vm.disk import Disk
from tests.vm.qemu import MORTAL, Qemu
from tests.vm.seats import Seat

if TYPE_CHECKING:
    from collections.abc import Sequence

BOOT_S = 400.0  # of a busy machine; an idle one boots in fifteen
LOGIN_S = 90.0
PREFIX = "fvm-"
ONE_LOGIN_S = 45.0  # then once more: what answered may have been on its way down
COMMAND_S = 90.0


def remove_left_behind() -> None:
    """Folders of tests that were killed; their machines went with them."""
    for path in Path("/tmp").glob(f"{PREFIX}[0-9]*-*"):
        if not Path("/proc", path.name.split("-")[1]).exists():
            shutil.rmtree(path, ignore_errors=True)


class FailedError(AssertionError):
    """A command in the machine ended otherwise than with 0."""


class Machine:
    """One virtual machine, its SSH connections and its disk. `end` leaves nothing of it."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self._seat = Seat()
        remove_left_behind()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))  # short: sockets live in it
        self.disk = image / "ready.qcow2"
        self.lasting = False  # whether the disk outlives the power
        self._logins: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def thaw(cls, image: Path, *, lasting: bool = False, name: str = "vm") -> Self:
        """As it was saved, with today's clock; every thawed one has the same boot id until it is rebooted."""
        machine = cls(image)
        try:
            machine.lasting = lasting
            if lasting:
                machine._overlay(image / "ready.qcow2", "qcow2")
            machine._start(image / "ready.state")
            machine._log_in("root", LOGIN_S)
            machine.correct_clock()
            machine.run(["hostname", name])
        except BaseException:
            machine.end()
            raise
        return machine

    @classmethod
    def boot(cls, image: Path) -> Self:
        """From a new disk, as it was installed."""
        machine = cls(image)
        try:
            machine.lasting = True
            machine._overlay(image / "vm.img", "raw")
            machine._start(None)
            machine._log_in("root", BOOT_S)
        except BaseException:
            machine.end()
            raise
        return machine

    def _overlay(self, below: Path, kind: str) -> None:
        self.disk = self.folder / "disk.qcow2"
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(below), "-F", kind, str(self.disk)]
        subprocess.run(argv, check=True, timeout=60)

    def _start(self, state: Path | None) -> None:
        self.qemu = Qemu(self.image, self.disk, self.folder, throwaway=not self.lasting, state=state)

    def save(self, disk: Path, state: Path) -> None:
        """Its disk and its memory as they are now; it ends with that."""
        self.qemu.save(state)
        shutil.move(self.disk, disk)
        subprocess.run(["qemu-img", "rebase", "-u", "-b", "vm.img", "-F", "raw", str(disk)], check=True, timeout=60)

    def end(self) -> None:
        for user in list(self._logins):
            self.log_out(user)
        if hasattr(self, "qemu"):
            self.qemu.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._seat.leave()

    # what runs in it

    def run(
        self, command: str | Sequence[str], user: str = "root", *, limit_s: float = COMMAND_S, stdin: str = ""
    ) -> str:
        """What a command printed, without the last newline. FailedError, with all it said, unless it exited 0."""
        done = self.attempt(command, user, limit_s=limit_s, stdin=stdin)
        if done.returncode != 0:
            told = f"{done.stdout}{done.stderr}"
            raise FailedError(f"{user}: {command!r:.300}: exit {done.returncode}\n{told[-3000:]}")
        return done.stdout.rstrip("\n")

    def succeeds(self, command: str | Sequence[str], user: str = "root", *, limit_s: float = COMMAND_S) -> bool:
        return self.attempt(command, user, limit_s=limit_s).returncode == 0

    def attempt(
        self, command: str | Sequence[str], user: str = "root", *, limit_s: float = COMMAND_S, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """How a command ended, whatever its exit status. subprocess.TimeoutExpired where it does not end in time."""
        return subprocess.run(
            self.argv(command, user), input=stdin, capture_output=True, encoding="utf-8", errors="replace",
            timeout=limit_s, check=False,
        )  # fmt: skip

    def argv(self, command: str | Sequence[str], user: str = "root") -> list[str]:
        """The command to run here that runs `command` there, over the connection that `user` has open."""
        self._log_in(user, LOGIN_S)
        text = command if isinstance(command, str) else shlex.join(command)
        return ["ssh", *self._options(user), "-o", "ControlMaster=no", f"{user}@127.0.0.1", text]

    def put(self, path: str, content: str, user: str = "root", *, mode: int = 0o644) -> None:
        """Writes a file there, its folder too."""
        quoted = shlex.quote(path)
        self.run(f'mkdir -p "$(dirname {quoted})" && cat > {quoted} && chmod {mode:o} {quoted}', user, stdin=content)

    def read(self, path: str, user: str = "root") -> str:
        return self.run(["cat", path], user)

    def wait_until(self, condition: str, what: str = "", user: str = "root", *, limit_s: float = COMMAND_S) -> None:
        """Until shell text ends with 0, asked in there five times a second."""
        steps = int(limit_s * 5)
        script = f"n=0; until {{ {condition}\n}}; do n=$((n+1)); [ $n -lt {steps} ] || exit 1; sleep 0.2; done"
        try:
            self.run(script, user, limit_s=limit_s)
        except (FailedError, subprocess.TimeoutExpired) as late:
            raise AssertionError(f"not within {limit_s:g} s: {what or condition}: {late}") from None

    # logins

    def _options(self, user: str) -> list[str]:
        return [
            "-F", "none", "-p", str(self.qemu.port), "-S", str(self.folder / user),
            "-i", str(self.image / "id_ed25519"),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
        ]  # fmt: skip

    def _log_in(self, user: str, limit_s: float) -> None:
        """Opens the connection that all of a user's commands share, unless it is open."""
        login = self._logins.get(user)
        if login is not None and login.poll() is None:
            return
        end = time.monotonic() + limit_s
        while not self._try_login(user, end):
            if time.monotonic() > end:
                raise AssertionError(f"no login of {user} within {limit_s:g} s; the console: {self.console()}")

    def _try_login(self, user: str, end: float) -> bool:
        """Once there is a banner; whether it led to a login."""
        self.log_out(user)
        while not self.banner():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        begun = time.monotonic()
        argv = [*MORTAL, "ssh", *self._options(user), "-o", "ControlMaster=yes", "-N", f"{user}@127.0.0.1"]
        login = self._logins[user] = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while login.poll() is None and time.monotonic() - begun < ONE_LOGIN_S:
            if (self.folder / user).exists():
                return True
            time.sleep(0.02)
        return False

    def log_out(self, user: str) -> None:
        """Ends the user's connection, and with it the session."""
        login = self._logins.pop(user, None)
        if login is not None:
            login.terminate()
            try:
                login.wait(5)
            except subprocess.TimeoutExpired:
                login.kill()
                login.wait(10)
        (self.folder / user).unlink(missing_ok=True)

    def banner(self, limit_s: float = 3) -> bytes:
        """What sshd says first; nothing where it says nothing in time."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.qemu.port), limit_s) as connection:
            connection.settimeout(limit_s)
            return connection.recv(64)
        return b""

    def console(self) -> str:
        return self.qemu.console.read_text(errors="replace")[-2000:]

    # its boot, power, clock and cable

    def boot_id(self, limit_s: float = COMMAND_S) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id", limit_s=limit_s)

    def reboot(self) -> None:
        """A clean one, awaited until root can log in again; another boot id than before, else AssertionError."""
        before = self.boot_id()
        with suppress(subprocess.TimeoutExpired):
            self.attempt("systemctl reboot", limit_s=30)
        self.await_boot(other_than=before)

    def await_boot(self, *, other_than: str) -> None:
        """Until root can log in after a boot that is another one than that."""
        end = time.monotonic() + BOOT_S
        while True:
            for user in list(self._logins):
                self.log_out(user)
            self._log_in("root", max(1.0, end - time.monotonic()))
            with suppress(FailedError, subprocess.TimeoutExpired):
                if self.boot_id(ONE_LOGIN_S) != other_than:
                    break
            if time.monotonic() > end:
                raise AssertionError(f"no new boot within {BOOT_S:g} s; the console: {self.console()}")
            time.sleep(0.2)
        self.correct_clock()

    def power_cut(self) -> None:
        """SIGKILL for qemu. Only what the guest made sure of is on the disk."""
        assert self.lasting, "its disk would go, too: take `fresh_machine`"
        self.qemu.kill()
        for user in list(self._logins):
            self.log_out(user)

    def power_on(self) -> None:
        """A boot from the disk as the power cut left it, awaited until root can log in."""
        self._start(None)
        self._log_in("root", BOOT_S)
        self.correct_clock()

    def freeze(self) -> None:
        """Nothing in it runs, and its clocks stand still; the network still accepts connections for it."""
        self.qemu.ask("stop")

    def go_on(self) -> None:
        self.qemu.ask("cont")

    def correct_clock(self) -> None:
        self.run(f"date -s @{time.time():.0f} && busybox hwclock -uw")

    def set_clock(self, by_s: float) -> None:
        """The wall clock jumps by so much; the other clocks do not notice."""
        self.run(f'date -s "@$(($(date +%s) + {by_s:.0f}))"')

    def cable(self, *, plugged: bool) -> None:
        """Without its cable nothing reaches it, `run` included."""
        self.qemu.ask("set_link", name="nic", up=plugged)

    def kmsg(self, line: str, level: int = 3) -> None:
        """A line in the kernel's log that is not the kernel's own: /dev/kmsg says facility 1 of it, never 0."""
        self.run(["sh", "-c", f"echo {shlex.quote(f'<{level}>{line}')} > /dev/kmsg"])

    def disk_of(self, mount: str, megabytes: int = 64) -> Disk:
        """A disk of its own, mounted there, that can hang and break."""
        return Disk(self, mount, megabytes)
