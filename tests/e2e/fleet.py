"""A fleet as its user has it: machines, an inventory, a playbook, and `fleetctl` run as a program of its own.

Asks fleetctl only through its commands; what is true of the hosts it takes from `machines`, never from fleetctl.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.e2e.image import FOLDER
from tests.e2e.machines import HOSTS, Machines, Program, wait_until
from tests.e2e.reading import Status, Verdict, read_hosts, read_status

if TYPE_CHECKING:
    from collections.abc import Iterator

FLEETCTL = Path(sys.executable).with_name("fleetctl")
WRONG_CLOCK = FOLDER / "wrong_clock"
CRON = {"LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}  # and HOME: what cron hands to its commands

# Logs a line, then answers "REPLICA EPOCH RELEASE"; while /tmp/not-ready is on the host it runs and does not listen.
SERVE = """\
#!/bin/sh
set -eu
echo "$FLEETCTL_REPLICA is here"
echo "$FLEETCTL_REPLICA $FLEETCTL_EPOCH $FLEETCTL_RELEASE" > index.html
while [ -e /tmp/not-ready ]; do sleep 0.1; done
exec "$FLEETCTL_ARTIFACT/busybox" httpd -f -p "$FLEETCTL_ADDRESS:$FLEETCTL_PORT_HTTP" -h .
"""
NEVER_READY = """\
#!/bin/sh
echo "listening on nothing: no database at db.internal"
exec "$FLEETCTL_ARTIFACT/busybox" sleep 100000
"""
# As SERVE, and exits 42 when it is sent SIGUSR1.
EXITS_42 = """\
#!/bin/sh
set -eu
echo "$FLEETCTL_REPLICA $FLEETCTL_EPOCH $FLEETCTL_RELEASE" > index.html
"$FLEETCTL_ARTIFACT/busybox" httpd -f -p "$FLEETCTL_ADDRESS:$FLEETCTL_PORT_HTTP" -h . &
trap "kill $!; exit 42" USR1
wait
"""


@dataclass(frozen=True, slots=True)
class Result:
    """How one command ended and what it said."""

    argv: tuple[str, ...]
    exit: int
    stdout: str
    stderr: str
    seconds: float

    def ends(self, *exits: int) -> Result:
        """Fails the test with all the command said, unless it ended with one of `exits`."""
        __tracebackhide__ = True
        if self.exit not in exits:
            pytest.fail(f"{self!r}\nexpected exit {' or '.join(map(str, exits))}")
        return self

    def __repr__(self) -> str:
        said = f"--- stdout\n{self.stdout}--- stderr\n{self.stderr}---"
        return f"`fleetctl {' '.join(self.argv)}` exit {self.exit} after {self.seconds:.1f} s\n{said}"


@dataclass(frozen=True, slots=True)
class Picture:
    """What must stay when nothing moves: every program, and everything an order would have changed."""

    programs: tuple[Program, ...]
    orders: Mapping[str, Mapping[str, str]]


class Fleet:
    """One user's view of the machines: own home, own state folder, own inventory, own playbook."""

    def __init__(self, machines: Machines, folder: Path, hosts: tuple[str, ...] = HOSTS) -> None:
        self.machines, self.folder, self.hosts = machines, folder, hosts
        self.home = folder / "home"
        self.project = folder / "project"
        self.state = folder / "state"
        for made in (self.home, self.project):
            made.mkdir(parents=True)
        self.inventory = machines.inventory(self.project / "inventory.yml", hosts)
        self.playbook = self.project / "web.yml"
        self._surroundings: dict[str, str] = {}

    # fleetctl, as a program

    def environment(self) -> dict[str, str]:
        ours = {"HOME": str(self.home), "FLEETCTL_STATE": str(self.state), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        return {**ours, **self._surroundings}

    @contextmanager
    def clock_off(self, *, wall_s: float = 0.0, boottime_s: float = 0.0) -> Iterator[None]:
        """The controller's clocks are off for every command within; hosts keep theirs."""
        self._surroundings = {
            "PYTHONPATH": str(WRONG_CLOCK),
            "TEST_WALL_OFF_S": str(wall_s),
            "TEST_BOOTTIME_OFF_S": str(boottime_s),
        }
        try:
            yield
        finally:
            self._surroundings = {}

    def run(self, *argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None,
            timeout_s: float = 240) -> Result:  # fmt: skip
        """Runs `fleetctl ARGV` to its end in a pipe, with our environment and none of this machine's."""
        begun = time.monotonic()
        done = subprocess.run(
            [FLEETCTL, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
            env=self.environment() if env is None else env, cwd=cwd or self.project,
        )  # fmt: skip
        return Result(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - begun)

    def deploy(self, *argv: str) -> Result:
        return self.run("deploy", str(self.playbook), "-i", str(self.inventory), *argv)

    def heal(self, *argv: str) -> Result:
        return self.run("heal", "-i", str(self.inventory), *argv)

    def status(self) -> Status:
        result = self.run("status", "--json", "-i", str(self.inventory)).ends(0, 3, 4)
        return read_status(json.loads(result.stdout))

    def verdicts(self) -> dict[str, Verdict]:
        result = self.run("hosts", "--json", "-i", str(self.inventory)).ends(0, 3, 4)
        return read_hosts(json.loads(result.stdout))

    @contextmanager
    def watching(self, *argv: str) -> Iterator[None]:
        """`fleetctl heal --watch` goes on until the block ends; Ctrl-C then ends it, as it says by its exit."""
        said = self.folder / "watching.log"
        with said.open("w") as log, subprocess.Popen(
            [FLEETCTL, "heal", "--watch", "-i", str(self.inventory), *argv], stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, env=self.environment(), cwd=self.project,
        ) as process:  # fmt: skip
            try:
                yield
                assert process.poll() is None, f"it ended by itself:\n{said.read_text()}"
            finally:
                process.send_signal(signal.SIGINT)
                ended = process.wait(60)
        assert ended == 130, said.read_text()

    def signalled_after(self, delay_s: float, number: signal.Signals, *argv: str) -> int:
        """Starts `fleetctl ARGV`, sends it a signal unless it has ended by then, and returns how it ended."""
        with subprocess.Popen(
            [FLEETCTL, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self.environment(), cwd=self.project,
        ) as process:  # fmt: skip
            try:
                process.wait(delay_s)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            return process.wait(60)

    # what a user writes

    def write(self, *, program: str = SERVE, **job: Any) -> None:
        """A playbook with one job `web`, and the build folder it names: busybox and a script that starts it."""
        build = self.project / "build"
        build.mkdir(exist_ok=True)
        (build / "busybox").unlink(missing_ok=True)
        (build / "busybox").write_bytes(self.machines.busybox().read_bytes())
        (build / "serve").write_text(program)
        for name in ("busybox", "serve"):
            (build / name).chmod(0o755)
        web = {
            "replicas": 4,
            "artifact": "build",
            "command": ["./serve"],
            "ports": ["http"],
            "resources": {"cpu": "500m", "memory": "64Mi"},
            "ready": {"http": "/", "port": "http", "interval": "200ms", "timeout": "500ms", "failures": 3},
            "stop": {"timeout": "5s"},
            "update": {"min_healthy": "3s", "deadline": "60s"},
        }
        plays = [{"name": "web tier", "hosts": "all", "jobs": {"web": {**web, **job}}}]
        self.playbook.write_text(yaml.safe_dump(plays, sort_keys=False))

    def deployed(self, **changes: Any) -> None:
        """The job `web` runs as written, and answers."""
        self.write(**changes)
        self.deploy().ends(0)

    # what is true, whatever fleetctl says

    def programs(self, *, besides: tuple[str, ...] = ()) -> tuple[Program, ...]:
        return self.machines.programs(tuple(host for host in self.hosts if host not in besides))

    def host_of(self, replica: str) -> str:
        hosts = {program.host for program in self.programs() if program.replica == replica}
        assert len(hosts) == 1, (replica, hosts)
        return hosts.pop()

    def serving(self, *, besides: tuple[str, ...] = ()) -> dict[str, list[Program]]:
        """Per replica, its programs that answer HTTP with their own name and epoch."""
        found: dict[str, list[Program]] = {}
        for program in self.programs(besides=besides):
            answer = self.machines.answers(program.address, program.port)
            if answer and (answer.replica, answer.epoch) == (program.replica, program.epoch):
                found.setdefault(program.replica, []).append(program)
        return found

    def answering(self, port: int, *, besides: tuple[str, ...] = ()) -> set[str]:
        """The replicas that answer at these hosts' addresses on a fixed port.

        Cheap enough to be asked while something is timed; `serving` is what also looks into the hosts.
        """
        places = [(self.machines.addresses[host], port) for host in self.hosts if host not in besides]
        return {answer.replica for place in places if (answer := self.machines.answers(*place))}

    def await_all_answer(self, replicas: int = 4, *, besides: tuple[str, ...] = (), timeout_s: float = 30) -> None:
        """Every replica answers, at its host's address; hosts named in `besides` do not count."""
        names = [f"web.{index}" for index in range(replicas)]
        wait_until(
            lambda: sorted(self.serving(besides=besides)) == names,
            timeout_s, f"{', '.join(names)} answer from {'live ' if besides else ''}hosts",
        )  # fmt: skip

    def picture(self, *, besides: tuple[str, ...] = ()) -> Picture:
        looks = self.machines.looks(tuple(host for host in self.hosts if host not in besides))
        programs = sorted((p for look in looks.values() for p in look.programs), key=lambda p: (p.host, p.pid))
        return Picture(tuple(programs), {host: look.orders for host, look in looks.items()})

    @contextmanager
    def nothing_moves(self, *, exit_code: int, besides: tuple[str, ...] = ()) -> Iterator[list[Result]]:
        """At the block's end three heals in a row ended with `exit_code` and left every program and order as it was.

        `besides`: hosts that are off and can't be looked at.
        """
        before = self.picture(besides=besides)
        results: list[Result] = []
        yield results
        for _ in range(3):
            results.append(self.heal().ends(exit_code))
            assert self.picture(besides=besides) == before, results[-1]

    def make_unready(self, *hosts: str) -> None:
        """What is started on these hosts runs, and does not listen until `make_ready`."""
        for host in hosts:
            self.machines.exec(host, "touch", "/tmp/not-ready")

    def make_ready(self, *hosts: str) -> None:
        for host in hosts:
            self.machines.exec(host, "rm", "-f", "/tmp/not-ready")


def without_real_state() -> tuple[str, ...]:
    """A prefix that gives a command its own mounts, where a folder can be laid over the user's state."""
    if os.geteuid() == 0:
        return ("unshare", "--mount", "--")
    return ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "--")
