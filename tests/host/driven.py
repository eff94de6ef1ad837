"""A host as the tests drive it: a root of its own, the real host program unpacked there, JSON over the real entry.py.

Whatever it starts is found by its root and ended by pid in `end`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import time
import zlib
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

from fleetctl.host import records

HERE = Path(__file__).resolve().parents[2] / "fleetctl" / "host"
LIMIT_S = 90.0  # of any wait: the machine may be busy, and a wait that ends early proves nothing
LINKED_S = 95.0  # what the handshake promises after the hello, and fleetctl waits: a machine without KVM needs half
LOADER = """\
import os;os.write(1,b"MARKER\\n");s=b""
while len(s)<{length}:
 b=os.read(0,{length}-len(s))
 if not b:raise SystemExit(1)
 s+=b
exec(compile(s,"entry","exec"),{{"__name__":"__fleetctl_entry__"}})
"""

Row = dict[str, Any]


Edit = tuple[str, str, str]  # in this file, instead of this text, that text


def bundle(change: str = "", edits: tuple[Edit, ...] = ()) -> tuple[str, bytes]:
    """(digest, bytes) of the host program; `change` goes into a comment, which makes it another program."""
    files = {path.name: path.read_text() for path in HERE.glob("*.py")}
    for name, old, new in edits:
        assert old in files[name]
        files[name] = files[name].replace(old, new)
    files["main.py"] = (f"# {change}\n" if change else "") + files["main.py"]
    text = json.dumps(files, sort_keys=True, separators=(",", ":")).encode("ascii")
    return hashlib.sha256(text).hexdigest(), zlib.compress(text, 9)


def wait_until(condition: Any, what: str = "", limit_s: float = LIMIT_S) -> Any:
    """The condition's first true value. AssertionError when it stays false."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {limit_s} s: {what or condition}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_of(pid: int) -> str:
    """What tells this process from a later one of its number; "" when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


PF_FORKNOEXEC = 0x40


def is_nursery(pid: int) -> bool:
    """By name and by having executed something, in one look: a shim has not, and a program has another name."""
    with suppress(OSError):
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
        return name.endswith("(fleetctl-nurse") and not int(rest.split()[6]) & PF_FORKNOEXEC
    return False


def descriptors(pid: int) -> list[str]:
    """What a process has open."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(path.readlink()))
    return found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    return bool(start_of(pid))


class Waited:
    """How long this machine kept processes from a core within the block, and this one with them: `seconds`.

    For promises about an instant: what the kernel let happen late is no fault of who is measured.
    """

    def __init__(self, *pids: int) -> None:
        self.pids, self.late_s, self.over = pids, 0.0, Event()
        self.before = {pid: queued_s(pid) for pid in pids}
        self.now = dict(self.before)
        self.thread = Thread(target=self.watch)

    def watch(self) -> None:
        last = time.monotonic()
        while not self.over.wait(0.01):
            self.now.update((pid, seen) for pid in self.pids if (seen := queued_s(pid)))
            now = time.monotonic()
            self.late_s += max(0.0, now - last - 0.02)
            last = now

    @property
    def seconds(self) -> float:
        return self.late_s + sum(self.now[pid] - self.before[pid] for pid in self.pids)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def queued_s(pid: int) -> float:
    """How long it was ready to run and did not; 0 when it is gone, or where the kernel does not count that."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


class RefusedError(AssertionError):
    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
        self.kind = error["kind"]


class Link:
    """One channel to a host, as an SSH session would give it."""

    def __init__(self, host: Host, mode: str, *, version: str, change: str, environment: dict[str, str]) -> None:
        source = (HERE / "entry.py").read_bytes()
        digest, data = bundle(change, host.edits)
        self.process = host.channel(LOADER.format(length=len(source)), environment)
        self.buffer = b""
        self.numbers = itertools.count(1)
        self.answers: dict[Any, Row] = {}
        root = str(host.root) if host.root is not None else None
        program = {"version": version, "digest": digest, "bytes": len(data)}
        request = {"mode": mode, "root": root, "fleet": host.fleet, "program": program}
        self.write(source + json.dumps(request).encode() + b"\n")
        assert self.read_line() == b"MARKER"
        self.hello: Row = json.loads(self.read_line())
        self.linked: Row = {}
        if self.hello["error"] is None:
            if self.hello["send"]:
                self.write(data)
            self.linked = json.loads(self.read_line(LINKED_S))

    def write(self, content: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(content)

    def read_line(self, limit_s: float = LIMIT_S) -> bytes:
        end = time.monotonic() + limit_s
        stdout = self.process.stdout
        assert stdout is not None
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([stdout], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no line within {limit_s} s; so far: {self.buffer[:200]!r}"
            part = os.read(stdout.fileno(), 1024 * 1024)
            if not part:
                raise EOFError
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def send(self, do: str, **more: Any) -> int:
        number = next(self.numbers)
        self.write(json.dumps({"id": number, "do": do, **more}).encode() + b"\n")
        return number

    def answer(self, number: Any, limit_s: float = LIMIT_S) -> Row:
        while number not in self.answers:
            found = json.loads(self.read_line(limit_s))
            self.answers[found["id"]] = found
        found = self.answers.pop(number)
        if not found["ok"]:
            raise RefusedError(found["error"])
        return found

    def ask(self, do: str, **more: Any) -> Row:
        return self.answer(self.send(do, **more))

    def close(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(LIMIT_S)


class Host:
    """The verbs of the trade, on one host."""

    def __init__(self, root: Path | None, python: str, fleet: str = "test") -> None:
        self.root, self.python, self.fleet = root, python, fleet
        self.links: list[Link] = []
        self.link_now: Link | None = None
        self.edits: tuple[Edit, ...] = ()  # of the program, to stand for another kernel
        self.uid: int | None = None  # of the login, where it is not ours
        self.generation = 1
        self.author = "tester"
        self.address = "127.0.0.1"

    # Links

    def channel(self, loader: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Python there, running the loader, with its standard input and output here."""
        return subprocess.Popen(
            [self.python, "-I", "-S", "-E", "-c", loader],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={"PATH": os.environ["PATH"], "FLEETCTL_BOOT": "none", **environment},
            start_new_session=True,
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
            cwd="/",
        )

    def connect(self, mode: str = "drive", *, version: str = "0.1.0", change: str = "", **environment: str) -> Link:
        link = Link(self, mode, version=version, change=change, environment=environment)
        self.links.append(link)
        return link

    @property
    def link(self) -> Link:
        """The link in use; another one when its agent is gone."""
        if self.link_now is None or self.link_now.process.poll() is not None:
            self.link_now = self.connect()
            assert self.link_now.linked == {"linked": 1, "by": "agent"}, (self.link_now.hello, self.link_now.linked)
        return self.link_now

    def ask(self, do: str, **more: Any) -> Row:
        """Asks again where the agent was killed meanwhile: what fleetctl does, too."""
        for _ in range(20):
            link = self.link
            try:
                return link.ask(do, **more)
            except (EOFError, BrokenPipeError):
                link.process.wait(LIMIT_S)
        raise AssertionError("the agent does not live long enough to answer")

    def order(self, do: str, **more: Any) -> Row:
        return self.ask(do, **{"generation": self.generation, "author": self.author, **more})

    # The trade

    def report(self) -> Row:
        found: Row = self.ask("observe")["report"]
        return found

    def row(self, name: str) -> Row:
        return next(row for row in self.report()["instances"] if row["instance"] == name)

    def spec(self, name: str, argv: list[str], **changes: Any) -> Row:
        found = {
            "job": name.partition(".")[0],
            "release": 1,
            "fleet": self.fleet,
            "host": "h1",
            "address": self.address,
            "wish_replicas": 1,
            "argv": argv,
            "env": {},
            "artifact": None,
            "ports": {},
            "resources": {"cpu_milli": 0, "memory_bytes": 0, "disk_bytes": 0},
            "ready": None,
            "min_healthy_s": 0.05,
            "stop": {"signal": "TERM", "timeout_s": 20.0},
            "log": {"size_bytes": 1024 * 1024, "keep": 5},
            "restart": {
                "backoff_min_s": 0.05,
                "backoff_max_s": 1.0,
                "reset_s": 600.0,
                "alarm_exits": 5,
                "alarm_s": 600.0,
            },
        }
        found.update(changes)
        return found

    def start(self, name: str, argv: list[str], **changes: Any) -> Row:
        row: Row = self.order("start", instance=name, spec=self.spec(name, argv, **changes))["instance"]
        return row

    def run(self, name: str, script: str, **changes: Any) -> Row:
        """A shell script as the program."""
        return self.start(name, ["/bin/sh", "-c", script], **changes)

    def ready(self, name: str, for_s: float = 0.0, timeout_s: float = LIMIT_S) -> Row:
        row: Row = self.ask("await", instance=name, until="ready", for_s=for_s, timeout_s=timeout_s)["instance"]
        return row

    def stop(self, name: str, reason: str = "by a test") -> Row:
        row: Row = self.order("stop", instance=name, reason=reason)["instance"]
        return row

    def stopped(self, name: str, timeout_s: float = LIMIT_S) -> Row:
        row: Row = self.ask("await", instance=name, until="stopped", for_s=0, timeout_s=timeout_s)["instance"]
        return row

    def until(self, name: str, condition: Any, what: str = "") -> Row:
        """The instance's row once the condition holds of it."""
        seen: list[Row] = []

        def holds() -> bool:
            seen.append(self.row(name))
            return bool(condition(seen[-1]))

        try:
            wait_until(holds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen[-1]}") from None
        return seen[-1]

    def lines(self, name: str, lines: int = 1000) -> list[str]:
        found: list[str] = self.ask("logs", instance=name, lines=lines)["lines"]
        return found

    def folder(self, name: str) -> Path:
        assert self.root is not None
        return self.root / "instances" / name

    # Its processes

    def processes(self) -> dict[int, str]:
        """Everything that runs under this root: {pid: command line}."""
        found = {}
        root = os.fsencode(str(self.root))
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if root in command or b"FLEETCTL_RUN=" + root in (entry / "environ").read_bytes():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode("utf-8", "replace")
        return {pid: command for pid, command in found.items() if lives(pid)}

    def role(self, role: str) -> list[int]:
        return [pid for pid, command in self.processes().items() if f"main.py {role} " in command]

    def agent_pid(self) -> int:
        return wait_until(lambda: self.role("agent"), "an agent")[0]

    def supervisor_pid(self) -> int:
        """The one that has the lock."""
        assert self.root is not None
        return int((self.root / "supervisor.lock").read_text().split()[0])

    def nursery_pid(self) -> int:
        """The nursery itself: its forks, the shims, carry the same command line, but executed nothing."""
        return wait_until(self.nurseries, "a nursery")[0]

    def nurseries(self) -> list[int]:
        return [pid for pid in self.role("nursery") if is_nursery(pid)]

    def shims(self) -> list[int]:
        found = []
        for pid in self.role("nursery"):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("shim "):
                    found.append(pid)
        return found

    def shim_pid(self, name: str) -> int:
        return self.record(name).shim

    def record(self, name: str) -> Any:
        """Of the newest run; one that is just being written is read again."""
        folder = str(self.folder(name) / "exit")
        return wait_until(lambda: records.read(f"{folder}/{records.runs(folder)[-1]}"), f"a record of {name}")

    def status(self, name: str) -> Row:
        found: Row = json.loads((self.folder(name) / "status.json").read_text())
        return found

    def kill(self, pid: int) -> None:
        """SIGKILL, and gone when this returns."""
        start = start_of(pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: start_of(pid) != start, f"{pid} gone")

    def kill_agent(self) -> None:
        self.kill(self.agent_pid())

    def kill_all_of_ours(self) -> None:
        """Supervisor, agent and shims at once, as far as signals can be sent at once."""
        ours = [self.supervisor_pid(), *self.role("agent"), *self.role("nursery")]
        for pid in ours:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        for pid in ours:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(lives(pid) for pid in ours), "ours gone")

    def power_off(self) -> None:
        """Everything ends at once, and what is on the disk is of a boot that is over."""
        self.kill_everything()
        if self.root is not None:
            seen = self.root / "boot.json"
            seen.write_text(json.dumps({**json.loads(seen.read_text()), "boot": "of-another-time"}))
        for name in (self.root / "instances").iterdir() if self.root is not None else ():
            status = name / "status.json"
            content = json.loads(status.read_text())
            content["boot"] = "of-another-time"
            status.write_text(json.dumps(content))
            for path in (name / "exit").iterdir():
                record = records.read(str(path))
                if record is not None:
                    record.boot = "of-another-time"
                    record.write(str(path))

    def forget_links(self) -> None:
        """Closes them, as whoever drives the host does when it leaves; the host may be gone."""
        for link in self.links:
            with suppress(OSError):
                link.process.kill()
            link.process.wait()
            for stream in (link.process.stdin, link.process.stdout):
                if stream is not None:
                    stream.close()
        self.links.clear()
        self.link_now = None

    def kill_everything(self) -> None:
        self.forget_links()
        end = time.monotonic() + LIMIT_S
        while self.root is not None:
            left = self.processes()
            if not left:
                return
            assert time.monotonic() < end, left
            for pid in sorted(left):  # a supervisor is older than what it would start again
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    end = kill_everything
