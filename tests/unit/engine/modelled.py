"""A modelled fleet for the real engine: hosts that keep instances, guard and serial, links that can fail, virtual time.

The store is the real one; what is modelled is what a host does with its messages, by the book of `host/protocol.py`.
A story is one coroutine in one virtual loop, so that time goes on from run to run.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetctl.engine.links import Links
from fleetctl.engine.run import Means, RunResult, run
from fleetctl.engine.wishing import Build, Change
from fleetctl.errors import (
    ChangedError,
    ForeignRootError,
    HostError,
    InstanceExistsError,
    StaleOrderError,
    StateError,
    UnansweredError,
    WaitError,
)
from fleetctl.model.host import HostSpec, Inventory
from fleetctl.model.job import Digest, JobSpec, PortRequest, Probe, StopPolicy, UpdatePolicy
from fleetctl.model.log import LogEntry, LogPage, LogQuery
from fleetctl.model.plan import Answer, Question, Said
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.snapshot import (
    Facts,
    Guard,
    HostReport,
    InstanceReport,
    Phase,
    Problem,
    ProblemKind,
    Reach,
    Silence,
)
from fleetctl.model.unreachable import UnreachableError
from fleetctl.state.store import Store
from tests.unit.engine.virtual import LoopClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetctl.state.artifacts import KeptArtifacts

GIB = 1024**3
A, B, C = Digest("a" * 64), Digest("b" * 64), Digest("c" * 64)
CPU = 4000  # thousandths of a core, of each host
READY_AFTER_S = 0.5
KEEPALIVE_S = 15.0  # until a host that fell silent in mid-request is given up
MESSAGE_S = 0.001

# How a host is reached: by us, by its peers, at its programs' ports.
UP, KILLED, CUT, PAUSED, REFUSED, LOCKED = "up", "killed", "cut", "paused", "refused", "lets nobody log in"
NEWER = "driven by a newer fleetctl"
ONLY_PEERS = "only its peers reach it"
SILENCES = {
    KILLED: (2.0, Silence.SILENT),
    CUT: (2.0, Silence.SILENT),
    ONLY_PEERS: (2.0, Silence.SILENT),
    PAUSED: (3.0, Silence.HUNG),
    REFUSED: (0.001, Silence.REFUSED),
    LOCKED: (0.01, Silence.LOGIN),
    NEWER: (0.05, Silence.NEWER),
}
REFUSALS = {Silence.NEWER: "driven by fleetctl 0.3.0; this is 0.1.0"}


class KilledError(BaseException):
    """kill -9 of fleetctl, where it stands."""


def web(**changes: Any) -> JobSpec:
    """A job with a handed-out port and a ready probe on it."""
    update = {key: changes.pop(key) for key in ("max_unavailable", "min_healthy_s", "deadline_s") if key in changes}
    given: dict[str, Any] = {
        "name": "web",
        "hosts": "all",
        "command": ("./web",),
        "replicas": 4,
        "ports": (PortRequest("http"),),
        "ready": Probe("http", "http", "/healthz"),
        "stop": StopPolicy(timeout_s=2.0),
        "update": UpdatePolicy(**({"min_healthy_s": 1.0, "deadline_s": 20.0} | update)),
    }
    return JobSpec(**{**given, **changes})


@dataclass
class Machine:
    """One host: what is on its disk, what runs there, and how it is reached."""

    spec: HostSpec
    fleet: ModelFleet
    state: str = UP
    boot: int = 1
    serial: int = 1
    guard: tuple[int, str] = (0, "")
    belongs_to: str | None = None
    artifacts: set[Digest] = field(default_factory=set)
    rows: dict[InstanceName, InstanceReport] = field(default_factory=dict)
    began: dict[InstanceName, float] = field(default_factory=dict)
    specs: dict[InstanceName, dict[str, Any]] = field(default_factory=dict)
    drained_at: dict[InstanceName, float] = field(default_factory=dict)  # of what was stopped and serves on
    tried: dict[str, Reach] = field(default_factory=dict)
    agent: int = 1  # which one, counted from 1: links end with it
    tries_neighbours: bool = True
    root_id: str = ""
    wishes: dict[str, Any] | None = None  # as the newest claim gave them

    def __post_init__(self) -> None:
        self.root_id = f"id of {self.spec.name}"

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def row(self, name: InstanceName) -> InstanceReport:
        """As of now: what runs gets ready by itself, unless its artifact is a bad one; what drains ends."""
        row = self.rows[name]
        if row.phase is Phase.STOPPING and self.now() >= self.drained_at[name]:
            self.serial += 1
            row = self.rows[name] = replace(row, phase=Phase.STOPPED, pid=None)
        if row.phase is Phase.STARTING and self.fleet.crashes(self.spec.name, name):
            return self.crash_loop(row)
        if row.phase is not Phase.STARTING or self.program(name) in self.fleet.never_ready:
            return replace(row, age_s=self.now() - self.began[name])
        lasted = self.now() - self.began[name] - READY_AFTER_S
        if lasted < 0:
            return replace(row, age_s=self.now() - self.began[name])
        return replace(row, phase=Phase.READY, ready_for_s=lasted, ever_ready=True, age_s=lasted + READY_AFTER_S)

    def crash_loop(self, row: InstanceReport) -> InstanceReport:
        """It ends as soon as it runs, and is started again after 1 s, 2 s, 4 s, ... up to 5 min."""
        age_s, restarts, next_s = self.now() - self.began[row.name], 0, 1.0
        while next_s <= age_s:
            restarts += 1
            next_s += min(300.0, 2.0**restarts)
        return replace(row, phase=Phase.WAITING, restarts=restarts, last_exit="exited 42", age_s=age_s)

    def program(self, name: InstanceName) -> str:
        """What it runs: its artifact, or a program that its host has."""
        return self.rows[name].artifact or str(self.specs[name]["argv"][0])

    def known(self, name: InstanceName) -> InstanceReport:
        if name not in self.rows:
            raise HostError(self.spec.name, f"there is no {name} on this host")
        return self.row(name)

    def runs(self) -> list[InstanceName]:
        """What has a process, whether anybody can see it or not."""
        if self.state == KILLED:
            return []
        return [name for name in self.rows if (phase := self.row(name).phase).wants_to_run or phase is Phase.STOPPING]

    def power_off(self) -> None:
        self.state = KILLED

    def power_on(self) -> None:
        """Its agent starts what its orders wish."""
        if self.state == KILLED:
            self.boot += 1
            self.agent += 1
            self.serial += 1
            self.began |= {name: self.now() for name in self.rows}
            self.drained_at = dict.fromkeys(self.drained_at, self.now())
        self.state = UP

    def kill_agent(self) -> None:
        """The supervisor starts another, which adopts what runs."""
        self.agent += 1
        self.serial += 1

    def admit(self, generation: int, author: str) -> None:
        if generation < self.guard[0] or (generation == self.guard[0] and author != self.guard[1]):
            raise StaleOrderError(self.spec.name, *self.guard)
        if generation > self.guard[0]:
            self.guard = (generation, author)
            self.serial += 1

    def answers_probe(self, kind: str, port: int) -> bool:
        if kind == "banner":
            return self.state in (UP, ONLY_PEERS) and port == self.spec.port
        listens = {
            number
            for name in self.runs()
            if self.row(name).phase in (Phase.READY, Phase.STOPPING)
            for _, number in self.rows[name].ports
        }
        accepts_for_the_dead = self.state == PAUSED and kind == "tcp"
        return (self.state in (UP, ONLY_PEERS, REFUSED) or accepts_for_the_dead) and port in listens


def is_answered(asked: Question) -> bool:
    """Modelled programs say 200, and nothing else."""
    least, most = asked.status
    return asked.kind != "http" or (least <= 200 <= most and not asked.header and not asked.body)


class ModelLink:
    """What `ssh.link.Link` promises, on a Machine. Ends when its agent does."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.agent = machine, machine.agent
        self.closed = False
        self.address = machine.spec.address

    @property
    def name(self) -> str:
        return self.machine.spec.name

    async def _message(self, verb: str, what: str, answer: Callable[[], Any], *, order: bool = False) -> Any:
        fleet = self.machine.fleet
        await asyncio.sleep(MESSAGE_S)
        await self._met(verb, "before")
        if order:
            fleet.orders.append((self.name, verb, what))
        said = answer()
        await self._met(verb, "after")
        return said

    async def _met(self, verb: str, moment: str) -> None:
        """A fault that was planted here; and what the host's state does to the link."""
        fault = self.machine.fleet.faults.pop((self.name, verb, moment), None)
        if fault is not None:
            fault()
        await self._alive()

    async def _alive(self) -> None:
        if self.closed or self.agent != self.machine.agent:
            self.closed = True
            raise UnansweredError(self.name, "the link broke")
        if self.machine.state in (KILLED, CUT, PAUSED, ONLY_PEERS):
            await asyncio.sleep(KEEPALIVE_S)
            self.closed = True
            raise UnansweredError(self.name, "it fell silent")

    async def observe(self) -> HostReport:
        return await self._message("observe", "", self._report)

    def _report(self) -> HostReport:
        machine = self.machine
        rows = tuple(machine.row(name) for name in sorted(machine.rows))
        return HostReport(
            serial=machine.serial,
            boot=str(machine.boot),
            guard=Guard(Generation(machine.guard[0]), machine.guard[1]),
            facts=Facts(MilliCpu(CPU), Bytes(8 * GIB), Bytes(100 * GIB), Bytes(90 * GIB)),
            host_id=machine.root_id,
            fleet=machine.belongs_to,
            ports_in_use=frozenset(number for row in rows if row.phase.holds_room for _, number in row.ports),
            artifacts=frozenset(machine.artifacts),
            instances=rows,
            reach=tuple(machine.tried.values()),
        )

    async def claim(self, *, generation: Generation, author: str, serial: int, fleet: str, wishes: Any) -> int:
        machine = self.machine

        def claimed() -> int:
            if machine.belongs_to not in (None, fleet):
                raise ForeignRootError(self.name, f"this root belongs to the fleet {machine.belongs_to}")
            if self.name in machine.fleet.full_disks:
                raise HostError(self.name, "refused to claim: No space left on device")
            if (generation, author) == machine.guard and wishes == machine.wishes:
                return machine.serial
            if generation <= machine.guard[0] and (generation, author) != machine.guard:
                raise StaleOrderError(self.name, *machine.guard)
            if serial != machine.serial:
                raise ChangedError(self.name, machine.serial)
            machine.belongs_to = fleet
            machine.wishes = json.loads(json.dumps(wishes))
            machine.admit(generation, author)
            return machine.serial

        return await self._message("claim", str(generation), claimed, order=True)

    async def start(
        self, *, generation: Generation, author: str, instance: InstanceName, spec: dict[str, Any]
    ) -> InstanceReport:
        machine = self.machine

        def started() -> InstanceReport:
            machine.admit(generation, author)
            if instance in machine.rows:
                if machine.rows[instance].phase is Phase.STOPPED or machine.specs[instance] != spec:
                    raise InstanceExistsError(self.name, f"{instance} is there")
                return machine.row(instance)
            if machine.fleet.refuses_start(self.name, instance):
                raise HostError(self.name, f"refused to start {instance}")
            assert spec["artifact"] in {*machine.artifacts, None}, "started without its artifact"
            ports = set(spec["ports"].values())
            held = {number for row in machine.rows.values() if row.phase.holds_room for _, number in row.ports}
            assert not ports & held, f"{instance} is given a port of {self.name} that is held"
            machine.specs[instance] = spec
            machine.began[instance] = machine.now()
            machine.serial += 1
            machine.rows[instance] = InstanceReport(
                name=instance,
                release=spec["release"],
                phase=Phase.STARTING,
                ports=tuple(sorted(spec["ports"].items())),
                address=spec["address"],
                artifact=spec["artifact"],
                resources=Resources(MilliCpu(spec["resources"]["cpu_milli"]), Bytes(spec["resources"]["memory_bytes"])),
                pid=1000 + len(machine.rows),
            )
            if machine.program(instance) in machine.fleet.can_not_run:
                problem = Problem(ProblemKind.NOT_EXECUTABLE, "it can't be executed")
                machine.rows[instance] = replace(machine.rows[instance], phase=Phase.FAILED, pid=None, problem=problem)
            used = sum(row.resources.cpu for row in machine.rows.values() if row.phase.holds_room)
            assert used <= CPU, f"{self.name} is given more than it has room for"
            return machine.row(instance)

        return await self._message("start", str(instance), started, order=True)

    async def stop(self, *, generation: Generation, author: str, instance: InstanceName, reason: str) -> InstanceReport:
        machine = self.machine

        def stopped() -> InstanceReport:
            assert reason
            known = machine.known(instance)
            machine.admit(generation, author)
            if known.phase not in (Phase.STOPPED, Phase.STOPPING):
                machine.serial += 1
                drain_s = machine.specs[instance].get("stop", {}).get("drain_s", 0.0)
                machine.drained_at[instance] = machine.now() + drain_s
                machine.rows[instance] = replace(known, phase=Phase.STOPPING, ready_for_s=None, reason=reason)
            return machine.row(instance)

        return await self._message("stop", str(instance), stopped, order=True)

    async def wait(self, instance: InstanceName, *, until: str, for_s: float, timeout_s: float) -> InstanceReport:
        machine, end = self.machine, asyncio.get_running_loop().time() + timeout_s
        await self._message("wait", str(instance), lambda: None)
        while True:
            await self._alive()
            row = machine.known(instance)
            if until == "stopped" and row.phase is Phase.STOPPED:
                return row
            if until == "ready" and row.phase is Phase.READY and (row.ready_for_s or 0.0) >= for_s - 1e-9:
                return row
            hopeless = until == "ready" and row.phase in (Phase.STOPPED, Phase.FAILED)
            if hopeless or machine.now() >= end:
                log = self._lines(instance, 20)
                raise WaitError(self.name, f"{instance} was not {until}", log=log, timed_out=not hopeless)
            await asyncio.sleep(0.1)

    async def upload(self, *, generation: Generation, author: str, digest: Digest, source: Path, progress: Any) -> None:
        def adopted() -> None:
            self.machine.admit(generation, author)
            self.machine.artifacts.add(digest)

        await self._message("adopt", digest, adopted, order=True)
        progress(1, 1)

    async def fetch(self, digest: Digest, into: Path) -> None:
        machine = self.machine

        def fetched() -> None:
            assert digest in machine.artifacts, "fetched from a host that has not said it has it"
            shutil.copytree(machine.fleet.contents[digest], into, symlinks=True)
            if self.name in machine.fleet.damaged:
                (into / "rot").write_text("a bit fell over")

        await self._message("fetch", digest, fetched)

    async def probe(self, questions: Any) -> tuple[Answer, ...]:
        machines = {machine.spec.address: machine for machine in self.machine.fleet.machines.values()}
        said = [machines[one.address].answers_probe(one.kind, one.port) and is_answered(one) for one in questions]
        silent_for_s = max((one.timeout_s for one, yes in zip(questions, said, strict=True) if not yes), default=0.0)
        await asyncio.sleep(silent_for_s)
        return await self._message(
            "probe",
            "",
            lambda: tuple(Answer(one, Said.YES if yes else Said.NO) for one, yes in zip(questions, said, strict=True)),
        )

    async def neighbours(self, peers: Any) -> tuple[Reach, ...]:
        machines = self.machine.fleet.machines

        def tried() -> tuple[Reach, ...]:
            found = []
            for peer, (address, port) in peers.items() if self.machine.tries_neighbours else ():
                now = Reach(peer, address, port, ok=machines[peer].answers_probe("banner", port))
                before = self.machine.tried.get(peer)
                once = before is not None and before.ok and (before.address, before.port) == (address, port)
                self.machine.tried[peer] = replace(now, ok=now.ok or once)  # whoever was reached once stays so
                found.append(now)
            return tuple(found)

        return await self._message("neighbours", "", tried)

    async def wishes(self) -> dict[str, Any] | None:
        return await self._message("wishes", "", lambda: self.machine.wishes)

    async def logs(self, instance: InstanceName, query: LogQuery) -> LogPage:
        def told() -> LogPage:
            lines = self._lines(instance, query.lines) if not query.after else ()
            return LogPage(tuple(LogEntry(0.0, 1, line) for line in lines), next="1:1:0")

        return await self._message("logs", str(instance), told)

    def _lines(self, instance: InstanceName, lines: int) -> tuple[str, ...]:
        """All that any program of this fleet ever says."""
        ran = self.machine.known(instance).phase is not Phase.FAILED
        return ("its last words",)[:lines] if ran else ()

    async def close(self) -> None:
        self.closed = True


class Kept:
    """Copies of all artifacts but the lost ones."""

    def __init__(self) -> None:
        self.lost: set[Digest] = set()

    def path(self, digest: Digest) -> Path:
        if digest in self.lost:
            raise StateError(f"no copy of artifact {digest[:12]} is kept")
        return Path("/kept") / digest


class ModelFleet:
    """Hosts, a store, and the verbs of the trade."""

    def __init__(self, folder: Path, count: int = 5, **changes: Any) -> None:
        self.folder = folder
        specs = tuple(
            HostSpec(f"h{n}", f"10.0.0.{n}", labels=(("zone", "ab"[n % 2]),), **changes) for n in range(1, count + 1)
        )
        self.machines = {spec.name: Machine(spec, self) for spec in specs}
        self.inventory = Inventory("test", folder / "hosts.yml", specs, {"all": tuple(self.machines)})
        self.store = Store.open(folder / "state", clock=LoopClock())
        self.faults: dict[tuple[str, str, str], Callable[[], None]] = {}
        self.never_ready: set[str] = set()  # artifacts, or programs that hosts have: what runs them never listens
        self.can_not_run: set[str] = set()  # likewise: can't be executed
        self.full_disks: set[str] = set()
        self.crashes: Callable[[str, InstanceName], bool] = lambda _host, _name: False
        self.kept: Kept | KeptArtifacts = Kept()
        self.contents: dict[Digest, Path] = {}  # of the artifacts that can be fetched
        self.damaged: set[str] = set()  # the hosts whose artifacts are no longer what they were
        self.refuses_start: Callable[[str, InstanceName], bool] = lambda _host, _name: False
        self.orders: list[tuple[str, str, str]] = []
        self.told: list[Any] = []
        self.messages: list[dict[str, Any]] = []  # to a human
        self.notify: Callable[[str], bool] | None = self.hear
        self.dialled: list[str] = []

    def tell(self, event: Any) -> None:
        self.told.append(event)

    def hear(self, message: str) -> bool:
        self.messages.append(json.loads(message))
        return True

    # -- what a person types

    async def deploy(self, *specs: JobSpec, artifact: Digest = A, force: bool = False) -> RunResult:
        return await self.run(Change(tuple(Build(spec, artifact) for spec in specs), force=force))

    async def heal(self, *, force: bool = False) -> RunResult:
        return await self.run(Change(force=force))

    async def stop(self, job: str) -> RunResult:
        return await self.run(Change(stops=(job,)))

    async def run(self, change: Change, store: Store | None = None) -> RunResult:
        store = store or self.store
        lock = store.lock("test", "a test's run")
        try:
            result = await run(self.means(store), lock, change)
        except Exception:
            lock.release()
            raise
        lock.release()  # not after a KilledError: a dead process releases nothing
        return result

    def means(self, store: Store) -> Means:
        names = {"all": tuple(self.machines)}
        eligible = lambda pattern: names.get(pattern, tuple(pattern.split(":")))  # noqa: E731
        links = Links(self.dial, self.redial)
        kept: Any = self.kept
        return Means(self.inventory, eligible, store, kept, links, LoopClock(), self.tell, self.notify)

    async def dial(self, host: HostSpec, on_banner: Callable[[], None]) -> ModelLink:
        machine = next((one for one in self.machines.values() if one.spec.address == host.address), None)
        self.dialled.append(host.name)
        if machine is None:
            await asyncio.sleep(2.0)
            raise UnreachableError(host.name, Silence.SILENT, "no machine has this address")
        if machine.state != UP:
            takes_s, silence = SILENCES[machine.state]
            if machine.state in (LOCKED, NEWER):
                on_banner()
            await asyncio.sleep(takes_s)
            hint = "install fleetctl 0.3.0 or newer" if machine.state == NEWER else ""
            raise UnreachableError(host.name, silence, REFUSALS.get(silence, silence.value), hint=hint)
        on_banner()
        await asyncio.sleep(0.05)
        return ModelLink(machine)

    async def redial(self, host: HostSpec) -> ModelLink:
        return await self.dial(host, lambda: None)

    # -- faults

    def at(self, host: str, verb: str, moment: str, fault: Callable[[], None]) -> None:
        """Once, right before the host hears such a message, or right after it did it and before it answers."""
        self.faults[host, verb, moment] = fault

    def lose(self, host: str, verb: str, moment: str) -> None:
        """The link breaks there: before, the order is lost; after, its answer."""

        def broken() -> None:
            raise UnansweredError(host, f"the link broke {moment} {verb}")

        self.at(host, verb, moment, broken)

    def kill_us(self, host: str, verb: str, moment: str) -> None:
        def killed() -> None:
            raise KilledError

        self.at(host, verb, moment, killed)

    # -- what is seen

    def running(self) -> dict[str, list[str]]:
        """replica -> where each of its processes is, of everything that really runs."""
        found: dict[str, list[str]] = {}
        for host, machine in sorted(self.machines.items()):
            for name in machine.runs():
                found.setdefault(str(name.replica), []).append(f"{name}@{host}")
        return found

    def epochs(self) -> dict[str, int]:
        return {str(name.replica): name.epoch for machine in self.machines.values() for name in machine.runs()}

    def hosts_of(self, job: str = "web") -> dict[str, str]:
        """replica -> host."""
        return {
            str(name.replica): host
            for host, machine in self.machines.items()
            for name in machine.runs()
            if name.job == job
        }

    def orders_since(self, count: int) -> list[tuple[str, str, str]]:
        return self.orders[count:]
