"""How a run ended: what was found, what was done, what needs a human."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleetctl.cli.rows import job_rows
from fleetctl.cli.screen import BAD, DOUBTFUL, GOOD, Line
from fleetctl.cli.show_plan import held_lines, host_trouble_lines
from fleetctl.cli.text import count
from fleetctl.engine.events import Outcome
from fleetctl.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetctl.engine.run import RunResult
    from fleetctl.state.store import RunRecord

SAY_AGAIN_S = 3600.0  # cron mails whatever is said: a trouble that lasts, once an hour
_LASTING = re.compile(r"\b\d+(\.\d+)? (s|min|h|d)\b")

_ENDS = {
    ExitCode.AS_WISHED: ("as wished", GOOD),
    ExitCode.FAILED: ("not as wished: an operation failed", BAD),
    ExitCode.DEGRADED: ("degraded: needs a human", BAD),
    ExitCode.UNREACHED: ("as wished, but some hosts could not be reached", DOUBTFUL),
}


def run_lines(result: RunResult) -> list[Line]:
    """Hosts in trouble, what is held back, each job, and one line of summary."""
    lines = host_trouble_lines(result.verdicts, result.snapshot)
    lines += held_lines(result.plan)
    for job in job_rows(result.desired, result.snapshot):
        lines.append(Line(job.sentence(), GOOD if job.whole else DOUBTFUL))
    done = sum(one.outcome is Outcome.DONE for one in result.results)
    failed = len(result.results) - done
    told, style = _ENDS.get(result.exit_code, (f"exit {int(result.exit_code)}", BAD))
    what = count(done, "action") + " done" if result.results else "nothing to do"
    lines.append(Line(f"{result.desired.fleet}: {what}{f', {failed} failed' if failed else ''}; {told}", style))
    return lines


def repeats(code: ExitCode, lines: list[Line], earlier: tuple[RunRecord, ...], now_wall: float) -> bool:
    """Whether a heal that did nothing would say what an earlier one said within the hour, with nothing else between.

    `earlier` are the fleet's runs, newest first, each with what it said. How long something lasts by now is no news.
    """
    for run in earlier:
        if run.command != "heal" or run.exit_code != code:
            return False
        if run.lines:
            said, to_say = _gist(run.lines), _gist(line.text for line in lines)
            return now_wall - run.started_wall < SAY_AGAIN_S and said[:-1] == to_say[:-1]  # the last counts what it did
    return False


def _gist(lines: Iterable[str]) -> list[str]:
    return [_LASTING.sub("_", line) for line in lines]


def is_worth_telling(result: RunResult) -> bool:
    """In a pipe nothing is said where there was nothing to do and all is well."""
    return bool(result.results) or result.exit_code is not ExitCode.AS_WISHED
