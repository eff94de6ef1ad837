"""A small fleet by hand: values as the engine would hand them to the command line, without any network."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from fleetctl.engine.events import ActionResult, Outcome
from fleetctl.engine.logs import LogsFound, Said
from fleetctl.engine.read import View
from fleetctl.engine.run import RunResult
from fleetctl.errors import ExitCode  # noqa: TC001
from fleetctl.model.desired import Desired, WantedJob
from fleetctl.model.host import Capacity, HostSpec, Inventory
from fleetctl.model.instant import Instant
from fleetctl.model.job import Digest, JobSpec, PortRequest, Release
from fleetctl.model.memory import HostMemory, JobMemory, Memory, Wish
from fleetctl.model.plan import AwaitReady, Held, HeldKind, Plan, Stage, Start, Stop, Upload
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
    Reachable,
    Silence,
    Snapshot,
    Unreachable,
)
from fleetctl.model.verdict import Health, HostVerdict, Sign

GIB = 1024**3
NOW = Instant(100_000.0)
ARTIFACT = Digest("9f3a21c0" + "0" * 56)
NEXT = Generation(48)


def instance(name: str, phase: Phase = Phase.READY, **more: object) -> InstanceReport:
    return InstanceReport(
        name=InstanceName.parse(name),
        release=3,
        phase=phase,
        ports=(("http", 20017),),
        address="10.0.0.1",
        artifact=ARTIFACT,
        resources=Resources(MilliCpu(500), Bytes(GIB // 4)),
        pid=4711,
        ready_for_s=200.0 if phase is Phase.READY else None,
        ever_ready=bool(more.pop("ever_ready", True)),
        **more,  # type: ignore[arg-type]
    )


FACTS = Facts(MilliCpu(4000), Bytes(8 * GIB), Bytes(100 * GIB), Bytes(60 * GIB), "6.1.0", "x86_64", "3.11.2",
              after_reboot="unit")  # fmt: skip


def reachable(*instances: InstanceReport, notes: tuple[str, ...] = (), facts: Facts = FACTS) -> Reachable:
    report = HostReport(
        serial=7,
        boot="b00t",
        guard=Guard(Generation(47), "ann@desk:3f2a"),
        facts=facts,
        fleet="prod",
        artifacts=frozenset({ARTIFACT}),
        instances=instances,
        notes=notes,
    )
    return Reachable(report, "10.0.0.1")


SILENT = Unreachable(
    Silence.SILENT, "no answer from 10.0.0.3 port 22 in 2 s", tries=3, hint="try it by hand: ssh -v -p 22 10.0.0.3"
)
HEALTHY = HostVerdict(Health.HEALTHY, "answers", Instant(NOW - 7200))
LOST = HostVerdict(Health.LOST, "silent (no answer from 10.0.0.3 port 22 in 2 s), nor does it answer h1 and h2",
                   Instant(NOW - 65), Sign.SILENT)  # fmt: skip

HOSTS = (
    HostSpec("h1", "10.0.0.1", labels=(("zone", "a"),)),
    HostSpec("h2", "10.0.0.2", port=2222, labels=(("zone", "b"),), capacity=Capacity(cpu=MilliCpu(1500))),
    HostSpec("h3", "10.0.0.3", labels=(("zone", "a"),)),
)
SPEC = JobSpec("web", "all", ("./web",), replicas=3, ports=(PortRequest("http"),),
               resources=Resources(MilliCpu(500), Bytes(GIB // 4)))  # fmt: skip
RELEASE = Release(3, SPEC, ARTIFACT)
WEB = WantedJob(RELEASE, RELEASE, (RELEASE,), replicas=3, stopped=False, rolls=False, eligible=("h1", "h2", "h3"))
DESIRED = Desired("prod", HOSTS, (WEB,))


def inventory() -> Inventory:
    return Inventory("prod", Path("/inventories/prod.yml"), HOSTS, {"all": ("h1", "h2", "h3")})


def start(name: str, host: str, reason: str = "web.2 is missing: h3 is lost") -> Start:
    return Start(host, InstanceName.parse(name), 3, (("http", 20021),), "10.0.0.1", reason)


def plan(*stages: tuple[Upload | Start | AwaitReady | Stop, ...], held: tuple[Held, ...] = ()) -> Plan:
    return Plan(NEXT, tuple(Stage(actions) for actions in stages), held, {"h1": HEALTHY, "h2": HEALTHY, "h3": LOST})


def upload() -> Upload:
    return Upload("h2", NEXT, ARTIFACT, "web", "h2 has no copy of it")


def gate() -> AwaitReady:
    return AwaitReady("h2", InstanceName.parse("web.2@48"), 10.0, 300.0, "web.2 serves from there")


def stopping() -> Stop:
    return Stop("h1", InstanceName.parse("web.0@41"), 30.0, "superseded by web.0@47")


MOVING = plan((upload(),), (start("web.2@48", "h2"),), (gate(), stopping()))


def doubt(reason: str) -> Held:
    return Held("h3", HeldKind.SUSPECT, reason)


NO_ROOM = Held("web.2", HeldKind.NO_ROOM, "memory is short on 2 of 2 hosts")


def view(moves: Plan = MOVING, **hosts: Reachable | Unreachable) -> View:
    """web.0 and web.1 run; h3, which had web.2, is lost."""
    seen = {
        "h1": reachable(instance("web.0@47")),
        "h2": reachable(instance("web.1@47", restarts=2, last_exit="exited 42")),
        "h3": SILENT,
        **hosts,
    }
    verdicts = {name: HEALTHY if isinstance(one, Reachable) else LOST for name, one in seen.items()}
    memory = Memory(
        Generation(47),
        {"h3": HostMemory("10.0.0.3", 1, NOW, LOST, (instance("web.2@44"),))},
        {"web": JobMemory(Wish("web", 3, 3, owner="playbooks/web.yml"), {3: RELEASE}, frozenset({3}))},
    )
    return View(DESIRED, memory, Snapshot(NOW, seen), verdicts, moves)


def well(**hosts: Reachable) -> View:
    """All three run and answer; nothing is to be done."""
    nothing_to_do = replace(plan(), verdicts=dict.fromkeys(("h1", "h2", "h3"), HEALTHY))
    found = view(nothing_to_do, **{"h3": reachable(instance("web.2@44")), **hosts})
    return replace(found, memory=replace(found.memory, hosts={}))


def result(code: ExitCode, *results: ActionResult, seen: View | None = None, held: tuple[Held, ...] = ()) -> RunResult:
    last = seen or well()
    return RunResult(code, last.desired, last.snapshot, last.verdicts, plan(held=held), results, sweeps=2)


def done(action: Upload | Start | AwaitReady | Stop, detail: str = "") -> ActionResult:
    return ActionResult(action, Outcome.DONE, detail)


LOCAL_NOON = datetime(2026, 3, 1, 12, 0).timestamp()  # noqa: DTZ001  (times are shown as local ones)


def said(name: str, host: str, text: str | None, after_s: float = 0.0, **more: int) -> Said:
    return Said(LOCAL_NOON + after_s, host, InstanceName.parse(name), more.pop("run", 1), text, **more)


def asked(*instances: str, **unreachable: Unreachable) -> LogsFound:
    """`asked("web.0@47 h1")`"""
    pairs = (instance.split() for instance in instances)
    return LogsFound(frozenset({"web"}), tuple((InstanceName.parse(name), host) for name, host in pairs), unreachable)


CRASHING = instance(
    "web.1@47",
    Phase.WAITING,
    restarts=6,
    last_exit="exited 1",
    problem=Problem(ProblemKind.CRASH_LOOPING, "5 exits in 10 min"),
)


def first_plan() -> Plan:
    return replace(plan(), generation=Generation(1), verdicts={})
