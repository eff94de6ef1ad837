"""How a run ended: what needs a human, what is left as it is, each job, and one line of summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.cli.rows import job_rows
from fleetctl.cli.screen import BAD, DOUBTFUL, GOOD, Line
from fleetctl.cli.text import count
from fleetctl.engine.events import Outcome
from fleetctl.errors import ExitCode
from fleetctl.model.plan import HARMLESS, HeldKind
from fleetctl.model.verdict import Health
from fleetctl.plan.explain import remedy

if TYPE_CHECKING:
    from fleetctl.engine.run import RunResult
    from fleetctl.model.plan import Held, Plan
    from fleetctl.model.snapshot import Snapshot
    from fleetctl.model.verdict import HostVerdict

NEEDS_A_HUMAN = "needs a human: "
_ENDS = {
    ExitCode.AS_WISHED: ("as wished", GOOD),
    ExitCode.FAILED: ("not as wished: an operation failed", BAD),
    ExitCode.DEGRADED: ("degraded: needs a human", BAD),
    ExitCode.UNREACHED: ("as wished, but some hosts could not be reached", DOUBTFUL),
    ExitCode.USAGE: ("refused: nothing was touched", DOUBTFUL),
    ExitCode.YIELDED: ("yielded: somebody else, or a newer fleetctl, drives", DOUBTFUL),
    ExitCode.INTERRUPTED: ("interrupted", DOUBTFUL),
}


def run_lines(result: RunResult) -> list[Line]:
    """All that there is to say of a run besides its actions."""
    return [*human_lines(result), *left_lines(result), *job_lines(result), summary_line(result)]


def human_lines(result: RunResult, explained: frozenset[str] = frozenset()) -> list[Line]:
    """One line for each trouble that fleetctl can't end: hosts that are not healthy, what is held back for more than
    a while, and that a human could not be told. Why the hosts of `explained` are doubted was told before."""
    lines = [
        Line(
            NEEDS_A_HUMAN + _host_trouble(name, verdict, result.snapshot, evidence=name not in explained),
            _style(verdict),
        )
        for name, verdict in sorted(result.verdicts.items())
        if verdict.health is not Health.HEALTHY
    ]
    bad = [note for note in sorted(result.plan.held) if note.kind not in HARMLESS]
    lines += [Line(NEEDS_A_HUMAN + _held(note, result), DOUBTFUL) for note in bad]
    return lines + ([Line(NEEDS_A_HUMAN + result.untold, DOUBTFUL)] if result.untold else [])


def _style(verdict: HostVerdict) -> str:
    return DOUBTFUL if verdict.health is Health.SUSPECT else BAD


def _host_trouble(name: str, verdict: HostVerdict, snapshot: Snapshot, *, evidence: bool) -> str:
    hint = "; ".join(remedy(name, verdict, snapshot.hosts.get(name)).splitlines())
    because = f": {verdict.evidence}" if evidence or not hint else ""
    return f"{name} is {verdict.health.value}{because}" + (f"; {hint}" if hint else "")


def _held(note: Held, result: RunResult) -> str:
    """Why a host is doubted was said of the host, and is not said once more."""
    verdict = result.verdicts.get(note.subject)
    said_before = f"{note.subject} is {verdict.health.value}: {verdict.evidence}: " if verdict else ""
    reason = note.reason.removeprefix(said_before) if said_before else note.reason
    return f"{note.subject}: {note.kind.value}: {reason}"


def left_lines(result: RunResult) -> list[Line]:
    """What is not done and needs nobody: it was asked for so, or comes right by itself."""
    harmless = [note for note in sorted(result.plan.held) if note.kind in HARMLESS - {HeldKind.NOTICE}]
    return [Line(f"{note.subject}: {note.kind.value}: {note.reason}") for note in harmless]


def notice_lines(plan: Plan) -> list[Line]:
    """What the wish undoes: only the first plan of a run knows."""
    return [Line(f"notice: {note.reason}", DOUBTFUL) for note in sorted(plan.held) if note.kind is HeldKind.NOTICE]


def job_lines(result: RunResult) -> list[Line]:
    rows = job_rows(result.desired, result.snapshot)
    return [Line(job.sentence(), GOOD if job.whole else DOUBTFUL) for job in rows]


def summary_line(result: RunResult) -> Line:
    """`prod: 3 actions done, 1 failed; degraded: needs a human`."""
    done = sum(one.outcome is Outcome.DONE for one in result.results)
    failed = len(result.results) - done
    what = count(done, "action") + " done" if result.results else "nothing to do"
    told, style = end_of(result.exit_code)
    return Line(f"{result.desired.fleet}: {what}{f', {failed} failed' if failed else ''}; {told}", style)


def end_of(code: int) -> tuple[str, str]:
    """What a run's exit code says of the fleet, and how that looks."""
    return _ENDS[ExitCode(code)] if code in list(ExitCode) else (f"exit {code}", BAD)


def is_worth_telling(result: RunResult) -> bool:
    """In a pipe nothing is said where there was nothing to do and all is well."""
    return bool(result.results or result.untold) or result.exit_code is not ExitCode.AS_WISHED
