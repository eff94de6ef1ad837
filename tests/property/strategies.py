"""Fleets in every state that a bad night can leave them in: doubles, unknowns, stale and failed instances, mixed
releases, full hosts, strangers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from fleetctl.model.job import Constraint, JobSpec, PortRequest, Release
from fleetctl.model.memory import JobMemory, Wish
from fleetctl.model.replica import Generation, InstanceName, ReplicaName
from fleetctl.model.snapshot import InstanceReport, Phase, Problem, ProblemKind, Silence
from fleetctl.model.verdict import Health
from tests.unit.plan.fleets import HTTP, Fleet, digest, fixed, host, instance, job, resources

if TYPE_CHECKING:
    from fleetctl.model.host import HostSpec

HANDED_OUT = (PortRequest("http"),)
SIZES = (resources(), resources(cpu=250), resources(cpu=500, memory=1), resources(memory=4))
BUDGETS = (0, 1, 1, 2, "50%", "25%")
LIVE = (Phase.STARTING, Phase.READY, Phase.READY, Phase.READY, Phase.UNREADY, Phase.WAITING)
ENDED = (Phase.STOPPING, Phase.STOPPED, Phase.FAILED, Phase.STUCK)
PROBLEMS = (ProblemKind.PORT_TAKEN, ProblemKind.EXIT_125, ProblemKind.NOT_EXECUTABLE, ProblemKind.ARTIFACT_MISSING)
EPOCH_MAX = 9


@st.composite
def host_specs(draw: st.DrawFn) -> list[HostSpec]:
    return [
        host(
            f"h{number}",
            zone=draw(st.sampled_from(["a", "b", None])),
            cpu=draw(st.sampled_from([500, 1000, 4000])),
            memory=draw(st.sampled_from([1, 4, 8])),
        )
        for number in range(1, draw(st.integers(1, 6)) + 1)
    ]


@st.composite
def job_specs(draw: st.DrawFn, name: str) -> JobSpec:
    ports = draw(st.sampled_from([HANDED_OUT, HANDED_OUT, HANDED_OUT, fixed(8080), ()]))
    return job(
        name,
        replicas=draw(st.integers(1, 4)),
        command=(draw(st.sampled_from(["./a", "./b"])),),
        ports=ports,
        ready=HTTP if ports and draw(st.booleans()) else None,
        resources=draw(st.sampled_from(SIZES)),
        spread=draw(st.sampled_from([None, "zone"])),
        constraints=draw(st.sampled_from([(), (), (Constraint("zone", "!=", "b"),)])),
        hosts=draw(st.sampled_from(["all", "all", "all", "h1:h2:h3"])),
        max_unavailable=draw(st.sampled_from(BUDGETS)),
    )


@st.composite
def jobs(draw: st.DrawFn, name: str) -> JobMemory:
    """One to three releases, some good, the newest wished."""
    specs = draw(st.lists(job_specs(name), min_size=1, max_size=3))
    releases = {number: Release(number, spec, digest(number, name)) for number, spec in enumerate(specs, 1)}
    if len(specs) > 1 and draw(st.booleans()):  # the wish differs from the release before in what needs no restart
        newest = replace(specs[-2], replicas=specs[-1].replicas, update=specs[-1].update)
        releases[len(specs)] = Release(len(specs), newest, digest(len(specs) - 1, name))
    good = draw(st.frozensets(st.sampled_from(sorted(releases)), max_size=2))
    wished = releases[len(specs)]
    stopped = draw(st.sampled_from([False, False, False, True]))
    return JobMemory(Wish(name, wished.number, wished.spec.replicas, stopped), releases, good)


@st.composite
def rows(draw: st.DrawFn, name: str, releases: list[int], index: int) -> InstanceReport:
    phase = draw(st.sampled_from(draw(st.sampled_from([LIVE, LIVE, LIVE, ENDED]))))
    epoch = draw(st.integers(1, EPOCH_MAX))
    ready = phase is Phase.READY
    return InstanceReport(
        name=InstanceName(ReplicaName(name, index), Generation(epoch)),
        release=draw(st.sampled_from(releases)),
        phase=phase,
        ports=(("http", draw(st.sampled_from([8080, 20000 + 10 * epoch + index]))),),
        ready_for_s=draw(st.sampled_from([1.0, 3600.0])) if ready else None,
        ever_ready=ready or phase is Phase.UNREADY or draw(st.booleans()),
        age_s=draw(st.sampled_from([1.0, 3600.0])),
        problem=Problem(draw(st.sampled_from(PROBLEMS)), "in this test") if phase is Phase.FAILED else None,
    )


def fleets() -> st.SearchStrategy[Fleet]:
    return st.one_of(wild_fleets(), tidy_fleets(), strained_fleets())


@st.composite
def tidy_fleets(draw: st.DrawFn) -> Fleet:
    """One job that ran well, often a new release, one or two things gone wrong: what most nights are like."""
    fleet = Fleet.of(*(host(f"h{number}") for number in range(1, draw(st.integers(2, 6)) + 1)))
    names = sorted(fleet.machines)
    spec = replace(draw(job_specs("web")), replicas=draw(st.integers(2, 5)), constraints=(), hosts="all")
    fleet.wish(spec, good=True)
    for index in range(spec.replicas):
        fleet.put(names[index % len(names)], _served(spec, instance(f"web.{index}@1")))
    if draw(st.booleans()):
        fleet.wish(replace(spec, command=("./c",), update=draw(job_specs("web")).update))
        fleet.rolls = draw(st.sampled_from([frozenset({"web"}), frozenset({"web"}), frozenset()]))
    index = draw(st.integers(0, spec.replicas - 1))
    number = draw(st.sampled_from(sorted(fleet.jobs["web"].releases)))
    where = names[(index + draw(st.integers(0, 1))) % len(names)]
    match draw(st.sampled_from(["nothing", "worse", "double", "unfinished"])):
        case "worse":  # an instance of an epoch is in one place only
            worse = draw(rows("web", [1], index))
            worse = replace(worse, name=InstanceName(worse.name.replica, Generation(1)))
            fleet.put(names[index % len(names)], _served(spec, worse))
        case "double":
            double = draw(rows("web", [number], index))
            fleet.put(where, _served(spec, replace(double, name=InstanceName(double.name.replica, Generation(2)))))
        case "unfinished":
            number, age_s = max(fleet.jobs["web"].releases), draw(st.sampled_from([1.0, 3600.0]))
            fleet.put(where, _served(spec, instance(f"web.{index}@2", Phase.STARTING, release=number, age_s=age_s)))
    if draw(st.booleans()):
        break_some(draw, fleet)
    meddle(draw, fleet)
    return fleet


@st.composite
def strained_fleets(draw: st.DrawFn) -> Fleet:
    """A replica on each host but one, all alike, often with no room for a second, and perhaps a stranger on that one;
    one thing is asked for, and one or two hosts are in trouble: where budgets decide."""
    fleet = Fleet.of(*(host(f"h{number}") for number in range(1, draw(st.integers(4, 6)) + 1)))
    spare, *names = sorted(fleet.machines)
    ports = draw(st.sampled_from([HANDED_OUT, fixed(8080), fixed(8080)]))
    if draw(st.booleans()):
        fleet.put(spare, instance("old.0@1", ports=(("http", 8080),)))
    spec = job(replicas=len(names), ports=ports, max_unavailable=draw(st.integers(1, 3)))
    number = fleet.wish(spec, good=True)
    asked = draw(st.sampled_from(["roll", "roll", "restart", "gone", "behind"]))
    if asked in ("roll", "behind"):
        number = fleet.wish(replace(spec, command=("./c",)), good=asked == "behind")
    for index, name in enumerate(names):
        old = asked != "behind" or index == 0
        epoch, release = (1, 1) if old else (2, number)
        row = instance(f"web.{index}@{epoch}", draw(st.sampled_from(LIVE[1:5])), release=release)
        fleet.put(name, _served(spec, row))
    match asked:
        case "roll":
            fleet.rolls = frozenset({"web"})
            fleet.allow_unreachable = draw(st.integers(0, 2))
        case "restart":
            fleet.fresh_from = {"web": Generation(fleet.generation + 1)}
        case "gone":
            fleet.take_out_of_the_inventory(*names[: draw(st.integers(1, len(names)))])
            fleet.rolls = draw(st.sampled_from([frozenset({"web"}), frozenset()]))
        case "behind":
            fleet.behind = {names[0]: frozenset({"web"})}
            fleet.wish(job("db", replicas=len(names)))
    for name in sorted(draw(st.frozensets(st.sampled_from(names), max_size=2))):
        fleet.lose(name) if draw(st.booleans()) else fleet.doubt(name)
    return fleet


def _served(spec: JobSpec, row: InstanceReport) -> InstanceReport:
    return replace(row, ports=tuple((port.name, port.fixed or dict(row.ports)[port.name]) for port in spec.ports))


@st.composite
def wild_fleets(draw: st.DrawFn) -> Fleet:
    """Everything at once."""
    fleet = Fleet.of(*draw(host_specs()))
    names = sorted(fleet.machines)
    for name in draw(st.sampled_from([["web"], ["web", "db"]])):
        fleet.jobs[name] = draw(jobs(name))
    for name in [*fleet.jobs, *draw(st.sampled_from([[], ["old"]]))]:
        releases = sorted(fleet.jobs[name].releases) if name in fleet.jobs else [1]
        most = fleet.jobs[name].wish.replicas if name in fleet.jobs else 1
        for index in range(most + 1):
            # One instance of an epoch is in one place only: its plan started the replica once.
            found = draw(st.lists(rows(name, releases, index), max_size=3, unique_by=lambda row: row.name.epoch))
            for row in found:
                fleet.put(draw(st.sampled_from(names)), row)
    fleet.generation = EPOCH_MAX + 1
    fleet.rolls = draw(st.frozensets(st.sampled_from(sorted(fleet.jobs))))
    break_some(draw, fleet)
    meddle(draw, fleet)
    return fleet


def break_some(draw: st.DrawFn, fleet: Fleet) -> None:
    for name in sorted(fleet.machines):
        happens = draw(st.sampled_from(["nothing"] * 6 + ["lost", "lost", "suspect", "suspect", "flapping"]))
        silence = draw(st.sampled_from([Silence.SILENT, Silence.REFUSED, Silence.HUNG]))
        if happens == "lost":
            fleet.lose(name, silence=silence)
        elif happens == "suspect":
            fleet.doubt(name, silence=silence)
        elif happens == "flapping":
            fleet.machines[name].health = Health.SUSPECT  # though it answers now
    fleet.force = draw(st.sampled_from([False, False, True]))


def meddle(draw: st.DrawFn, fleet: Fleet) -> None:
    """What a person may have said of hosts and jobs, in any mixture."""
    names = sorted(fleet.machines)
    some = st.frozensets(st.sampled_from(names), max_size=2)
    match draw(st.sampled_from(["nothing"] * 3 + ["cordons", "drains", "gone", "limit", "restart", "behind", "all"])):
        case "cordons":
            fleet.cordon(*draw(some))
        case "drains":
            fleet.cordon(*draw(some), drains=True)
        case "gone":
            fleet.take_out_of_the_inventory(*draw(some))
        case "limit":
            fleet.limit = draw(st.frozensets(st.sampled_from(names)))
        case "restart":
            restart(draw, fleet)
        case "behind":
            leave_behind(draw, fleet)
        case "all":
            fleet.cordon(*draw(some))
            fleet.cordon(*draw(some), drains=True)
            fleet.take_out_of_the_inventory(*draw(some))
            fleet.limit = draw(st.one_of(st.none(), st.frozensets(st.sampled_from(names))))
            restart(draw, fleet)
            leave_behind(draw, fleet)


def restart(draw: st.DrawFn, fleet: Fleet) -> None:
    """What was placed before this sweep is restarted, or before an earlier one of the same run."""
    name = draw(st.sampled_from(sorted(fleet.jobs)))
    if name not in fleet.rolls:
        fleet.fresh_from = {name: Generation(draw(st.integers(1, fleet.generation + 1)))}


def leave_behind(draw: st.DrawFn, fleet: Fleet) -> None:
    """By an earlier deploy, and by this one."""
    names, jobs = sorted(fleet.machines), sorted(fleet.jobs)
    hosts = draw(st.frozensets(st.sampled_from(names), max_size=2))
    fleet.behind = {host: draw(st.frozensets(st.sampled_from(jobs), min_size=1)) for host in sorted(hosts)}
    fleet.allow_unreachable = draw(st.integers(0, 2))
