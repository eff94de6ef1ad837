"""What is believed about each host, from what we and the witnesses saw: DESIGN section 6. Not knowing is `suspect`.

It judges hosts and does nothing about them; `too_much_lost` says when the judgements are too bad to be acted on, and
`common_causes` when many of them look like one trouble.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from fleetctl.model.instant import Instant
from fleetctl.model.memory import HostMemory
from fleetctl.model.plan import Answer, Held, HeldKind, Said
from fleetctl.model.snapshot import Phase, Reachable, Silence, Unreachable
from fleetctl.model.verdict import Health, HostVerdict, Sign
from fleetctl.plan.clocks import wrong_clocks
from fleetctl.plan.flapping import TRIES_NEEDED, answered, is_flapping, turns_after
from fleetctl.plan.paths import doubtful_paths
from fleetctl.plan.together import began_together, told_together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.memory import Memory
    from fleetctl.model.plan import Question
    from fleetctl.model.snapshot import HostReport, Snapshot

SILENT_RUNS_NEEDED = 2  # earlier runs without an answer, where no witness exists
SILENT_FOR_S = 60.0  # since the first of them
TOO_MUCH_PERCENT = 55
TOO_MUCH_FROM_HOSTS = 3
SNAPSHOT_HOLDS_S = 30.0  # as long as the run lock's lease: planning takes seconds, so longer means that we slept
FLAPPING = "flapping: it began and ceased to answer three times or more within ten minutes"


@dataclass(frozen=True, slots=True)
class _Belief:
    """A verdict before it is known since when it holds."""

    health: Health
    sign: Sign
    evidence: str


@dataclass(frozen=True, slots=True)
class _Case:
    """All there is to judge one host by, sorted."""

    name: str
    answers: tuple[Answer, ...]
    known: HostMemory | None
    path: str  # why the way to it may be what is broken; empty: nothing speaks for that
    clock: str  # what is wrong with its clock
    company: str  # why its lasting silence proves nothing: others fell silent with it
    flaps: bool
    now: Instant


def verdicts(
    desired: Desired, snapshot: Snapshot, answers: tuple[Answer, ...], memory: Memory, now: Instant
) -> dict[str, HostVerdict]:
    """A verdict for every host of the snapshot. `since` stays while the health does."""
    paths, clocks, company = doubtful_paths(desired, snapshot), wrong_clocks(snapshot), _company(snapshot, memory)
    judged = {}
    for name, seen in sorted(snapshot.hosts.items()):
        known = memory.hosts.get(name)
        about = tuple(sorted((a for a in answers if a.question.about == name), key=_by_question))
        flaps = is_flapping(turns_after(known, answered(seen), now))
        case = _Case(name, about, known, paths.get(name, ""), clocks.get(name, ""), company.get(name, ""), flaps, now)
        match seen:
            case Reachable(report):
                belief = _judge_report(report, case, desired.fleet)
            case Unreachable():
                belief = _judge_silence(seen, case)
            case _:
                assert_never(seen)
        before = known.verdict if known else None
        since = before.since if before is not None and before.health is belief.health else now
        judged[name] = HostVerdict(belief.health, belief.evidence, since, belief.sign)
    return judged


def _by_question(answer: Answer) -> tuple[Question, str]:
    return answer.question, answer.said.value


def too_much_lost(desired: Desired, verdicts: Mapping[str, HostVerdict], snapshot: Snapshot) -> str:
    """Why the inventory, seen whole, is too bad to be true, or nothing: then it is we, or a common cause, that broke.

    A host that refuses us for being older did answer.
    Says so with `desired.force` too: whether to act all the same is the plan's decision.
    """
    names = sorted({host.name for host in desired.inventory})
    if not names:
        return ""
    answered = {*snapshot.reachable(), *snapshot.refusing()}
    silent = [name for name in names if name not in answered]
    broken = [name for name in names if name not in silent and _is_broken(verdicts.get(name))]
    bad, total = len(silent) + len(broken), len(names)
    if len(silent) == total:
        return "no host answers" if total > 1 else f"{names[0]}, the only host, does not answer"
    if total >= TOO_MUCH_FROM_HOSTS and bad * 100 >= TOO_MUCH_PERCENT * total:
        what = " or ".join(text for text, some in (("did not answer", silent), ("are broken", broken)) if some)
        return f"{bad} of {total} hosts {what} ({', '.join(silent + broken)})"
    return ""


def common_causes(
    desired: Desired,
    verdicts: Mapping[str, HostVerdict],
    memory: Memory,
    now: Instant,  # noqa: ARG001 - all that decides is asked alike
) -> tuple[Held, ...]:
    """One for each sign that three hosts of the inventory or more have shown since within ten minutes: told, for a
    human to find the cause.

    Nothing is done about such hosts, with one exception: those that witnesses confirmed to be lost are still moved.
    Holding them back would make the outage last, and the 55 % rule holds them where they are too many.
    """
    found = []
    for sign in Sign:
        if sign is Sign.NONE:
            continue
        alike = {
            host.name: _began(verdicts[host.name], memory.hosts.get(host.name))
            for host in desired.inventory
            if host.name in verdicts and verdicts[host.name].sign is sign
        }
        found += [
            Held(desired.fleet, HeldKind.COMMON_CAUSE, told_together(sign, names)) for names in began_together(alike)
        ]
    return tuple(found)


def is_stale(snapshot_at: Instant, now: Instant) -> bool:
    """Whether so long has passed since a look that this machine must have slept: what it saw may be true no more."""
    return now - snapshot_at > SNAPSHOT_HOLDS_S


def is_another_root(report: HostReport, known: HostMemory | None, fleet: str) -> bool:
    """Whether who answers is not who answered under this name before: by its identity, or where work of ours was and
    the root is another fleet's by now. A root without an identity can't be told else."""
    if known is None:
        return False
    if known.instances and not report.is_open_to(fleet):
        return True
    return "" not in (known.host_id, report.host_id) and known.host_id != report.host_id


def _is_broken(verdict: HostVerdict | None) -> bool:
    return verdict is not None and verdict.health is Health.BROKEN


def _began(verdict: HostVerdict, known: HostMemory | None) -> Instant:
    """When its trouble began: before it was believed, where it was silent in earlier runs."""
    silent_since = known.silent_since if known else None
    return verdict.since if silent_since is None else min(silent_since, verdict.since)


def _company(snapshot: Snapshot, memory: Memory) -> dict[str, str]:
    """By host: that others fell silent with it, in the same way and within ten minutes."""
    told = {}
    for silence in (Silence.SILENT, Silence.REFUSED, Silence.HUNG):
        since = {
            name: known.silent_since
            for name, seen in snapshot.unreachable().items()
            if seen.silence is silence and (known := memory.hosts.get(name)) and known.silent_since is not None
        }
        for names in began_together(since):
            told.update(dict.fromkeys(names, told_together(Sign(silence.value), names)))
    return told


def _judge_report(report: HostReport, case: _Case, fleet: str) -> _Belief:
    if is_another_root(report, case.known, fleet):
        evidence = f"its root has another identity than {case.name} had: a reinstalled or another machine"
        if not report.is_open_to(fleet):
            evidence = f"its root belongs to the fleet {report.fleet!r}: another machine, or another root on it"
        return _Belief(Health.SUSPECT, Sign.IDENTITY, evidence)
    if case.flaps:
        return _Belief(Health.SUSPECT, Sign.FLAPPING, FLAPPING)
    if case.clock:
        return _Belief(Health.BROKEN, Sign.CLOCK, case.clock)
    return _Belief(Health.HEALTHY, Sign.NONE, "answers")


def _judge_silence(seen: Unreachable, case: _Case) -> _Belief:
    """`lost` takes a layer that may mean death, three tries, and somebody's word or lasting silence; all else is
    `suspect`, but a host that lives and refuses us for being older."""
    if case.flaps:
        return _Belief(Health.SUSPECT, Sign.FLAPPING, FLAPPING)
    silence, living = seen.silence, signs_of_life(seen.silence, case.answers)
    if silence is Silence.NEWER:
        return _Belief(Health.HEALTHY, Sign.NONE, f"it is {seen.error}, and takes no order from here")
    sign = Sign(silence.value)
    match silence:
        case Silence.JUMP:
            said = living or "nothing is known of what is behind it"
            return _Belief(Health.SUSPECT, sign, f"{silence.value}: {seen.error}: {said}")
        case Silence.LOGIN | Silence.HOST_KEY | Silence.AGENT:
            return _Belief(Health.SUSPECT, sign, f"{silence.value}: {seen.error}; the machine lives")
        case Silence.SILENT | Silence.REFUSED | Silence.HUNG:
            what = f"{silence.value} ({seen.error})"
        case _:
            assert_never(silence)
    if not tried_enough(seen):
        evidence = f"{what}, tried only {seen.tries} of {TRIES_NEEDED} times in this run"
        return _Belief(Health.SUSPECT, sign, evidence)
    if living:
        return _Belief(Health.SUSPECT, sign, f"{what}, but {living}")
    if case.path:
        return _Belief(Health.SUSPECT, Sign.JUMP, f"{what}; {case.path}")
    health, evidence = _judge_by_others(silence, what, case)
    return _Belief(health, sign, evidence)


def tried_enough(seen: Unreachable) -> bool:
    """Whatever the store remembers: only what failed in this run counts."""
    return seen.tries >= TRIES_NEEDED


def signs_of_life(silence: Silence, answers: tuple[Answer, ...]) -> str:
    """What a witness got from the host, for people. One is enough; who has reached it before does not matter here."""
    banner = sorted({a.question.witness for a in answers if a.said is Said.YES and a.question.kind == "banner"})
    if banner:
        return f"{_names(banner)} can reach its SSH: our own path to it is broken"
    alive = [a for a in answers if a.said is Said.YES and proves_life(a.question.kind, silence)]
    if alive:
        whose = sorted({str(a.question.instance) for a in alive})
        return f"{_names(whose)} still answers {_names(sorted({a.question.witness for a in alive}))}"
    return ""


def proves_life(kind: str, silence: Silence) -> bool:
    """Whether such a probe that a witness repeats shows a living service. A bare connect does so only where SSH is
    silent or refused: on a hung host the kernel accepts for the dead, and behind a jump host none can tell which."""
    return kind in ("banner", "http") or (kind == "tcp" and silence in (Silence.SILENT, Silence.REFUSED))


def denials(answers: tuple[Answer, ...]) -> list[Answer]:
    """What counts as `gives no answer`: only the word of who has reached the host before."""
    return [answer for answer in answers if answer.said is Said.NO and answer.question.reached_before]


def _judge_by_others(silence: Silence, what: str, case: _Case) -> tuple[Health, str]:
    """No witness got anything from it: whether they could have, and what we know where there is none."""
    denied = denials(case.answers)
    if any(answer.question.kind == "banner" for answer in denied):
        return _judge_denied(silence, what, denied, case.known)
    if any(answer.question.reached_before for answer in case.answers):
        return Health.SUSPECT, f"{what}, and no witness that has reached it before could be asked"
    return _judge_alone(silence, what, case)


def _judge_denied(silence: Silence, what: str, denied: list[Answer], known: HostMemory | None) -> tuple[Health, str]:
    """Witnesses that have reached it before get nothing now."""
    witnesses = _names(sorted({answer.question.witness for answer in denied}))
    if silence is not Silence.REFUSED:
        return Health.LOST, f"{what}, nor does it answer {witnesses}"
    were_ready = {row.name for row in known.instances if row.phase is Phase.READY} if known else set()
    gone = sorted({str(a.question.instance) for a in denied if a.question.instance in were_ready})
    if gone:
        return Health.LOST, f"{what}, and {_names(gone)}, ready before, does not answer {witnesses}"
    return Health.SUSPECT, f"{what}: the machine lives, and no instance with a ready port was there to tell more"


def _judge_alone(silence: Silence, what: str, case: _Case) -> tuple[Health, str]:
    """No host has reached it before, so nobody can tell us more: only lasting silence counts, and only its own."""
    if silence is Silence.REFUSED:
        return Health.SUSPECT, f"{what}: the machine lives, and no other host has reached it before"
    if not has_lasted(case.known, case.now):
        return Health.SUSPECT, (
            f"{what}, and no other host has reached it before: it counts as lost once it was silent in "
            f"{SILENT_RUNS_NEEDED} earlier runs, the first {SILENT_FOR_S:.0f} s ago"
        )
    if case.company:
        return Health.SUSPECT, f"{what}, no other host has reached it before, and {case.company}"
    return Health.LOST, f"{what}, as in {SILENT_RUNS_NEEDED} earlier runs or more; no other host can be asked"


def has_lasted(known: HostMemory | None, now: Instant) -> bool:
    """Silent in two earlier runs as well, the first of them at least 60 s ago."""
    if known is None or known.silent_since is None:
        return False
    return known.silent_runs >= SILENT_RUNS_NEEDED and now - known.silent_since >= SILENT_FOR_S


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
