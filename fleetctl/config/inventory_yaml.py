"""An inventory in YAML: groups with `hosts`, `vars` and `children`, as Ansible's own format has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetctl.config.groups import Draft, Place, Variable
from fleetctl.config.quantities import shown
from fleetctl.config.ranges import parse_entry
from fleetctl.config.suggest import did_you_mean
from fleetctl.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetctl.config.source import Document, KeyPath, Problems

_KEYS = ("hosts", "vars", "children")
_PRIORITY = "ansible_group_priority"


def read_yaml_inventory(document: Document, draft: Draft, problems: Problems) -> None:
    """Adds a YAML file's hosts and groups to the draft; what is wrong in it goes to `problems`."""
    data = document.data
    if data is None:
        problems.add(document.error((), "is empty: an inventory names at least one host"))
    elif not isinstance(data, dict):
        problems.add(document.error((), f"an inventory is a mapping of groups, not {shown(data)}"))
    elif "plugin" in data and isinstance(data["plugin"], str):
        problems.add(document.error(("plugin",), f"not supported yet: inventory plugin {data['plugin']}"))
    else:
        _YamlInventory(document, draft, problems).groups(data, ())


class _YamlInventory:
    def __init__(self, document: Document, draft: Draft, problems: Problems) -> None:
        self._document = document
        self._draft = draft
        self._problems = problems

    def groups(self, data: Mapping[object, object], path: KeyPath) -> list[str]:
        """Reads each group of a mapping and tells their names."""
        names: list[str] = []
        for name, content in data.items():
            here = (*path, str(name))
            if not isinstance(name, str):
                self._wrong(path, f'a group is named by text: write "{name}" in quotes')
                continue
            try:
                self._draft.declare(name, Place(self._document, here))
            except FileError as error:
                self._problems.add(error)
                continue
            names.append(name)
            if isinstance(content, dict):
                self._group(name, content, here)
            elif content is not None:
                self._wrong(here, f"must be a group with {', '.join(_KEYS)}, not {shown(content)}")
        return names

    def _group(self, name: str, content: Mapping[object, object], path: KeyPath) -> None:
        for key, value in content.items():
            here = (*path, str(key))
            if key not in _KEYS:
                self._wrong(here, f"unknown key{did_you_mean(str(key), _KEYS) or ': a group has ' + ', '.join(_KEYS)}")
                continue
            section = {value: None} if isinstance(value, str) and key != "vars" else value
            if section is None:
                continue
            if not isinstance(section, dict):
                example = ', each written as "name:"' if isinstance(value, list) else ""
                self._wrong(here, f"must be a mapping{example}, not {shown(value)}")
            elif key == "vars":
                self._group_variables(name, section, here)
            elif key == "children":
                self._draft.groups[name].children.update(dict.fromkeys(self.groups(section, here)))
            else:
                self._hosts(name, section, here)

    def _group_variables(self, name: str, section: Mapping[object, object], path: KeyPath) -> None:
        group = self._draft.groups[name]
        found = self._variables(section, path)
        priority = found.pop(_PRIORITY, None)
        group.inline |= found
        if priority is not None:
            try:
                group.priority = parse_priority(priority.value)
            except ValueError as error:
                self._problems.add(priority.place.error(str(error)))

    def _hosts(self, group: str, section: Mapping[object, object], path: KeyPath) -> None:
        for text, content in section.items():
            here = (*path, str(text))
            if not isinstance(text, str):
                self._wrong(here, f'a host is named by text: write "{text}" in quotes')
                continue
            if content is not None and not isinstance(content, dict):
                self._wrong(here, f"must be a mapping of the host's variables, or nothing, not {shown(content)}")
                continue
            try:
                entry = parse_entry(text)
                hosts = [self._draft.host(name, entry.port, Place(self._document, here)) for name in entry.names]
            except ValueError as error:
                self._wrong(here, str(error))
                continue
            except FileError as error:
                self._problems.add(error)
                continue
            self._draft.groups[group].hosts.update(dict.fromkeys(entry.names))
            variables = self._variables(content or {}, here)
            for host in hosts:
                host.inline |= variables

    def _variables(self, section: Mapping[object, object], path: KeyPath) -> dict[str, Variable]:
        return read_variables(self._document, section, path, self._problems)

    def _wrong(self, path: KeyPath, message: str) -> None:
        self._problems.add(self._document.error(path, message))


def read_variables(
    document: Document, section: Mapping[object, object], path: KeyPath, problems: Problems
) -> dict[str, Variable]:
    """A mapping's variables with their places; names that are no text go to `problems`."""
    found: dict[str, Variable] = {}
    for name, value in section.items():
        if isinstance(name, str):
            found[name] = Variable(value, Place(document, (*path, name)))
        else:
            problems.add(document.error((*path, str(name)), f'a variable is named by text: write "{name}" in quotes'))
    return found


def parse_priority(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"must be a whole number, not {shown(value)}")
