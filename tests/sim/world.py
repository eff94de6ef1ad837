"""The modelled fleet of the simulator: hosts whose truth may differ from what is told, and links on which orders are
lost, doubled, delayed and overtaken.

What a host does with its messages is `tests/unit/engine/modelled.py`'s; here is what may befall it on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from fleetctl.errors import FleetctlError, HostError, StateError, UnansweredError, WaitError
from fleetctl.model.host import HostSpec, Inventory, Jump
from fleetctl.model.instant import Instant
from fleetctl.model.plan import Answer, Said
from fleetctl.model.replica import InstanceName
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.snapshot import InstanceReport, Phase, Problem, ProblemKind, Reach, Silence
from fleetctl.model.unreachable import UnreachableError
from fleetctl.state.store import Store
from tests.unit.engine.modelled import (
    CPU,
    CUT,
    GIB,
    KEEPALIVE_S,
    KILLED,
    LOCKED,
    MESSAGE_S,
    ONLY_PEERS,
    PAUSED,
    READY_AFTER_S,
    REFUSED,
    SILENCES,
    UP,
    KilledError,
    Machine,
    ModelFleet,
    ModelLink,
)
from tests.unit.engine.virtual import LoopClock

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from fleetctl.model.job import Digest
    from fleetctl.model.replica import Generation
    from fleetctl.model.snapshot import HostReport
    from tests.sim.observer import Observer

ONLY_US = "we reach it, its peers don't"
SERVING = (UP, ONLY_PEERS, ONLY_US, REFUSED, LOCKED)  # somebody gets an answer from its programs
REACHED_BY_PEERS = (UP, ONLY_PEERS, LOCKED)
ROOM = Resources(MilliCpu(CPU), Bytes(8 * GIB), Bytes(100 * GIB))
STOP_TAKES_S = 0.3
CRASH_EVERY_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0)
LATE_UP_TO_S = 90.0


class Ill(Enum):
    """How an artifact fails, wherever it runs or on some hosts."""

    NEVER_READY = "runs and never gets ready"
    CRASHES = "ends by itself again and again"
    NOT_EXECUTABLE = "can't be executed"


class Fate(Enum):
    """What becomes of one message."""

    ARRIVES = "arrives"
    LOST = "is lost"
    UNANSWERED = "arrives, and its answer is lost"
    DOUBLED = "arrives twice"
    LATE = "arrives after its sender gave it up"
    SLOW = "takes some seconds"


ODDITIES = (Fate.LOST, Fate.UNANSWERED, Fate.DOUBLED, Fate.LATE, Fate.SLOW)


@dataclass(eq=False)
class Run:
    """One command while it works: what it was told, and when it is to be killed or stopped for a while."""

    name: str
    rolls: frozenset[str] = frozenset()  # the jobs whose instances it may replace
    allow: int = 0  # so many silent hosts don't count against a budget
    words: Callable[[], None] | None = None  # makes a person's words count; called once they are written down
    kill_at: int | None = None  # the how many-th moment is its last
    freeze_at: int | None = None
    freeze_s: float = 0.0
    moments: int = 0
    frozen_until: float = 0.0
    frozen_from: float = 0.0
    idle_from: float = 0.0  # since when no action of it is under way
    looked_from: float = 0.0  # when the look began that its plan was made from
    orders: int = 0
    seen_ready: dict[str, set[InstanceName]] = field(default_factory=dict)  # by host, as it was told

    def moment(self) -> None:
        """Between any two things that it does. Raises KilledError at its last."""
        self.moments += 1
        if self.moments == self.kill_at:
            raise KilledError
        if self.moments == self.freeze_at:
            self.frozen_from = asyncio.get_running_loop().time()
            self.frozen_until = self.frozen_from + self.freeze_s

    async def thaw(self) -> None:
        while (left := self.frozen_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)


RUN: ContextVar[Run] = ContextVar("run")


class Clock(LoopClock):
    """The controllers' clock. The wall's may be wrong; a run that is stopped sees no time pass until it goes on."""

    def __init__(self) -> None:
        self.wall_off_s = 0.0

    def now(self) -> Instant:
        now, run = super().now(), RUN.get(None)
        return Instant(run.frozen_from) if run is not None and now < run.frozen_until else now

    def wall(self) -> float:
        return 1.7e9 + super().now() + self.wall_off_s


class Host(Machine):
    """A machine with faults of its own. `since` says when its state last changed."""

    fleet: World

    def __init__(self, spec: HostSpec, fleet: World) -> None:
        self.since = -1.0
        self._state = UP
        self.changes: list[float] = []
        self.slow_s = 0.0
        self.wall_off_s = 0.0
        self.full = False
        self.ends: dict[InstanceName, float] = {}  # of what is stopping
        self.unwell: dict[InstanceName, float] = {}  # until when
        self.ever: set[InstanceName] = set()
        self._changed: asyncio.Event | None = None
        super().__init__(spec, fleet)

    @property  # type: ignore[override]
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state != self._state:
            self._state, self.since = state, self.now()
            self.changes.append(self.since)
            self.stir()

    def stir(self) -> None:
        """Whoever waits for something here looks again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def next_change(self, at_most_s: float) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        try:
            async with asyncio.timeout(at_most_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def power_off(self) -> None:
        if self.state != KILLED:
            self.settle()
            self.ever |= {name for name in self.runs() if self.row(name).ever_ready}
        super().power_off()

    def power_on(self) -> None:
        if self.state == KILLED:
            for name in list(self.ends):  # a stop is on the disk before it is begun
                self._end(name)
        super().power_on()
        self.stir()

    def kill_agent(self) -> None:
        super().kill_agent()
        self.stir()

    def ill(self, name: InstanceName) -> Ill | None:
        return self.fleet.ills.get((self.rows[name].artifact or "", self.spec.name)) or self.fleet.ills.get(
            (self.rows[name].artifact or "", "")
        )

    def started(self, name: InstanceName) -> None:
        """What can't be executed ends at once. Of what has ended the two newest of a replica are kept."""
        if self.ill(name) is Ill.NOT_EXECUTABLE:
            problem = Problem(ProblemKind.NOT_EXECUTABLE, "it can't be executed")
            self.rows[name] = replace(self.rows[name], phase=Phase.FAILED, pid=None, problem=problem)
        ended = [n for n, row in self.rows.items() if n.replica == name.replica and not row.phase.holds_room]
        for old in sorted(ended)[:-2]:
            del self.rows[old], self.began[old], self.specs[old]

    def settle(self) -> None:
        """What has happened by itself since somebody looked last."""
        now = self.now()
        for name, at in list(self.ends.items()):
            if now >= at:
                self._end(name)

    def _end(self, name: InstanceName) -> None:
        del self.ends[name]
        self.serial += 1
        self.rows[name] = replace(self.rows[name], phase=Phase.STOPPED, pid=None)

    def begin_to_stop(self, name: InstanceName, reason: str) -> None:
        self.serial += 1
        phase = self.row(name).phase
        if phase in (Phase.WAITING, Phase.FAILED):
            self.rows[name] = replace(self.rows[name], phase=Phase.STOPPED, pid=None, reason=reason)
        else:
            self.rows[name] = replace(self.rows[name], phase=Phase.STOPPING, ready_for_s=None, reason=reason)
            self.ends[name] = self.now() + STOP_TAKES_S * (1 + 4 * bool(self.slow_s))
        self.stir()

    def ready_from(self, name: InstanceName) -> float:
        return max(self.began[name] + READY_AFTER_S + self.slow_s, self.unwell.get(name, 0.0))

    def row(self, name: InstanceName) -> InstanceReport:
        self.settle()
        row, now = self.rows[name], self.now()
        age_s = now - self.began[name]
        if row.phase is not Phase.STARTING:
            return replace(row, age_s=age_s, ever_ready=name in self.ever)
        match self.ill(name):
            case Ill.NEVER_READY:
                return replace(row, age_s=age_s)
            case Ill.CRASHES:
                return self._crashing(row, age_s)
            case Ill.NOT_EXECUTABLE | None:
                pass
        lasted = now - self.ready_from(name)
        if lasted >= 0:
            self.ever.add(name)
            return replace(row, phase=Phase.READY, ready_for_s=lasted, ever_ready=True, age_s=age_s)
        phase = Phase.UNREADY if name in self.ever and now < self.unwell.get(name, 0.0) else Phase.STARTING
        return replace(row, phase=phase, age_s=age_s, ever_ready=name in self.ever)

    @staticmethod
    def _crashing(row: InstanceReport, age_s: float) -> InstanceReport:
        restarts, passed = 0, 0.0
        while passed + (pause := CRASH_EVERY_S[min(restarts, len(CRASH_EVERY_S) - 1)]) <= age_s:
            passed += pause
            restarts += 1
        problem = Problem(ProblemKind.CRASH_LOOPING, "5 exits within 10 min") if restarts >= 5 else None
        phase = Phase.WAITING if age_s > 0.2 else Phase.STARTING
        return replace(
            row, phase=phase, pid=None, age_s=age_s, restarts=restarts, last_exit="exited 1", problem=problem
        )

    def serves(self, name: InstanceName) -> bool:
        """The truth: somebody gets an answer from it."""
        return self.state in SERVING and self.row(name).phase is Phase.READY

    def lives(self, name: InstanceName) -> bool:
        """The truth: it has a process, or gets one without any order."""
        return self.state != KILLED and self.row(name).phase.wants_to_run

    def answers(self, kind: str, port: int, asker: Host) -> bool:
        """What a peer gets from it."""
        if asker.state != UP or self.state == ONLY_US:
            return False
        if kind == "banner":
            return self.state in REACHED_BY_PEERS
        if self.state == PAUSED:
            return kind == "tcp"
        return self.state in (*REACHED_BY_PEERS, REFUSED) and any(
            self.row(name).phase is Phase.READY and port in (number for _, number in row.ports)
            for name, row in list(self.rows.items())
        )


class Wire(ModelLink):
    """A link on which anything may happen to a message."""

    machine: Host

    async def _message(self, verb: str, what: str, answer: Callable[[], Any], *, order: bool = False) -> Any:
        world, machine, run = self.machine.fleet, self.machine, RUN.get()
        fate = world.fate(verb, order=order)
        await asyncio.sleep(MESSAGE_S + machine.slow_s + (world.dice.uniform(0.5, 8.0) if fate is Fate.SLOW else 0.0))
        run.moment()
        await run.thaw()
        await self._met(verb, "before")
        act = (lambda: self._ordered(run, verb, what, answer)) if order else answer
        if fate is not Fate.ARRIVES:
            world.note(f"{verb} {what} to {self.name} {fate.value}")
        if fate is Fate.LATE:
            asyncio.get_running_loop().call_later(world.dice.uniform(0.5, LATE_UP_TO_S), self._arrive, act)
        if fate in (Fate.LATE, Fate.LOST):
            self.closed = True
            raise UnansweredError(self.name, "the link broke")
        said = act()
        if fate is Fate.DOUBLED:
            act()
        run.moment()
        await self._met(verb, "after")
        if fate is Fate.UNANSWERED:
            self.closed = True
            raise UnansweredError(self.name, "the link broke")
        await run.thaw()
        return said

    def _arrive(self, act: Callable[[], Any]) -> None:
        if self.agent == self.machine.agent and self.machine.state in (UP, ONLY_US):
            try:
                act()
            except FleetctlError:
                return

    def _ordered(self, run: Run, verb: str, what: str, answer: Callable[[], Any]) -> Any:
        """Under the observer's eyes."""
        machine, observer = self.machine, self.machine.fleet.observer
        machine.settle()
        if machine.full and verb not in ("stop", "observe"):
            raise HostError(self.name, f"refused to {verb}: No space left on device")
        machine.fleet.orders.append((self.name, verb, what))
        machine.fleet.note(f"    {run.name}: {verb} {what} on {self.name}", detail=True)
        before = observer.before(run, machine, verb, what)
        said = answer()
        run.orders += 1
        if verb == "start":
            machine.started(InstanceName.parse(what))
        observer.after(run, machine, verb, what, before)
        machine.stir()
        return said

    async def _alive(self) -> None:
        machine = self.machine
        if self.closed or self.agent != machine.agent:
            self.closed = True
            raise UnansweredError(self.name, "the link broke")
        if machine.state in (KILLED, CUT, PAUSED, ONLY_PEERS) or machine.fleet.jump_is_down(machine.spec):
            await asyncio.sleep(KEEPALIVE_S)
            self.closed = True
            raise UnansweredError(self.name, "it fell silent")

    async def observe(self) -> HostReport:
        report = await super().observe()
        ready = {row.name for row in report.instances if row.phase is Phase.READY}
        RUN.get().seen_ready[self.name] = ready
        return report

    def _report(self) -> HostReport:
        machine, now = self.machine, self.machine.now()
        machine.settle()
        return replace(
            super()._report(),
            boottime_s=now,
            wallclock_s=1.7e9 + now + machine.wall_off_s,
            address=machine.spec.address,
        )

    async def stop(self, *, generation: Generation, author: str, instance: InstanceName, reason: str) -> InstanceReport:
        machine = self.machine

        def stopped() -> InstanceReport:
            known = machine.known(instance)
            machine.admit(generation, author)
            if known.phase not in (Phase.STOPPING, Phase.STOPPED):
                machine.begin_to_stop(instance, reason)
            return machine.row(instance)

        return await self._message("stop", str(instance), stopped, order=True)

    async def wait(self, instance: InstanceName, *, until: str, for_s: float, timeout_s: float) -> InstanceReport:
        machine, end = self.machine, self.machine.now() + timeout_s
        await self._message("wait", str(instance), lambda: None)
        while True:
            await self._alive()
            row = machine.known(instance)
            if until == "stopped" and row.phase is Phase.STOPPED:
                return row
            if until == "ready" and row.phase is Phase.READY and (row.ready_for_s or 0.0) >= for_s - 1e-9:
                RUN.get().seen_ready.setdefault(self.name, set()).add(instance)
                return row
            hopeless = until == "ready" and not row.phase.wants_to_run
            if hopeless or machine.now() >= end:
                said = f"{instance} was not {until}: {row.phase.value}"
                raise WaitError(self.name, said, log=("its last words",), timed_out=not hopeless)
            due = machine.ends.get(instance) if until == "stopped" else machine.ready_from(instance) + for_s
            left = max(0.0, (due if due is not None else end) - machine.now())
            await machine.next_change(min(left if left > 0 else 5.0, end - machine.now()) + 1e-6)

    async def fetch(self, digest: Digest, into: Path) -> None:
        def fetched() -> None:
            if digest not in self.machine.artifacts:
                raise HostError(self.name, "has no such artifact")
            into.mkdir()

        await self._message("fetch", digest, fetched)

    async def probe(self, questions: Any) -> tuple[Answer, ...]:
        hosts = self.machine.fleet.by_address
        said = [hosts[one.address].answers(one.kind, one.port, self.machine) for one in questions]
        silent_for_s = max((one.timeout_s for one, yes in zip(questions, said, strict=True) if not yes), default=0.0)
        await asyncio.sleep(silent_for_s)
        answers = tuple(Answer(q, Said.YES if yes else Said.NO) for q, yes in zip(questions, said, strict=True))
        return await self._message("probe", "", lambda: answers)

    async def neighbours(self, peers: Any) -> tuple[Reach, ...]:
        hosts, machine = self.machine.fleet.by_address, self.machine

        def tried() -> tuple[Reach, ...]:
            found = []
            for peer, (address, port) in peers.items():
                now = Reach(peer, address, port, ok=hosts[address].answers("banner", port, machine))
                before = machine.tried.get(peer)
                machine.tried[peer] = replace(now, ok=now.ok or (before is not None and before.ok))
                found.append(now)
            return tuple(found)

        return await self._message("neighbours", "", tried)


class KeptCopies:
    """The controller's copies of artifacts, which may be lost with its store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lost = folder, set[str]()
        self._count = 0

    def path(self, digest: Digest) -> Path:
        if digest in self.lost:
            raise StateError(f"no copy of artifact {digest[:12]} is kept")
        return self.folder / digest

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        self._count += 1
        into = self.folder / f"incoming-{self._count}"
        try:
            yield into
        finally:
            if into.exists():
                into.rmdir()

    def take_back(self, digest: Digest, _received: Path) -> bool:
        self.lost.discard(digest)
        return True


class World(ModelFleet):
    """The hosts, and what is between us and them."""

    machines: dict[str, Host]  # type: ignore[assignment]

    def __init__(self, folder: Path, count: int, dice: random.Random, observer: Observer) -> None:
        self.folder, self.dice, self.observer = folder, dice, observer
        self.clock = Clock()
        self.down_jumps: set[str] = set()
        self.jumps_since = -1.0  # when that changed last
        self.ills: dict[tuple[str, str], Ill] = {}  # (artifact, host); no host: on all
        self.chance_of_oddity = 0.0
        self.log: list[tuple[float, str]] = []
        self.in_detail = False  # every order, too
        zones, bastion = "abc", Jump("10.9.9.1")
        specs = tuple(
            HostSpec(
                f"h{n:03}",
                f"10.0.{n // 250}.{n % 250}",
                labels=(("zone", zones[n % 3]),),
                jumps=(bastion,) if n % 7 == 0 else (),
            )
            for n in range(1, count + 1)
        )
        self.machines = {spec.name: Host(spec, self) for spec in specs}
        self.by_address = {host.spec.address: host for host in self.machines.values()}
        self.inventory = Inventory("sim", folder / "hosts.yml", specs, {"all": tuple(self.machines)})
        self.faults, self.full_disks, self.orders = {}, set(), []
        self.never_ready, self.can_not_run, self.dialled, self.told = set(), set(), [], []
        self.contents, self.damaged = {}, set()
        self.refuses_start = lambda _host, _name: False
        self.kept: Any = KeptCopies(folder)

    def note(self, text: str, *, detail: bool = False) -> None:
        if self.in_detail or not detail:
            self.log.append((asyncio.get_running_loop().time(), text))

    def fate(self, verb: str, *, order: bool) -> Fate:
        if not self.chance_of_oddity or self.dice.random() >= self.chance_of_oddity:
            return Fate.ARRIVES
        return self.dice.choice(ODDITIES if order else (Fate.LOST, Fate.UNANSWERED, Fate.SLOW))

    def jump_is_down(self, spec: HostSpec) -> bool:
        return any(jump.address in self.down_jumps for jump in spec.jumps)

    def open_store(self, name: str, user: str) -> Store:
        """A store on a disk that forgets at a power cut: nothing of ours is cut off here."""

        def watched(transaction: str, moment: str) -> None:
            run = RUN.get(None)
            if run is None:
                return
            run.moment()
            if (transaction, moment) == ("write_plan", "after") and run.words is not None:
                run.words()
                run.words = None

        store = Store.open(self.folder / name, clock=self.clock, on_commit=watched)
        store._process = replace(
            store._process,
            pid=1,  # which always lives: a lock that a killed run held has to run out
            started=None,
            user=user,
            host=f"{user}s-desk",
            machine=user,
            boot=f"boot of {user}",
        )
        engine = store._database._reading
        engine.dispose()
        event.listen(engine, "connect", _unsafe)
        return store

    async def dial(self, host: HostSpec, on_banner: Callable[[], None]) -> Wire:
        await RUN.get().thaw()
        machine = self.machines[host.name]
        if self.jump_is_down(host):
            await asyncio.sleep(2.0)
            raise UnreachableError(host.name, Silence.JUMP, "its jump host does not answer")
        if machine.state not in (UP, ONLY_US):
            takes_s, silence = SILENCES[machine.state]
            if machine.state == LOCKED:
                on_banner()
            await asyncio.sleep(takes_s)
            raise UnreachableError(host.name, silence, silence.value)
        on_banner()
        await asyncio.sleep(0.05 + 2 * machine.slow_s)
        return Wire(machine)


def _unsafe(connection: Any, _record: object) -> None:
    for pragma in ("journal_mode = MEMORY", "synchronous = OFF"):
        connection.execute(f"PRAGMA {pragma}")
