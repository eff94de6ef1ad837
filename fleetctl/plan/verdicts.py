"""What is believed about each host, from what we and the witnesses saw: DESIGN section 6. Not knowing is `suspect`.

It judges hosts and does nothing about them; `too_much_lost` says when the judgements are too bad to be acted on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from fleetctl.model.plan import Said
from fleetctl.model.snapshot import Phase, Reachable, Silence, Unreachable
from fleetctl.model.verdict import Health, HostVerdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.model.desired import Desired
    from fleetctl.model.instant import Instant
    from fleetctl.model.memory import HostMemory, Memory
    from fleetctl.model.plan import Answer
    from fleetctl.model.snapshot import Observation, Snapshot

TRIES_NEEDED = 3
SILENT_RUNS_NEEDED = 2  # earlier runs without an answer, where no witness exists
SILENT_FOR_S = 60.0  # since the first of them
TOO_MUCH_PERCENT = 55
TOO_MUCH_FROM_HOSTS = 3


def verdicts(
    desired: Desired,  # noqa: ARG001 - paths that hosts share, such as a jump host, will be judged together
    snapshot: Snapshot,
    answers: tuple[Answer, ...],
    memory: Memory,
    now: Instant,
) -> dict[str, HostVerdict]:
    """A verdict for every host of the snapshot. `since` stays while the health does."""
    judged = {}
    for name, seen in sorted(snapshot.hosts.items()):
        known = memory.hosts.get(name)
        about = tuple(sorted((a for a in answers if a.question.about == name), key=lambda a: a.question))
        health, evidence = _judge(seen, about, known, now)
        before = known.verdict if known else None
        since = before.since if before is not None and before.health is health else now
        judged[name] = HostVerdict(health, evidence, since)
    return judged


def too_much_lost(desired: Desired, verdicts: Mapping[str, HostVerdict], snapshot: Snapshot) -> str:
    """Why the fleet, seen whole, is too bad to be true, or nothing: then it is we, or a common cause, that broke.

    Says so with `desired.force` too: whether to act all the same is the plan's decision.
    """
    names = sorted({host.name for host in desired.hosts})
    if not names:
        return ""
    silent = [name for name in names if not isinstance(snapshot.hosts.get(name), Reachable)]
    broken = [name for name in names if name not in silent and _is_broken(verdicts.get(name))]
    bad, total = len(silent) + len(broken), len(names)
    if len(silent) == total:
        return "no host answers" if total > 1 else f"{names[0]}, the only host, does not answer"
    if total >= TOO_MUCH_FROM_HOSTS and bad * 100 >= TOO_MUCH_PERCENT * total:
        what = " or ".join(text for text, some in (("did not answer", silent), ("are broken", broken)) if some)
        return f"{bad} of {total} hosts {what} ({', '.join(silent + broken)})"
    return ""


def _is_broken(verdict: HostVerdict | None) -> bool:
    return verdict is not None and verdict.health is Health.BROKEN


def _judge(
    seen: Observation, answers: tuple[Answer, ...], known: HostMemory | None, now: Instant
) -> tuple[Health, str]:
    match seen:
        case Reachable():
            return Health.HEALTHY, "answers"
        case Unreachable(silence, error, tries):
            return _judge_silence(silence, error, tries, answers, known, now)
        case _:
            assert_never(seen)


def _judge_silence(
    silence: Silence, error: str, tries: int, answers: tuple[Answer, ...], known: HostMemory | None, now: Instant
) -> tuple[Health, str]:
    match silence:
        case Silence.JUMP:
            return Health.SUSPECT, f"{silence.value}: {error}: nothing is known of what is behind it"
        case Silence.LOGIN | Silence.HOST_KEY | Silence.AGENT:
            return Health.SUSPECT, f"{silence.value}: {error}; the machine lives"
        case Silence.SILENT | Silence.REFUSED | Silence.HUNG:
            what = f"{silence.value} ({error})"
        case _:
            assert_never(silence)
    if tries < TRIES_NEEDED:
        return Health.SUSPECT, f"{what}, tried only {tries} of {TRIES_NEEDED} times in this run"
    if living := _signs_of_life(silence, answers):
        return Health.SUSPECT, f"{what}, but {living}"
    denied = [answer for answer in answers if answer.said is Said.NO and answer.question.reached_before]
    if any(answer.question.kind == "banner" for answer in denied):
        return _judge_denied(silence, what, denied, known)
    if any(answer.question.reached_before for answer in answers):
        return Health.SUSPECT, f"{what}, and no witness that has reached it before could be asked"
    return _judge_alone(silence, what, known, now)


def _signs_of_life(silence: Silence, answers: tuple[Answer, ...]) -> str:
    """What a witness got from the host, for people. One is enough; who has reached it before does not matter here."""
    banner = sorted({a.question.witness for a in answers if a.said is Said.YES and a.question.kind == "banner"})
    if banner:
        return f"{_names(banner)} can reach its SSH: our own path to it is broken"
    proving = ("http",) if silence is Silence.HUNG else ("http", "tcp")  # a hung kernel accepts for the dead
    alive = [a for a in answers if a.said is Said.YES and a.question.kind in proving]
    if alive:
        whose = sorted({str(a.question.instance) for a in alive})
        return f"{_names(whose)} still answers {_names(sorted({a.question.witness for a in alive}))}"
    return ""


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


def _judge_alone(silence: Silence, what: str, known: HostMemory | None, now: Instant) -> tuple[Health, str]:
    """No host has reached it before, so nobody can tell us more: only lasting silence counts."""
    if silence is Silence.REFUSED:
        return Health.SUSPECT, f"{what}: the machine lives, and no other host has reached it before"
    runs = known.silent_runs if known else 0
    since = known.silent_since if known else None
    lasted = now - since if since is not None else 0.0
    if runs >= SILENT_RUNS_NEEDED and lasted >= SILENT_FOR_S:
        return Health.LOST, f"{what}, as in {runs} earlier runs, for {lasted:.0f} s; no other host can be asked"
    return Health.SUSPECT, (
        f"{what}, and no other host has reached it before: it counts as lost once it was silent in "
        f"{SILENT_RUNS_NEEDED} earlier runs, the first {SILENT_FOR_S:.0f} s ago"
    )


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
