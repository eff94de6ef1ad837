"""Errors as they are printed: what, where, while doing what, what next. The one place that does so."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

from fleetctl.cli.screen import Screen, complain
from fleetctl.errors import ExitCode, FleetctlError, InvalidFilesError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ORDER = (
    ExitCode.INTERRUPTED,
    ExitCode.USAGE,
    ExitCode.YIELDED,
    ExitCode.FAILED,
    ExitCode.DEGRADED,
    ExitCode.UNREACHED,
    ExitCode.AS_WISHED,
)  # DESIGN section 8: the first that applies


class DefectError(FleetctlError):
    """Something nobody foresaw: ours to mend."""


def told(error: Exception) -> FleetctlError:
    """The error to tell: of several that came together, the one whose exit code comes first."""
    ours = [leaf for leaf in _leaves(error) if isinstance(leaf, FleetctlError)]
    if ours:
        return min(ours, key=lambda leaf: _ORDER.index(leaf.exit_code))
    leaf = next(_leaves(error))
    what = f"{type(leaf).__name__}: {leaf}" if str(leaf) else type(leaf).__name__
    return DefectError(
        f"fleetctl has a defect: {what}", hint="run it again with --debug and report what it says; nothing else is lost"
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def error_lines(error: FleetctlError) -> list[str]:
    """`error: …` for each thing that is wrong, with its context and hint indented below."""
    if isinstance(error, InvalidFilesError):
        return [line for one in error.errors for line in error_lines(one)]
    first, *rest = error.lines()
    return [*(f"error: {line}" for line in first.splitlines()), *rest]


def error_json(error: FleetctlError) -> dict[str, Any]:
    """`{"version": 1, "error", "context", "hint", "exit_code", "errors": [ERROR]}`.

    "errors" is there only where files are invalid; ERROR is {"file", "line", "path", "reason", "hint"}.
    """
    document = {"version": 1, **error.as_json()}
    if isinstance(error, InvalidFilesError):
        document["errors"] = [
            {"file": one.file, "line": one.line, "path": one.path, "reason": one.reason, "hint": one.hint}
            for one in error.errors
        ]
    return document


def print_error(error: Exception, *, as_json: bool, debug: bool) -> ExitCode:
    """To standard error, or as JSON to standard output; a traceback only for who asked for it."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    what = told(error)
    if as_json:
        Screen.standard().document(error_json(what))
    else:
        complain(error_lines(what))
    return what.exit_code
