"""A playbook on disk becomes jobs: read, templates resolved, keys checked, and everything that is wrong told at once.

Nothing is touched and no host is asked; what comes out is the same as long as the files are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fleetctl.config.job import JobReader
from fleetctl.config.patterns import match_hosts
from fleetctl.config.quantities import shown
from fleetctl.config.shapes import PlayShape, check_shape
from fleetctl.config.source import Problems, read_yaml
from fleetctl.config.templates import Scope, evaluate
from fleetctl.config.variables import check_extra_variables, resolve_variables
from fleetctl.errors import FileError, UsageError
from fleetctl.model.job import JobSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.config.source import Document, KeyPath
    from fleetctl.model.host import Inventory


@dataclass(frozen=True, slots=True)
class PlaybookJob:
    """A job, where it stands, what it runs and which hosts its play's pattern means."""

    spec: JobSpec
    artifact: Path | None
    file: str
    line: int
    eligible: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Playbook:
    path: Path
    jobs: tuple[PlaybookJob, ...]


def load_playbook(
    path: Path, inventory: Inventory, extra_vars: Mapping[str, object] = MappingProxyType({})
) -> Playbook:
    """The jobs of a playbook; `extra_vars` win over the plays' own.

    Raises InvalidFilesError with all that is wrong in it, UsageError for an impossible extra variable.
    """
    check_extra_variables(extra_vars)
    problems = Problems()
    try:
        document = read_yaml(path)
    except FileError as error:
        problems.add(error)
        problems.raise_if_any()
        raise
    reading = _Reading(document, path.parent, inventory, extra_vars, problems)
    jobs = reading.plays()
    problems.raise_if_any()
    return Playbook(path, jobs)


class _Reading:
    def __init__(
        self,
        document: Document,
        folder: Path,
        inventory: Inventory,
        extra: Mapping[str, object],
        problems: Problems,
    ) -> None:
        self._document = document
        self._folder = folder
        self._inventory = inventory
        self._extra = extra
        self._problems = problems
        self._of_hosts = frozenset(name for found in inventory.variables.values() for name in found)
        self._lines: dict[str, int] = {}  # where each job was first seen

    def plays(self) -> tuple[PlaybookJob, ...]:
        data = self._document.data
        if data is None or data == []:
            self._wrong((), "is empty: a playbook is a list of plays")
        elif not isinstance(data, list):
            self._wrong((), f"a playbook is a list of plays, each beginning with a dash, not {shown(data)}")
        else:
            return tuple(job for number, play in enumerate(data) for job in self._play(play, (number,)))
        return ()

    def _play(self, data: object, path: KeyPath) -> list[PlaybookJob]:
        if not isinstance(data, dict):
            self._wrong(path, f"a play is a mapping with hosts and jobs, not {shown(data)}")
            return []
        before = self._problems.count()
        scope = self._scope(data, path)
        if scope is None:
            return []
        evaluated = {key: self._evaluated(data[key], (*path, key), scope) for key in ("name", "hosts") if key in data}
        told = self._problems.count() > before
        check_shape(PlayShape, data | evaluated, self._document, path, self._problems)
        hosts, jobs = evaluated.get("hosts"), data.get("jobs")
        eligible = self._match(hosts, (*path, "hosts")) if isinstance(hosts, str) and not told else ()
        reader = JobReader(self._document, self._folder, self._inventory, scope, self._problems)
        names = jobs if isinstance(jobs, dict) else {}
        found = [self._job(reader, str(name), (*path, "jobs", name), str(hosts), eligible) for name in names]
        return [job for job in found if job] if self._problems.count() == before else []

    def _scope(self, data: dict[object, object], path: KeyPath) -> Scope | None:
        """The play's variables; none where one of them is wrong, since all that uses it would be called wrong too."""
        before = self._problems.count()
        variables = dict(self._extra)
        if isinstance(data.get("vars"), dict):
            variables = resolve_variables(self._document, (*path, "vars"), self._extra, self._of_hosts, self._problems)
        return Scope(variables, self._of_hosts) if self._problems.count() == before else None

    def _evaluated(self, value: object, path: KeyPath, scope: Scope) -> object:
        try:
            return evaluate(value, scope) if isinstance(value, str) else value
        except ValueError as error:
            self._wrong(path, str(error))
            return value

    def _match(self, pattern: str, path: KeyPath) -> tuple[str, ...]:
        try:
            return match_hosts(pattern, self._inventory)
        except UsageError as error:
            self._wrong(path, error.message)
            return ()

    def _job(
        self, reader: JobReader, name: str, path: KeyPath, hosts: str, eligible: tuple[str, ...]
    ) -> PlaybookJob | None:
        line = self._document.line(path) or 1
        if name in self._lines:
            self._wrong(path, f"is there twice: first in line {self._lines[name]}")
        self._lines.setdefault(name, line)
        found = reader.read(name, path, hosts, eligible)
        return PlaybookJob(found.spec, found.artifact, self._document.file, line, eligible) if found else None

    def _wrong(self, path: KeyPath, message: str) -> None:
        self._problems.add(self._document.error(path, message))
