"""The whole story of one host: what is believed, what was tried and said, what is remembered, what would change it.

It tells what `verdicts` decided from the same input, and decides nothing itself. Ages are in words; the command line
adds times of day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from fleetctl.model.desired import Desired
from fleetctl.model.host import HostSpec
from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory, Memory
from fleetctl.model.plan import Answer, Said
from fleetctl.model.snapshot import Observation, Reachable, Silence, Snapshot, Unreachable
from fleetctl.model.verdict import Health, HostVerdict, Sign
from fleetctl.plan.flapping import TURNS_HELD, TURNS_WITHIN_S, answered, turns_after
from fleetctl.plan.paths import behind, path_of
from fleetctl.plan.verdicts import SILENT_FOR_S, SILENT_RUNS_NEEDED, has_lasted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.memory import Cordon
    from fleetctl.model.snapshot import InstanceReport


@dataclass(frozen=True, slots=True)
class Part:
    """One question that a person asks of a host, and what there is to say: never nothing."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    host: str
    verdict: HostVerdict
    since_s: float  # for how long it has been believed
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Story:
    """All there is to tell one host's story from."""

    spec: HostSpec
    desired: Desired
    snapshot: Snapshot
    seen: Observation
    answers: tuple[Answer, ...]
    known: HostMemory | None
    memory: Memory
    verdict: HostVerdict
    now: Instant


def explain(
    host: str,
    desired: Desired,
    snapshot: Snapshot,
    answers: tuple[Answer, ...],
    memory: Memory,
    verdicts: Mapping[str, HostVerdict],
    now: Instant,
) -> Explanation:
    """Raises KeyError for a host that was not looked at."""
    story = _Story(
        spec=next(spec for spec in desired.hosts if spec.name == host),
        desired=desired,
        snapshot=snapshot,
        seen=snapshot.hosts[host],
        answers=tuple(sorted((a for a in answers if a.question.about == host), key=lambda a: a.question)),
        known=memory.hosts.get(host),
        memory=memory,
        verdict=verdicts[host],
        now=now,
    )
    since_s = max(0.0, now - story.verdict.since)
    parts = (
        Part("tried now", _tried(story)),
        Part("witnesses", _witnesses(story)),
        Part("earlier runs", _earlier(story)),
        Part("began or ceased to answer", _turns(story)),
        Part("path", _path(story)),
        Part("set by people", _people(story)),
        Part("what runs there", _work(story)),
        Part("what would change the verdict", _outlook(story)),
    )
    return Explanation(host, story.verdict, since_s, parts)


def remedy(host: str, verdict: HostVerdict, seen: Observation | None) -> str:
    """What a person can do about a host, in one line or a few; nothing where there is nothing to say."""
    if verdict.sign is Sign.IDENTITY:
        return f"if that is right: fleetctl hosts --forget {host}"
    if verdict.sign is Sign.CLOCK:
        return f"set it right, and see that its time service runs: ssh {host} timedatectl"
    return seen.hint if isinstance(seen, Unreachable) else ""


def cordon_text(cordon: Cordon) -> str:
    """`cordoned by ann: disk swap`, `draining, by ann`."""
    return f"{'draining,' if cordon.drains else 'cordoned'} by {cordon.by}{': ' + cordon.why if cordon.why else ''}"


def span(seconds: float) -> str:
    """`35 s`, `4 min`, `3 h`, `2 d`, for people."""
    for least_s, unit_s, unit in ((172800, 86400, "d"), (7200, 3600, "h"), (120, 60, "min")):
        if seconds >= least_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _tried(story: _Story) -> tuple[str, ...]:
    match story.seen:
        case Reachable(report, address):
            agent = "its agent" if report.agent else "its files, no agent runs"
            return (f"it answered from {address}: {agent} gave report {report.serial} of boot {report.boot}",)
        case Unreachable(silence, error, tries, hint):
            times = f"{tries} {'try' if tries == 1 else 'tries'}" if tries else "no try of this look"
            return (f"{times}: {silence.value}: {error}", *hint.splitlines())
        case _:
            assert_never(story.seen)


def _witnesses(story: _Story) -> tuple[str, ...]:
    if story.answers:
        return tuple(_said(answer) for answer in story.answers)
    if isinstance(story.seen, Reachable):
        return ("none was asked: it answers us",)
    if story.seen.silence in (Silence.LOGIN, Silence.HOST_KEY, Silence.AGENT):
        return ("none was asked: that it lives is known",)
    return ("none could be asked: no other host answers",)


def _said(answer: Answer) -> str:
    asked = answer.question
    what = "its SSH banner" if asked.kind == "banner" else f"{asked.instance}'s {asked.kind} probe"
    where = f"{asked.address} port {asked.port}"
    match answer.said:
        case Said.YES:
            heard = "got it"
        case Said.NO:
            heard = "got nothing"
        case Said.NOTHING:
            heard = "could not be asked"
        case _:
            assert_never(answer.said)
    detail = f" ({answer.detail})" if answer.detail else ""
    before = (
        "it had reached it before" if asked.reached_before else "it never reached it before, so a no proves nothing"
    )
    return f"{asked.witness}, asked for {what} at {where}: {heard}{detail}; {before}"


def _earlier(story: _Story) -> tuple[str, ...]:
    known = story.known
    if known is None:
        return ("it was never looked at before",)
    lines = []
    if known.verdict is not None:
        was = known.verdict
        lines.append(f"last believed: {was.health.value}, from {_ago(story, was.since)} on: {was.evidence}")
    if known.silent_runs and known.silent_since is not None:
        runs = "1 run" if known.silent_runs == 1 else f"{known.silent_runs} runs in a row"
        lines.append(f"silent in {runs} before this one, the first {_ago(story, known.silent_since)}")
    else:
        lines.append("it was not silent in the run before this one")
    return tuple(lines)


def _turns(story: _Story) -> tuple[str, ...]:
    turns = turns_after(story.known, answered(story.seen), story.now)
    within = span(TURNS_WITHIN_S)
    if not turns:
        return (f"not in the last {within}",)
    return (f"{len(turns)} of {TURNS_HELD} changes in {within}: {', '.join(_ago(story, turn) for turn in turns)}",)


def _path(story: _Story) -> tuple[str, ...]:
    spec = story.spec
    if not spec.jumps:
        return (f"directly to {spec.address} port {spec.port}",)
    others = [name for name in behind(story.desired, story.snapshot, spec.jumps) if name != spec.name]
    reachable = story.snapshot.reachable()
    told = ", ".join(f"{name} {'answers' if name in reachable else 'does not answer'}" for name in others)
    beside = f"behind it too: {told}" if told else "no other host is behind it"
    return (f"through {path_of(spec.jumps)} to {spec.address} port {spec.port}", beside)


def _people(story: _Story) -> tuple[str, ...]:
    lines = []
    if (cordon := story.memory.cordons.get(story.spec.name)) is not None:
        lines.append(cordon_text(cordon))
    if story.spec.name in story.desired.gone:
        lines.append("gone from the inventory: its work moves off, and it is shown until it is forgotten")
    return tuple(lines) or ("neither cordoned nor gone from the inventory",)


def _work(story: _Story) -> tuple[str, ...]:
    known = story.known
    lines = []
    if isinstance(story.seen, Reachable):
        lines += [f"{row.name} {row.phase.value}, release {row.release}" for row in _held(story.seen.report.instances)]
    elif known is not None:
        lines += [f"{row.name}, last known as {row.phase.value}, release {row.release}" for row in known.instances]
    if known is not None and known.behind:
        lines.append(f"behind: {', '.join(sorted(known.behind))} was deployed while it was silent")
    return tuple(lines) or ("nothing that is known of",)


def _held(rows: tuple[InstanceReport, ...]) -> list[InstanceReport]:
    return [row for row in rows if row.phase.holds_room]


def _outlook(story: _Story) -> tuple[str, ...]:
    """One text for each state: what has to happen for the verdict to be another."""
    match story.verdict.health:
        case Health.HEALTHY:
            return ("three tries that fail in one run make it suspect",)
        case Health.LOST:
            return ("one answer, to us or to a witness: what was started elsewhere stays, and the older is stopped",)
        case Health.BROKEN:
            return ("its clock is right again; it counts against the median of the hosts that answer",)
        case Health.SUSPECT:
            return _outlook_of_suspect(story)
        case _:
            assert_never(story.verdict.health)


def _outlook_of_suspect(story: _Story) -> tuple[str, ...]:
    match story.verdict.sign:
        case Sign.FLAPPING:
            return (f"it is judged anew once fewer than {TURNS_HELD} changes lie within {span(TURNS_WITHIN_S)}",)
        case Sign.IDENTITY:
            return (f"it is a new host once the old one is forgotten: fleetctl hosts --forget {story.spec.name}",)
        case Sign.LOGIN:
            return ("it is healthy once it lets us in; a host that lives is never lost, so its work stays there",)
        case Sign.HOST_KEY:
            return ("it is healthy once its key is known; a host that lives is never lost, so its work stays there",)
        case Sign.AGENT:
            return ("it is healthy once its agent reports; a host that lives is never lost, so its work stays there",)
        case Sign.JUMP:
            return ("it is judged by itself once another host behind the same path answers",)
        case Sign.SILENT | Sign.REFUSED | Sign.HUNG:
            return _outlook_of_silent(story)
        case Sign.CLOCK | Sign.NONE:
            return ("an answer makes it healthy",)
        case _:
            assert_never(story.verdict.sign)


def _outlook_of_silent(story: _Story) -> tuple[str, ...]:
    healthy = "an answer makes it healthy"
    if any(answer.said is Said.YES for answer in story.answers):
        return (healthy, "it counts as lost only once no witness gets anything from it any more")
    if story.verdict.sign is Sign.REFUSED:
        return (
            healthy,
            "refused, it counts as lost only if an instance that was ready there gives no witness an answer",
        )
    if any(answer.question.reached_before for answer in story.answers):
        return (healthy, "it counts as lost once a witness that has reached it before can be asked and gets nothing")
    if has_lasted(story.known, story.now):
        return (healthy, "others fell silent with it: it counts as lost once they are back, or a witness gets nothing")
    runs = story.known.silent_runs if story.known else 0
    since = story.known.silent_since if story.known else None
    so_far = f"{runs} so far" + (f", {span(story.now - since)}" if since is not None else "")
    needed = f"{SILENT_RUNS_NEEDED} earlier runs, the first {SILENT_FOR_S:.0f} s ago"
    return (healthy, f"it counts as lost once it was silent in {needed}: {so_far}")


def _ago(story: _Story, instant: Instant) -> str:
    return f"{span(max(0.0, story.now - instant))} ago"
