"""What can go wrong, told to the person who reads it: what happened, where, and what to do next.

Every error carries its exit code; one handler in `cli` prints them. Nothing here imports anything of ours.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What a command's end means; where several apply, the first of 130, 2, 5, 1, 3, 4, 0."""

    AS_WISHED = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3
    UNREACHED = 4
    YIELDED = 5
    INTERRUPTED = 130


class FleetctlError(Exception):
    """Anything fleetctl refuses or fails at. `context` says while doing what, `hint` what to do next."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, context: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint

    def lines(self) -> list[str]:
        """The error as it is printed, without the leading `error: `."""
        rest = [f"  while {self.context}"] if self.context else []
        return [self.message, *rest, *(f"  {line}" for line in self.hint.splitlines())]

    def as_json(self) -> dict[str, Any]:
        return {
            "error": self.message,
            "context": self.context,
            "hint": self.hint,
            "exit_code": int(self.exit_code),
        }


class UsageError(FleetctlError):
    """Wrong usage or an invalid file: nothing was touched."""

    exit_code = ExitCode.USAGE


class FileError(UsageError):
    """Something is wrong at one place of one file: `playbooks/web.yml:14: jobs.web.repicas: unknown key`."""

    def __init__(self, file: str, line: int | None, path: str, message: str, *, hint: str = "") -> None:
        where = f"{file}:{line}" if line is not None else file
        super().__init__(": ".join(part for part in (where, path, message) if part), hint=hint)
        self.file, self.line, self.path, self.reason = file, line, path, message


class InvalidFilesError(UsageError):
    """Everything that is wrong in the files of one command, so that it can be mended in one go."""

    def __init__(self, errors: tuple[FileError, ...]) -> None:
        super().__init__("\n".join(error.message for error in errors))
        self.errors = errors


class NotSupportedError(UsageError):
    """A key or option whose feature is not built yet: refused by name, never ignored."""


class HostError(FleetctlError):
    """One host could not do what it was asked; `host` names it."""

    def __init__(self, host: str, message: str, *, context: str = "", hint: str = "") -> None:
        super().__init__(f"{host}: {message}", context=context, hint=hint)
        self.host = host
        self.reason = message


class YieldError(FleetctlError):
    """Someone else drives: the run lock is held, or our order was stale."""

    exit_code = ExitCode.YIELDED


class StateError(FleetctlError):
    """The state store can't be used: what it is and how to mend it."""


class LiveRunError(YieldError):
    """Another run holds the run lock: it does the work, and nothing was touched."""


class DrivenElsewhereError(YieldError):
    """The fleet was driven by somebody else, or from another store, since this store last did: nothing was touched."""


class StaleOrderError(YieldError):
    """A host has seen a newer generation, or this one by another author: somebody else drives the fleet now."""

    def __init__(self, host: str, generation: int, author: str) -> None:
        super().__init__(
            f"{host} refused the order: generation {generation} by {author} is newer",
            hint="let them finish, then drive the fleet with their store; "
            "to take over in turn: fleetctl heal --take-over",
        )
        self.host, self.generation, self.author = host, generation, author


class ChangedError(HostError):
    """Something on the host changed since it was observed: look again."""

    def __init__(self, host: str, serial: int) -> None:
        super().__init__(host, "changed since it was observed")
        self.serial = serial


class ForeignRootError(HostError):
    """The root on this host belongs to another fleet."""


class InstanceExistsError(HostError):
    """An instance of that name is there with another spec, or was stopped before."""


class UnansweredError(HostError):
    """A request went out and no answer came: what it did is unknown until the host is asked again."""


class WaitError(HostError):
    """A gate was not passed. `log` holds the instance's last lines, `timed_out` tells slowness from failure."""

    def __init__(self, host: str, message: str, *, log: tuple[str, ...], timed_out: bool) -> None:
        super().__init__(host, message)
        self.log, self.timed_out = log, timed_out
