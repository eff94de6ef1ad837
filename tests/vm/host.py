"""The host program in a virtual machine, with the verbs of tests.host.driven: start, run, ready, stop, row, until, …

Its links run over the machine's SSH; its files and processes are looked up in there. The root is the default one of
its user, root or ops, unless another is given.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetctl.host import records
from tests.host.driven import LIMIT_S, Host

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.vm.machine import Machine

DEFAULT_ROOTS = {"root": "/var/lib/fleetctl", "ops": "/home/ops/.local/share/fleetctl"}
PRELUDE = """\
import json, os, signal, sys, time

def start_of(pid):
    try:
        fields = open("/proc/%s/stat" % pid).read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]

def content(pid, name):
    try:
        return open("/proc/%s/%s" % (pid, name), "rb").read()
    except OSError:
        return b""

def under(root):
    mark, run = os.fsencode(root), b"FLEETCTL_RUN=" + os.fsencode(root)
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        command = content(pid, "cmdline")
        if int(pid) != os.getpid() and (mark in command or run in content(pid, "environ")) and start_of(pid):
            found[int(pid)] = command.replace(b"\\0", b" ").decode("utf-8", "replace")
    return found

def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass

def end(pids):
    send(pids, signal.SIGSTOP)
    starts = {pid: start_of(pid) for pid in pids}
    send(pids, signal.SIGKILL)
    while any(start and start_of(pid) == start for pid, start in starts.items()):
        time.sleep(0.02)

def end_all(root):
    while True:
        left = sorted(under(root))
        if not left:
            return
        end(left)

argument = json.loads(sys.argv[1])
"""


class VmHost(Host):
    """The verbs of the trade, on a virtual machine."""

    def __init__(self, machine: Machine, user: str = "root", root: str | None = None, fleet: str = "test") -> None:
        super().__init__(Path(root) if root else None, "/usr/bin/python3", fleet)
        self.machine, self.user = machine, user
        self.place = root or DEFAULT_ROOTS[user]
        self.address = "10.0.2.15"

    # Links

    def channel(self, loader: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        settings = [f"{name}={value}" for name, value in environment.items()]
        command = shlex.join(["env", *settings, self.python, "-I", "-S", "-E", "-c", loader])
        return subprocess.Popen(
            self.machine.argv(f"cd / && exec {command}", self.user),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip

    # Its files and processes

    def python_there(self, script: str, argument: Any = None, user: str | None = None) -> str:
        """What the script printed; it has PRELUDE's functions and the argument."""
        argv = [self.python, "-I", "-S", "-E", "-c", PRELUDE + script, json.dumps(argument)]
        return self.machine.run(argv, user or self.user, limit_s=LIMIT_S * 2)

    def folder(self, name: str) -> Path:
        """A path in the machine."""
        return Path(self.place) / "instances" / name

    def processes(self) -> dict[int, str]:
        found = json.loads(self.python_there("print(json.dumps(under(argument)))", self.place))
        return {int(pid): command for pid, command in found.items()}

    def start_of(self, pid: int) -> str:
        """What tells this process from a later one of its number; "" when it is gone or a zombie."""
        return self.python_there("print(start_of(argument))", pid)

    def supervisor_pid(self) -> int:
        return int(self.machine.read(f"{self.place}/supervisor.lock", self.user).split()[0])

    def record(self, name: str) -> Any:
        folder = shlex.quote(str(self.folder(name) / "exit"))
        text = self.machine.attempt(f"cd {folder} && cat $(ls | sort -n | tail -n 1)", self.user).stdout
        copy = self.machine.folder / "record"
        copy.write_text(text)
        return records.read(str(copy))

    def kill(self, pid: int) -> None:
        self.end_there([pid])

    def kill_all_of_ours(self) -> None:
        ours = {self.supervisor_pid(), *self.role("agent"), *self.role("nursery")}
        self.end_there(ours)

    def end_there(self, pids: Iterable[int]) -> None:
        """SIGKILL to all of them at once, and they are gone when this returns."""
        self.python_there("end(argument)", sorted(pids), "root")

    def power_off(self) -> None:
        self.machine.power_cut()
        self.forget_links()

    def kill_everything(self) -> None:
        """Nothing under its root runs, and nothing of it is left on the disk."""
        self.forget_links()
        self.machine.run(self._uninstall(), self.user)
        self.python_there("end_all(argument)", self.place, "root")
        self.machine.run(["rm", "-rf", "--one-file-system", self.place])

    end = kill_everything

    def _uninstall(self) -> str:
        """Shell text that takes away what would start it again."""
        systemctl = "systemctl" if self.user == "root" else "systemctl --user"
        units = "/etc/systemd/system" if self.user == "root" else "$HOME/.config/systemd/user"
        return (
            f"{systemctl} kill --signal=KILL 'fleetctl*' 2>/dev/null; {systemctl} stop 'fleetctl*' 2>/dev/null; "
            f"if ls {units}/fleetctl* {units}/*/fleetctl* >/dev/null 2>&1; then "
            f"rm -f {units}/fleetctl* {units}/*/fleetctl*; {systemctl} daemon-reload; fi; crontab -r 2>/dev/null; true"
        )


def program_of(host: VmHost, name: str) -> tuple[int, str]:
    """Which process the instance's program is: its pid and its start."""
    pid = host.row(name)["pid"]
    assert pid, host.row(name)
    return pid, host.start_of(pid)
