"""The five hosts of docker-compose.test.yml, and what can befall them: killed, paused, cut off, refusing.

Knows Docker, addresses and /proc; nothing here runs fleetctl.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import yaml

from tests.e2e import image
from tests.e2e.image import FOLDER, command, compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = FOLDER.parents[1]
COMPOSE_FILE = REPOSITORY / "docker-compose.test.yml"
INVENTORY = REPOSITORY / "inventories" / "compose.yml"
HOSTS = ("h1", "h2", "h3", "h4", "h5")
BASTION = "bastion"  # a host to pass through to others; not in the inventory
MACHINES = (*HOSTS, BASTION)
KEYS = "/etc/ssh/authorized_keys"
ROOTS = {"root": "/var/lib/fleetctl", "deploy": "/home/deploy/.local/share/fleetctl"}
LABEL = "com.docker.compose.project"
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Program:
    """A process under fleetctl's root on a host, as /proc shows it."""

    host: str
    pid: int
    started: int
    exe: str
    argv: tuple[str, ...]
    replica: str
    epoch: int
    address: str
    port: int

    @classmethod
    def parse(cls, host: str, row: dict[str, Any]) -> Program:
        who = row["identity"]
        return cls(
            host, row["pid"], row["started"], row["exe"], tuple(row["argv"]), who.get("FLEETCTL_REPLICA", "?"),
            int(who.get("FLEETCTL_EPOCH", -1)), who.get("FLEETCTL_ADDRESS", ""), int(who.get("FLEETCTL_PORT_HTTP", 0)),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be seen on one host: programs, the host program's processes (argv by pid), and what orders left."""

    programs: tuple[Program, ...]
    of_fleetctl: dict[int, tuple[str, ...]]
    orders: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the test program says over HTTP."""

    replica: str
    epoch: int
    release: int


def wait_until(predicate: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true value of `predicate`, asked every 20 ms; the test fails saying `what` once it was asked after
    `timeout_s` in vain: asking takes seconds on a busy machine, and an answer is of the time when it was asked for.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        asked = time.monotonic()
        if value := predicate():
            return value
        if asked > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


class Machines:
    """A running compose project of its own, with a key, host keys and an inventory in `folder`."""

    def __init__(self, folder: Path, project: str, net: str) -> None:
        self.folder, self.project, self.net = folder, project, net
        self.key = folder / "id_ed25519"
        self.known_hosts = folder / "known_hosts"
        self.containers: dict[str, str] = {}
        with INVENTORY.open() as file:
            self._inventory = yaml.safe_load(file)
        zones = self._inventory["all"]["children"]
        of_hosts = {name: entry for zone in zones.values() for name, entry in zone["hosts"].items()}
        self.users = {name: entry.get("ansible_user", "root") for name, entry in of_hosts.items()}
        numbers = {name: entry["ansible_host"].rpartition(".")[2] for name, entry in of_hosts.items()}
        self.addresses = {name: f"{net}.{number}" for name, number in numbers.items()} | {BASTION: f"{net}.10"}
        self.gateway = f"{net}.1"

    # bringing up and taking down

    @classmethod
    def up(cls, folder: Path, net: str | None = None) -> Self:
        """Five hosts whose sshd answers, at addresses that no other project has unless `net` names them."""
        image.ensure()
        remove_left_behind()
        folder.mkdir(parents=True, exist_ok=True)
        chosen = net or os.environ.get("FLEETCTL_TEST_NET")
        for candidate in [chosen] if chosen else free_nets():
            machines = cls(folder, project_name(), candidate)
            try:
                machines._up()
            except RuntimeError as error:
                machines.down()
                if chosen or "overlaps" not in str(error):
                    raise
            except BaseException:
                machines.down()
                raise
            else:
                return machines
        raise RuntimeError("no free network: every one of 10.213.0.0/16 overlaps another; set FLEETCTL_TEST_NET")

    def _up(self) -> None:
        self.key.unlink(missing_ok=True)
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.project, "-f", str(self.key))
        self._compose("up", "-d", "--no-build")
        self.containers = self._find_containers()
        self._everywhere(self.await_ssh, MACHINES)
        self.known_hosts.write_text("".join(self._everywhere(self._host_keys, MACHINES)))

    def down(self) -> None:
        """Nothing of the project is left: no container, volume or network; a second Ctrl-C does not stop that."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._compose("down", "-v", "-t", "0", "--remove-orphans")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _compose(self, *argv: str) -> None:
        key = self.key.with_suffix(".pub")
        env = {
            **os.environ,
            "FLEETCTL_TEST_KEY": key.read_text().strip() if key.exists() else "",
            "FLEETCTL_TEST_NET": self.net,
        }
        command(*compose(), "-p", self.project, "-f", str(COMPOSE_FILE), *argv, timeout_s=120, env=env)

    def _find_containers(self) -> dict[str, str]:
        rows = command("docker", "ps", "-a", "--filter", f"label={LABEL}={self.project}",
                       "--format", '{{.Label "com.docker.compose.service"}} {{.ID}}')  # fmt: skip
        return dict(row.split() for row in rows.splitlines())

    def _host_keys(self, host: str) -> str:
        """Read inside the host, so that the network is not trusted."""
        keys = self.exec(host, "sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub")
        return "".join(f"{self.addresses[host]} {key}\n" for key in keys.splitlines())

    def inventory(self, path: Path, hosts: tuple[str, ...] = HOSTS) -> Path:
        """inventories/compose.yml with this project's addresses, key and host keys, cut down to `hosts`."""
        with INVENTORY.open() as file:
            document = yaml.safe_load(file)
        document["all"]["vars"] |= {
            "ansible_ssh_private_key_file": os.path.relpath(self.key, path.parent),
            "fleet_known_hosts": os.path.relpath(self.known_hosts, path.parent),
        }
        for zone in document["all"]["children"].values():
            zone["hosts"] = {
                name: {**entry, "ansible_host": self.addresses[name]}
                for name, entry in zone["hosts"].items()
                if name in hosts
            }
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def busybox(self) -> Path:
        """Debian's static busybox: a real program that needs nothing from the host."""
        path = self.folder / "busybox"
        if not path.exists():
            command("docker", "cp", f"{self.containers['h1']}:/bin/busybox", str(path))
        return path

    # what can befall a host

    def kill(self, host: str) -> None:
        """The power is gone: silence, and no process survives."""
        command("docker", "kill", self.containers[host])

    def start_again(self, host: str) -> None:
        """The power is back: a new boot, sshd answers."""
        command("docker", "start", self.containers[host])
        self.await_ssh(host)

    def pause(self, host: str) -> None:
        """Hung: the kernel still accepts connections, nothing answers them."""
        command("docker", "pause", self.containers[host])

    def unpause(self, host: str) -> None:
        command("docker", "unpause", self.containers[host])
        self.await_ssh(host)

    def cut_off(self, host: str) -> None:
        """Not a packet in or out, loopback aside; its programs live on."""
        self.exec(host, "sh", "-c", "iptables -I INPUT ! -i lo -j DROP && iptables -I OUTPUT ! -o lo -j DROP")

    def cut_from_controller(self, host: str) -> None:
        """Only we can't reach it: its peers can."""
        self._cut_from(host, (self.gateway,))

    def cut_from_peers(self, host: str) -> None:
        """Only its peers can't reach it: we can."""
        self._cut_from(host, tuple(address for name, address in self.addresses.items() if name != host))

    def _cut_from(self, host: str, addresses: tuple[str, ...]) -> None:
        rules = (f"iptables -I INPUT -s {one} -j DROP && iptables -I OUTPUT -d {one} -j DROP" for one in addresses)
        self.exec(host, "sh", "-c", " && ".join(rules))

    def hide_behind_bastion(self, *hosts: str) -> None:
        """We reach their port 22 through the bastion alone."""
        for host in hosts:
            self.exec(host, "iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "-s", self.gateway, "-j", "DROP")

    def close_ssh_to_peers(self, *hosts: str) -> None:
        """A firewall in front of port 22 lets nobody in but us; every other port stays open."""
        for host in hosts:
            self.exec(
                host, "iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "!", "-s", self.gateway, "-j", "DROP"
            )

    def come_back(self, host: str) -> None:
        """Ends every fault that is made of dropped packets."""
        self.exec(host, "iptables", "-F")
        self.await_ssh(host)

    def stop_sshd(self, host: str) -> None:
        """Port 22 refuses; the machine and its programs live on."""
        self.exec(
            host, "sh", "-c", 'pid=$(cat /run/sshd.pid) && kill "$pid" && while [ -e /proc/$pid ]; do sleep .01; done'
        )
        wait_until(lambda: self.first_words(host) == "refused", 30, f"{host} refuses port 22")

    def start_sshd(self, host: str) -> None:
        self.exec(host, "/usr/sbin/sshd")
        self.await_ssh(host)

    def hang_sshd(self, host: str) -> None:
        """SIGSTOP: port 22 accepts and says no word; the machine and its programs live on."""
        self.exec(host, "sh", "-c", "kill -STOP $(cat /run/sshd.pid)")
        wait_until(lambda: self.first_words(host) == "hung", 30, f"sshd of {host} says no word")

    def wake_sshd(self, host: str) -> None:
        self.exec(host, "sh", "-c", "kill -CONT $(cat /run/sshd.pid)")
        self.await_ssh(host)

    def greet_with(self, host: str, size: int) -> None:
        """root's login shell prints so many bytes before every command."""
        greeting = f"head -c {size} /dev/zero | tr '\\0' x; echo  # greeting"
        script = 'printf "%s\\n" "$1" | cat - /root/.bashrc > /root/.bashrc.new && mv /root/.bashrc.new /root/.bashrc'
        self.exec(host, "sh", "-c", script, "sh", greeting)

    def lock_out(self, host: str) -> None:
        """sshd shows its banner and lets nobody log in."""
        self.exec(host, "mv", KEYS, f"{KEYS}.away")

    def kill_pid(self, host: str, pid: int) -> None:
        """kill -9 of one process."""
        self.exec(host, "kill", "-9", str(pid))

    def mend(self) -> None:
        """Whatever befell the hosts is over: all run and are reachable; what lives there lives on."""
        ssh = "[ -e /proc/$(cat /run/sshd.pid) ] && kill -CONT $(cat /run/sshd.pid) || /usr/sbin/sshd"

        def mended(host: str) -> None:
            self.exec(host, "sh", "-c", f"iptables -F && {{ {ssh}; }}; [ ! -e {KEYS}.away ] || mv {KEYS}.away {KEYS}")
            self.await_ssh(host)

        self._power_up()
        self._everywhere(mended, MACHINES)

    def reset(self) -> None:
        """All run, reachable and empty, whatever the last test did to them."""

        def as_new(host: str) -> None:
            self.script(host, "wipe", *ROOTS.values(), user="root")
            self.await_ssh(host)

        self._power_up()
        self._everywhere(as_new, MACHINES)

    def _power_up(self) -> None:
        rows = command("docker", "inspect", "-f", "{{.Id}} {{.State.Status}}", *self.containers.values()).splitlines()
        for container, state in (row.split() for row in rows):
            if state == "paused":
                command("docker", "unpause", container)
            elif state != "running":
                command("docker", "start", container)

    # looking at a host

    def exec(self, host: str, *argv: str, user: str = "root", stdin: str | None = None) -> str:
        """What a command inside the host printed; it goes through the engine, not over the network."""
        asks = ("-i",) if stdin is not None else ()
        return command("docker", "exec", *asks, "-u", user, self.containers[host], *argv, stdin=stdin or "")

    def script(self, host: str, name: str, *argv: str, user: str) -> str:
        return self.exec(host, "python3", "-", *argv, user=user, stdin=(FOLDER / "host" / f"{name}.py").read_text())

    def look(self, host: str) -> Look:
        user = self.users[host]
        seen = json.loads(self.script(host, "look", ROOTS[user], user=user))
        return Look(
            tuple(Program.parse(host, row) for row in seen["programs"]),
            {row["pid"]: tuple(row["argv"]) for row in seen["of_fleetctl"]},
            seen["orders"],
        )

    def looks(self, hosts: tuple[str, ...] = HOSTS) -> dict[str, Look]:
        return dict(zip(hosts, self._everywhere(self.look, hosts), strict=True))

    def programs(self, hosts: tuple[str, ...] = HOSTS) -> tuple[Program, ...]:
        """Every program of fleetctl's on these hosts, sorted by replica and epoch."""
        found = [program for look in self.looks(hosts).values() for program in look.programs]
        return tuple(sorted(found, key=lambda program: (program.replica, program.epoch, program.host, program.pid)))

    def installed(self, host: str) -> list[str]:
        """Everything on the host's disk under fleetctl's root."""
        return self.exec(host, "sh", "-c", f"find {ROOTS[self.users[host]]} 2>/dev/null || true").splitlines()

    def interface_bytes(self, host: str) -> int:
        """Bytes in and out of its network interface since boot."""
        counters = self.exec(host, "sh", "-c", "cat /sys/class/net/eth0/statistics/?x_bytes")
        return sum(int(number) for number in counters.split())

    def connections_counted(self, host: str) -> int:
        """How often port 22 was knocked at since the first call of this."""
        rule = ("INPUT", "-p", "tcp", "--dport", "22", "--syn")
        if "dpt:22" not in (table := self.exec(host, "iptables", "-vnxL", "INPUT")):
            self.exec(host, "iptables", "-A", *rule)
            return 0
        return sum(int(line.split()[0]) for line in table.splitlines() if "dpt:22" in line)

    @contextmanager
    def watched(self, host: str) -> Iterator[list[list[tuple[str, int]]]]:
        """Which (replica, epoch) answered HTTP on this host, look by look; complete once the block has ended."""
        looks: list[list[tuple[str, int]]] = []
        script = (FOLDER / "host" / "watch.py").read_text()
        watch = subprocess.Popen(
            ["docker", "exec", "-i", "-u", self.users[host], self.containers[host], "python3", "-c", script],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

        def read_on() -> None:
            looks.extend([(replica, epoch) for replica, epoch in json.loads(line)] for line in watch.stdout or ())

        with watch, ThreadPoolExecutor(1) as reader:
            reading = reader.submit(read_on)
            try:
                wait_until(lambda: looks, 60, f"the first look at {host}")
                yield looks
            finally:
                assert watch.stdin
                watch.stdin.close()
                reading.result(60)

    # reaching a host over the network, as anybody would

    def shows_a_banner(self, host: str) -> bool:
        return self.first_words(host, timeout_s=20.0).startswith("SSH-2.0")

    def first_words(self, host: str, port: int = 22, timeout_s: float = 1.0) -> str:
        """What a TCP connection meets: "refused", "silent" (nobody accepts), "hung" (no word), else its first words."""
        try:
            with socket.create_connection((self.addresses[host], port), timeout_s) as connection:
                connection.settimeout(timeout_s)
                try:
                    return connection.recv(64).decode(errors="replace").strip() or "closed"
                except TimeoutError:
                    return "hung"
        except ConnectionRefusedError:
            return "refused"
        except OSError:  # timed out, or the engine's bridge says EHOSTUNREACH after 3 s
            return "silent"

    def await_ssh(self, host: str) -> None:
        wait_until(lambda: self.first_words(host).startswith("SSH-2.0"), 60, f"sshd of {host} answers")

    def answers(self, address: str, port: int, timeout_s: float = 10.0) -> Answer | None:
        """Who answers HTTP there; None where nobody does. Nobody is refused at once, a busy machine takes its time."""
        connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            words = response.read().decode().split()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return Answer(words[0], int(words[1]), int(words[2])) if response.status == 200 and len(words) == 3 else None

    @staticmethod
    def _everywhere(do: Callable[[str], Found], hosts: tuple[str, ...]) -> list[Found]:
        with ThreadPoolExecutor(len(MACHINES)) as pool:
            return list(pool.map(do, hosts))


def _life() -> str:
    """This boot and PID namespace: only its own projects can be told to be left behind."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(f"{boot}{Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:8]


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "gone"


def project_name() -> str:
    """Unique to this run: it says which process made it, so that a later run knows what was left behind."""
    return f"fleetctl-e2e-{_life()}-{os.getpid()}-{_started(os.getpid())}-{random.randrange(10**4)}"


def remove_left_behind() -> None:
    """Ends the projects of test runs of this machine that were killed before they could clean up."""
    for kind, remove in (("container", ("rm", "-f", "-v")), ("network", ("rm",))):
        listing = ("ls", "-a") if kind == "container" else ("ls",)
        rows = command("docker", kind, *listing, "--filter", f"label={LABEL}", "--format",
                       f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}').splitlines()  # fmt: skip
        for id_, project in (row.split(maxsplit=1) for row in rows):
            parts = project.split("-")
            if project.startswith(f"fleetctl-e2e-{_life()}-") and _started(int(parts[3])) != parts[4]:
                image.succeeds("docker", kind, *remove, id_)  # or another run of tests does


def free_nets() -> list[str]:
    """Networks to try, in an order of this run's own; those the engine already has are left out."""
    taken = ""
    for network in command("docker", "network", "ls", "-q").split():
        with suppress(RuntimeError):  # another run has just removed it
            taken += command("docker", "network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", network)
    nets = [f"10.213.{number}" for number in range(256)]
    random.shuffle(nets)
    return [net for net in nets if f"{net}." not in taken]
