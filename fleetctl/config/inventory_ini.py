"""An inventory in Ansible's INI: `[group]`, `[group:vars]`, `[group:children]`, and hosts with `key=value` behind."""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from typing import TYPE_CHECKING

from fleetctl.config.groups import UNGROUPED, Draft, Place, Variable
from fleetctl.config.inventory_yaml import parse_priority
from fleetctl.config.ranges import parse_entry
from fleetctl.config.source import Document
from fleetctl.config.suggest import did_you_mean
from fleetctl.errors import FileError

if TYPE_CHECKING:
    from fleetctl.config.source import KeyPath, Problems

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_CHILD = re.compile(r"([^:\]\s]+)\s*(?:#.*)?")
_KINDS = ("hosts", "vars", "children")


def read_ini_inventory(text: str, file: str, draft: Draft, problems: Problems) -> None:
    """Adds an INI file's hosts and groups to the draft; what is wrong in it goes to `problems`."""
    _IniInventory(file, draft, problems).read(text)


class _IniInventory:
    """Lines in, hosts and groups out. `[group]` and `[group:children]` declare a group, `:vars` and a child do not."""

    def __init__(self, file: str, draft: Draft, problems: Problems) -> None:
        self._file = file
        self._draft = draft
        self._problems = problems

    def read(self, text: str) -> None:
        group, kind = UNGROUPED, "hosts"  # until the first section
        for number, raw in enumerate(text.splitlines(), start=1):
            line = raw.strip()
            if not line or line[0] in "#;":
                continue
            try:
                if (found := _SECTION.fullmatch(line)) or (line.startswith("[") and line.endswith("]")):
                    kind = "nothing"  # what stands below a section that is wrong is not judged
                    group, kind = self._section(line, found, number)
                elif kind == "hosts":
                    self._hosts(group, line, number)
                elif kind == "vars":
                    self._variable(group, line, number)
                elif kind == "children":
                    self._child(group, line, number)
            except ValueError as error:
                self._problems.add(FileError(self._file, number, "", str(error)))
            except FileError as error:
                self._problems.add(error)

    def _section(self, line: str, found: re.Match[str] | None, number: int) -> tuple[str, str]:
        if found is None:
            raise ValueError(f"{line} is not a section, such as [web], [web:vars] or [web:children]")
        group, kind = found[1], found[2] or "hosts"
        if kind not in _KINDS:
            raise ValueError(f"[{group}:{kind}]: a section is of {', '.join(_KINDS)}{did_you_mean(kind, _KINDS)}")
        place = self._place(number, ())
        if kind == "vars":
            self._draft.mention(group, place, f"[{group}:vars] is about a group that is not there")
        else:
            self._draft.declare(group, place)
        return group, kind

    def _hosts(self, group: str, line: str, number: int) -> None:
        if line == "---":
            raise ValueError("--- begins a YAML file: give the file the ending .yml")
        try:
            entry_text, *rest = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"can't be split into words: {str(error).lower()}") from None
        entry = parse_entry(entry_text)
        variables: dict[str, Variable] = {}
        for word in rest:
            name, equals, value = word.partition("=")
            if not equals or not name:
                raise ValueError(f'"{word}" is not key=value, without spaces around the =')
            place = self._place(number, (group, entry_text, name))
            variables[name] = Variable(parse_value(value), place)
        place = self._place(number, (group, entry_text))
        for host_name in entry.names:
            self._draft.host(host_name, entry.port, place).inline.update(variables)
        self._draft.groups[group].hosts.update(dict.fromkeys(entry.names))

    def _variable(self, group: str, line: str, number: int) -> None:
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            raise ValueError(f'"{line}" is not key=value')
        if name == "ansible_group_priority":
            self._draft.groups[group].priority = parse_priority(parse_value(value))
        else:
            place = self._place(number, (f"{group}:vars", name))
            self._draft.groups[group].inline[name] = Variable(parse_value(value), place)

    def _child(self, group: str, line: str, number: int) -> None:
        found = _CHILD.fullmatch(line)
        if found is None:
            raise ValueError(f'"{line}" is not the name of a group')
        place = self._place(number, ())
        self._draft.mention(found[1], place, f'[{group}:children] names a group "{found[1]}" that is not there')
        self._draft.groups[group].children[found[1]] = None

    def _place(self, number: int, path: KeyPath) -> Place:
        return Place(Document(self._file, None, {path: number}), path)


def parse_value(text: str) -> object:
    """What Ansible makes of a value in INI: a Python literal where it is one, else the text itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _plain(value: object) -> object:
    match value:
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case set() | frozenset():
            return [_plain(item) for item in sorted(value, key=repr)]
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return value.decode("utf-8", "replace")
        case complex():
            return str(value)
        case _ if value is ...:
            return "..."
        case _:
            return value
