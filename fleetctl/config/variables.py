"""A play's `vars`, with the command line's on top: templates in them are resolved, whatever their order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleetctl.config.source import Encrypted
from fleetctl.config.templates import Scope, evaluate, is_template, names_in
from fleetctl.errors import FileError, UsageError
from fleetctl.model.template import LATE_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.config.source import Document, KeyPath, Problems

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_extra_variables(extra: Mapping[str, object]) -> None:
    """Raises UsageError where a variable of the command line can't be one."""
    for name in extra:
        if complaint := _complaint(name):
            raise UsageError(f'the extra variable "{name}" {complaint}')


def resolve_variables(
    document: Document, path: KeyPath, extra: Mapping[str, object], of_hosts: frozenset[str], problems: Problems
) -> dict[str, object]:
    """The variables below `path`, resolved; `extra` wins over them and is taken as it is. Errors go to `problems`."""
    data: object = document.data
    for part in path:
        data = data[part]  # type: ignore[index]  # the caller has seen that it is there
    assert isinstance(data, dict)
    raw: dict[str, object] = {}
    for name, value in data.items():
        if complaint := _complaint(name):
            problems.add(document.error((*path, str(name)), complaint))
        else:
            raw[name] = value
    return _Resolving(document, path, raw, extra, of_hosts).all(problems)


def _complaint(name: object) -> str | None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return "must be named with letters, digits and _, to be used in templates"
    return "has a name that fleetctl gives out after placement: take another" if name in LATE_NAMES else None


class _Resolving:
    def __init__(
        self,
        document: Document,
        path: KeyPath,
        raw: Mapping[str, object],
        extra: Mapping[str, object],
        of_hosts: frozenset[str],
    ) -> None:
        self._document = document
        self._path = path
        self._raw = raw
        self._done = dict(extra)
        self._of_hosts = of_hosts
        self._failed: dict[str, FileError] = {}
        self._above: list[str] = []

    def all(self, problems: Problems) -> dict[str, object]:
        for name in self._raw:
            try:
                self._resolve(name)
            except FileError as error:
                problems.add(error)
        return self._done

    def _resolve(self, name: str) -> None:
        if name in self._done:
            return
        if name in self._failed:
            raise self._failed[name]
        here = (*self._path, name)
        if name in self._above:
            circle = " > ".join((*self._above[self._above.index(name) :], name))
            raise self._document.error(here, f"variables contain each other in a circle: {circle}")
        self._above.append(name)
        try:
            self._done[name] = self._value(self._raw[name], here)
        except FileError as error:
            self._failed[name] = error
            raise
        finally:
            self._above.pop()

    def _value(self, value: object, path: KeyPath) -> object:
        match value:
            case dict():
                return {key: self._value(item, (*path, str(key))) for key, item in value.items()}
            case list():
                return [self._value(item, (*path, index)) for index, item in enumerate(value)]
            case str() if is_template(value):
                return self._template(value, path)
            case bool():
                return value
            case Encrypted():
                raise self._document.error(path, "not supported yet: a value encrypted with ansible-vault")
            case int() | float():
                self._check_number(value, path)
                return value
            case _:
                return value

    def _template(self, source: str, path: KeyPath) -> object:
        for name in sorted(names_in(source)):
            if name in self._raw:
                self._resolve(name)
        try:
            return evaluate(source, Scope(self._done, self._of_hosts, frozenset(self._raw)))
        except ValueError as error:
            raise self._document.error(path, str(error)) from None

    def _check_number(self, value: float, path: KeyPath) -> None:
        """`version: 1.10` is a number and would be printed as 1.1: surely not what was meant."""
        written = self._document.written.get(path)
        if written is not None and written != str(value):
            raise self._document.error(
                path, f'{written} is a number and would be printed as {value}: write "{written}"'
            )
