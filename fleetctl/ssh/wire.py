"""What a host may say, and the model types it becomes. Hosts are not trusted: all is bounded, typed, and cleaned of
control characters, so that nothing a host sends can pass for ours on a terminal.

The shapes are those of `host/protocol.py`. What a newer host says besides is passed over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from fleetctl.model.job import Digest
from fleetctl.model.log import LogEntry, LogPage
from fleetctl.model.replica import Generation, InstanceName
from fleetctl.model.resources import Bytes, MilliCpu, Resources
from fleetctl.model.snapshot import (
    Event,
    Facts,
    Guard,
    HostReport,
    InstanceReport,
    Phase,
    Problem,
    ProblemKind,
    Reach,
    StuckProcess,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT_CHARS_MAX = 2_000  # of a reason or a message: more is cut off
LAST_LINE_CHARS_MAX = 16_000  # of those that explain a failure; of `logs` nothing is cut off, a whole answer is bounded
LOG_LINES_MAX = 10_000
INSTANCES_MAX = 10_000
ARTIFACTS_MAX = 100_000
EVENTS_MAX = 1_000
PATH_BYTES_MAX = 4096  # Linux's PATH_MAX

_VERSION = re.compile(r"\d{1,9}(\.\d{1,9})*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # all but tab


class GarbledError(ValueError):
    """A host said something that is not of the agreed shape."""


def clean(text: str) -> str:
    """`text` as one line without anything that a terminal obeys."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\n", " "))


def _clean_lines(text: str) -> str:
    return "\n".join(map(clean, text.split("\n")))


def _cut(limit: int) -> Callable[[object], object]:
    return lambda value: value[:limit] if isinstance(value, str) else value


Whole = Annotated[int, Field(ge=0, lt=2**63)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
Wallclock = Annotated[float, Field(ge=0, le=1e11)]  # of any year that can be shown
Text = Annotated[str, BeforeValidator(_cut(TEXT_CHARS_MAX)), AfterValidator(clean)]
Lines = Annotated[str, BeforeValidator(_cut(TEXT_CHARS_MAX)), AfterValidator(_clean_lines)]
LastLine = Annotated[str, BeforeValidator(_cut(LAST_LINE_CHARS_MAX)), AfterValidator(clean)]
LogLine = Annotated[str, AfterValidator(clean)]
Word = Annotated[str, Field(max_length=253), AfterValidator(clean)]  # a name, an address, a version
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(max_length=120), AfterValidator(lambda text: str(InstanceName.parse(text)))]
Ports = Annotated[dict[Word, Port], Field(max_length=1000)]


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Complaint(_Said):
    """The error of an answer, or of the handshake."""

    kind: Word
    message: Text = ""
    hint: Lines = ""
    generation: Whole = 0
    author: Text = ""
    serial: Whole = 0
    found: Word = ""
    log: Annotated[list[LastLine], Field(max_length=LOG_LINES_MAX)] = []


class Running(_Said):
    version: Word
    digest: Word


class Hello(_Said):
    """Step 3 of the handshake in `host/entry.py`."""

    hello: Literal[1]
    python: Annotated[list[Whole], Field(max_length=5)]
    root: Annotated[str, Field(max_length=4096, pattern=r"^(/[^\x00-\x1f\x7f]*)?$")]
    address: Word
    send: bool
    running: Running | None = None
    error: Complaint | None = None

    def notes(self, ours: str) -> tuple[str, ...]:
        """For who only looks: whoever gives orders is refused there."""
        theirs = self.running.version if self.running else ""
        if not _VERSION.fullmatch(theirs) or _numbers(theirs) <= _numbers(ours):
            return ()
        refused = f"it is driven by fleetctl {theirs}; this is {ours}, and can order nothing there"
        return (f"{refused}; install fleetctl {theirs} or newer",)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


class Linked(_Said):
    linked: Literal[0, 1]
    by: Literal["agent", "look"] = "agent"
    error: Complaint | None = None


class Ack(_Said):
    """The envelope of every answer."""

    id: Word
    ok: bool
    error: Complaint | None = None


class _Problem(_Said):
    kind: ProblemKind = Field(strict=False)
    detail: Text
    port: Port | None = None
    pid: Whole | None = None


class _Stuck(_Said):
    pid: Whole
    state: Word = ""
    why: Text = ""


class _Usage(_Said):
    cpu_s: Annotated[Seconds, Field(ge=0)]
    memory_bytes: Whole
    peak_bytes: Whole
    processes: Whole

    def usage(self) -> Usage:
        return Usage(self.cpu_s, Bytes(self.memory_bytes), Bytes(self.peak_bytes), self.processes)


class _Event(_Said):
    at: Seconds
    run: Whole
    what: Text

    def event(self) -> Event:
        return Event(self.at, self.run, self.what)


class _Resources(_Said):
    cpu_milli: Whole
    memory_bytes: Whole
    disk_bytes: Whole


class Row(_Said):
    instance: Name
    release: Whole
    phase: Phase = Field(strict=False)
    pid: Whole | None
    ready_for_s: Seconds | None
    ever_ready: bool
    restarts: Whole
    last_exit: Text | None
    reason: Text
    problem: _Problem | None
    age_s: Seconds
    ports: Ports
    address: Word
    artifact: Sha256 | None
    resources: _Resources
    dropped_bytes: Whole
    stuck: Annotated[list[_Stuck], Field(max_length=10_000)]
    # What agents of an older version don't tell is not known.
    said: Text = ""
    limits: Text = ""
    usage: _Usage | None = None
    story: Annotated[list[_Event], Field(max_length=EVENTS_MAX)] | None = None

    def report(self) -> InstanceReport:
        problem = self.problem
        return InstanceReport(
            name=InstanceName.parse(self.instance),
            release=self.release,
            phase=self.phase,
            ports=tuple(sorted(self.ports.items())),
            address=self.address,
            artifact=None if self.artifact is None else Digest(self.artifact),
            resources=Resources(
                MilliCpu(self.resources.cpu_milli),
                Bytes(self.resources.memory_bytes),
                Bytes(self.resources.disk_bytes),
            ),
            pid=self.pid,
            ready_for_s=self.ready_for_s,
            ever_ready=self.ever_ready,
            restarts=self.restarts,
            last_exit=self.last_exit,
            reason=self.reason,
            problem=None if problem is None else Problem(problem.kind, problem.detail, problem.port, problem.pid),
            age_s=self.age_s,
            dropped=Bytes(self.dropped_bytes),
            stuck=tuple(StuckProcess(one.pid, one.state, one.why) for one in self.stuck),
            said=self.said,
            limits=self.limits,
            usage=self.usage.usage() if self.usage else None,
            story=None if self.story is None else tuple(event.event() for event in self.story),
        )


class _Reach(_Said):
    host: Word
    address: Word
    port: Port
    ok: bool
    age_s: Seconds = 0.0


class _Guard(_Said):
    generation: Whole
    author: Text
    at: Seconds


class _Facts(_Said):
    cpu_milli: Whole
    memory_bytes: Whole
    disk_total_bytes: Whole
    disk_free_bytes: Whole
    kernel: Word
    arch: Word
    python: Word
    limits: Text
    boot: Text = ""


class Report(_Said):
    serial: Whole
    boot: Word
    boottime_s: Seconds
    wallclock_s: Seconds
    address: Word
    host_id: Word
    fleet: Word | None
    guard: _Guard
    facts: _Facts
    ports_in_use: Annotated[list[Port], Field(max_length=65536)]
    artifacts: Annotated[list[Sha256], Field(max_length=ARTIFACTS_MAX)]
    instances: Annotated[list[Row], Field(max_length=INSTANCES_MAX)]
    reach: Annotated[list[_Reach], Field(max_length=10_000)]
    notes: Annotated[list[Text], Field(max_length=1000)]
    from_memory: Text = ""

    def report(self, *, agent: bool, address: str) -> HostReport:
        """`address` is where sshd saw us arrive, as the handshake told it."""
        facts, guard = self.facts, self.guard
        instances = tuple(sorted((row.report() for row in self.instances), key=lambda row: row.name))
        if len({row.name for row in instances}) != len(instances):
            raise GarbledError("an instance is reported twice")
        return HostReport(
            serial=self.serial,
            boot=self.boot,
            guard=Guard(Generation(guard.generation), guard.author, guard.at),
            facts=Facts(
                cpu=MilliCpu(facts.cpu_milli),
                memory=Bytes(facts.memory_bytes),
                disk_total=Bytes(facts.disk_total_bytes),
                disk_free=Bytes(facts.disk_free_bytes),
                kernel=facts.kernel,
                arch=facts.arch,
                python=facts.python,
                limits=facts.limits,
                after_reboot=facts.boot,
            ),
            host_id=self.host_id,
            fleet=self.fleet,
            address=address or self.address,
            agent=agent,
            boottime_s=self.boottime_s,
            wallclock_s=self.wallclock_s,
            ports_in_use=frozenset(self.ports_in_use),
            artifacts=frozenset(Digest(artifact) for artifact in self.artifacts),
            instances=instances,
            reach=_reach(self.reach),
            notes=tuple(self.notes),
            from_memory=self.from_memory,
        )


class Observed(_Said):
    report: Report


class Claimed(_Said):
    serial: Whole


class About(_Said):
    instance: Row


class Wished(_Said):
    """What `claim` left there, back again: whoever rebuilds something from it validates it."""

    wishes: dict[str, Any] | None


class _Gap(_Said):
    before: Whole
    bytes: Whole
    at: Wallclock
    run: Whole


class Logged(_Said):
    """Older agents tell lines alone."""

    lines: Annotated[list[LogLine], Field(max_length=LOG_LINES_MAX)]
    times: Annotated[list[Wallclock], Field(max_length=LOG_LINES_MAX)] = []
    runs: Annotated[list[Whole], Field(max_length=LOG_LINES_MAX)] = []
    gaps: Annotated[list[_Gap], Field(max_length=100_000)] = []
    next: Annotated[str, Field(pattern=r"^(\d{1,10}:\d{1,18}:\d{1,18})?$")] = ""
    cut: bool = False
    partial: bool = False
    missed: bool = False
    wallclock_s: Wallclock = 0.0

    def page(self) -> LogPage:
        count = len(self.lines)
        times, runs = self.times or [0.0] * count, self.runs or [0] * count
        if len(times) != count or len(runs) != count:
            raise GarbledError("not every line has a time and a run")
        entries = [LogEntry(at, run, text) for text, at, run in zip(self.lines, times, runs, strict=True)]
        for gap in reversed(self.gaps):
            entries.insert(gap.before, LogEntry(gap.at, gap.run, None, gap.bytes))
        if self.missed:
            first = entries[0] if entries else LogEntry(self.wallclock_s, 0, None)
            entries.insert(0, LogEntry(first.at, first.run, None))
        return LogPage(tuple(entries), self.next, self.cut, self.partial, self.wallclock_s)


class Heard(_Said):
    key: Word
    ok: bool
    detail: Text = ""


class Probed(_Said):
    answers: Annotated[list[Heard], Field(max_length=10_000)]


class Reached(_Said):
    reach: Annotated[list[_Reach], Field(max_length=10_000)]

    def report(self) -> tuple[Reach, ...]:
        return _reach(self.reach)


class Received(_Said):
    """The answer of `host/receive.py`."""

    received: Annotated[int, Field(ge=-1)]
    kind: Word = ""
    message: Text = ""


class Offered(_Said):
    """The first line of `host/send.py`: how much is to come, or why nothing is."""

    entries: Annotated[int, Field(ge=-1)]
    message: Text = ""


class OfferedEntry(_Said):
    """A file or link that `host/send.py` has; its names are bytes, told as Latin-1."""

    path: Annotated[str, Field(max_length=PATH_BYTES_MAX)]
    size: Whole = 0
    executable: bool = False
    target: Annotated[str, Field(max_length=PATH_BYTES_MAX)] | None = None


def _reach(rows: list[_Reach]) -> tuple[Reach, ...]:
    return tuple(Reach(row.host, row.address, row.port, row.ok, row.age_s) for row in rows)


Shape = TypeVar("Shape", bound=BaseModel)


def parse(shape: type[Shape], said: Any) -> Shape:
    """`said` as a value of that shape. Raises GarbledError, which names the first place that is wrong."""
    try:
        return shape.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise GarbledError(clean(f"{place}: {first['msg']}"[:TEXT_CHARS_MAX])) from None
