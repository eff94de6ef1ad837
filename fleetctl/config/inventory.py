"""An inventory on disk becomes an Inventory: its files, the variables beside them, and what fleetctl makes of both.

The formats are Ansible's. What Ansible passes over with a warning is an error here, and nothing is ever run.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fleetctl.config.groups import Draft, Families, Variable
from fleetctl.config.host_variables import host_spec
from fleetctl.config.inventory_ini import read_ini_inventory
from fleetctl.config.inventory_yaml import read_variables, read_yaml_inventory
from fleetctl.config.quantities import shown
from fleetctl.config.source import Encrypted, Problems, parse_yaml, read_text, read_yaml
from fleetctl.errors import FileError
from fleetctl.model.host import Inventory

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLEET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_YAML_ENDINGS = (".yml", ".yaml", ".json")
_YAML_START = re.compile(r"---|\{|[^\s\[#;:=]+:(?:\s*(?:#.*)?|\s+[^\s=]+)")  # the first line that is no comment
# In a folder, what Ansible leaves out by default.
_IGNORED_ENDINGS = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
_IGNORED_NAMES = ("group_vars", "host_vars", "vars_plugins")
_OF_THE_FLEET = {"fleet": "names", "notify": "is for"}  # variables of "all" alone


def load_inventory(path: Path) -> Inventory:
    """The hosts and groups of an inventory: a YAML or INI file, or a folder of them.

    Raises InvalidFilesError with all that is wrong in its files, FileError where there is none.
    """
    problems = Problems()
    draft = Draft()
    for file in _sources(path):
        try:
            _read_source(file, draft, problems)
        except FileError as error:
            problems.add(error)
    families = draft.complete(problems)
    folder = path if path.is_dir() else path.parent
    _read_beside(folder, draft, families, problems)
    if not draft.hosts and not problems.count():
        problems.add(FileError(str(path), None, "", "names no host"))
    inventory = _inventory(path, folder, families, problems)
    problems.raise_if_any()
    return inventory


def _sources(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = list(_files_below(path))
    if not found:
        raise FileError(str(path), None, "", "has no inventory file in it")
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in _IGNORED_NAMES or entry.name.endswith(_IGNORED_ENDINGS):
            continue
        if entry.is_dir():
            yield from _files_below(entry)
        else:
            yield entry


def _read_source(path: Path, draft: Draft, problems: Problems) -> None:
    _refuse_program(path)
    text = read_text(path)
    if path.suffix == ".toml":
        raise FileError(str(path), None, "", "not supported yet: an inventory in TOML")
    if path.suffix in _YAML_ENDINGS or (not path.suffix and _looks_like_yaml(text)):
        read_yaml_inventory(parse_yaml(text, str(path)), draft, problems)
    else:
        read_ini_inventory(text, str(path), draft, problems)


def _refuse_program(path: Path) -> None:
    """A file that starts as a program does, or may be executed and is no text, would print an inventory."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return  # told where it is read
    if start.startswith((b"#!", b"\x7fELF")) or (b"\0" in start and os.access(path, os.X_OK)):
        raise FileError(str(path), None, "", "not supported yet: an executable inventory")


def _looks_like_yaml(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and line[0] not in "#;"), "")
    return _YAML_START.fullmatch(first) is not None


def _read_beside(folder: Path, draft: Draft, families: Families, problems: Problems) -> None:
    for name, group in families.groups.items():
        group.in_files.update(_variables_of(folder / "group_vars", name, problems))
    for name, host in draft.hosts.items():
        host.in_files.update(_variables_of(folder / "host_vars", name, problems))


def _variables_of(folder: Path, name: str, problems: Problems) -> dict[str, Variable]:
    found: dict[str, Variable] = {}
    for file in _variable_files(folder, name):
        try:
            document = read_yaml(file)
        except FileError as error:
            problems.add(error)
            continue
        if isinstance(document.data, dict):
            found |= read_variables(document, document.data, (), problems)
        elif document.data is not None:
            problems.add(document.error((), f"must be a mapping of variables, not {shown(document.data)}"))
    return found


def _variable_files(folder: Path, name: str) -> list[Path]:
    """`web`, a folder or a file, else `web.yml`, `web.yaml` or `web.json`: the first that is there, as in Ansible."""
    for ending in ("", ".yml", ".yaml", ".json"):
        path = folder / (name + ending)
        if path.is_dir():
            return list(_variable_files_below(path))
        if path.is_file():
            return [path]
    return []


def _variable_files_below(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name.endswith("~"):
            continue
        if entry.is_dir() and not entry.suffix:
            yield from _variable_files_below(entry)
        elif entry.is_file() and entry.suffix in ("", *_YAML_ENDINGS):
            yield entry


def _inventory(path: Path, folder: Path, families: Families, problems: Problems) -> Inventory:
    fleet = _fleet_name(path, families, problems)
    names = families.members["all"]
    variables = {name: families.variables(name) for name in names}
    for key, does in _OF_THE_FLEET.items():
        of_all = families.of_all().get(key)
        for found in variables.values():
            if (own := found.get(key)) and (of_all is None or own.place != of_all.place):
                problems.add(own.place.error(f'{does} the whole fleet: it belongs to the variables of "all"'))
    hosts = tuple(host_spec(name, variables[name], folder, problems) for name in names)
    plain = {
        name: {key: str(v.value) if isinstance(v.value, Encrypted) else v.value for key, v in found.items()}
        for name, found in variables.items()
    }
    notify = _notify(families, problems)
    return Inventory(fleet=fleet, source=path, hosts=hosts, groups=families.members, variables=plain, notify=notify)


def _notify(families: Families, problems: Problems) -> str | None:
    """The command as it is written: it is split as a shell would, and no shell runs it."""
    variable = families.of_all().get("notify")
    if variable is None:
        return None
    command = variable.value
    if not isinstance(command, str):
        problems.add(variable.place.error(f"must be a command with its arguments, as one text, not {shown(command)}"))
        return None
    try:
        words = shlex.split(command)
    except ValueError as error:
        problems.add(variable.place.error(f"can't be split into words: {str(error).lower()}: {shown(command)}"))
        return None
    if not words or not words[0] or "\0" in command:
        problems.add(variable.place.error("must name a command, with a path or one to be found in PATH"))
        return None
    return command


def _fleet_name(path: Path, families: Families, problems: Problems) -> str:
    variable = families.of_all().get("fleet")
    name = variable.value if variable else Path(os.path.abspath(path)).stem  # noqa: PTH100  (links keep their names)
    if isinstance(name, str) and _FLEET.fullmatch(name):
        return name
    rule = "must be a name of letters, digits, dots, - and _"
    if variable:
        problems.add(variable.place.error(f"{rule}, not {shown(name)}"))
    else:
        message = f'would name the fleet, which {rule}: write fleet: NAME into the vars of "all"'
        problems.add(FileError(str(path), None, "", message))
    return ""
