"""YAML with the line of every key, so that whatever is wrong can be told as `file:line: path: what`.

Plain data comes out: text, numbers, true and false, lists, mappings. Nothing here knows what the data means.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from fleetctl.errors import FileError, InvalidFilesError

if TYPE_CHECKING:
    from pathlib import Path

KeyPath = tuple[str | int, ...]

_NODES_MAX = 1_000_000  # aliases of aliases grow without bound; a fleet of thousands of hosts stays below this
_TEXT_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A value that ansible-vault keeps: opaque to us, refused where it is needed."""

    def __str__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class Document:
    """One file's data, the line of each key and item in it, and each scalar's text as it stands there."""

    file: str
    data: object
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    written: Mapping[KeyPath, str] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """The line of `path`, or of the nearest thing around it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def error(self, path: KeyPath, message: str) -> FileError:
        return FileError(self.file, self.line(path), dotted(path), message)


class Problems:
    """Everything found wrong so far, told together in the end so that it can be mended in one go."""

    def __init__(self) -> None:
        self._errors: list[FileError] = []

    def add(self, error: FileError) -> None:
        if not any(str(error) == str(known) for known in self._errors):
            self._errors.append(error)

    def count(self) -> int:
        return len(self._errors)

    def raise_if_any(self) -> None:
        if self._errors:
            raise InvalidFilesError(tuple(sorted(self._errors, key=lambda error: (error.file, error.line or 0))))


def dotted(path: KeyPath) -> str:
    """`jobs.web.command[2]`. The number of a play in its list is left out: the line says which."""
    while path and isinstance(path[0], int):
        path = path[1:]
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_text(path: Path) -> str:
    """The text of a file. Raises FileError that says why it can't be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileError(str(path), None, "", "no such file") from None
    except OSError as error:
        raise FileError(str(path), None, "", f"can't be read: {error.strerror or error}") from None
    if len(content) > _TEXT_MAX:
        raise FileError(str(path), None, "", "is larger than 64 MiB: not a file to read settings from")
    if content.startswith(b"$ANSIBLE_VAULT"):
        raise FileError(str(path), 1, "", "not supported yet: a file encrypted with ansible-vault")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileError(str(path), line, "", "is not UTF-8 text") from None


def read_yaml(path: Path) -> Document:
    """A YAML file. Raises FileError where it can't be read or is not valid."""
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, file: str) -> Document:
    """YAML text. Raises FileError where it is not valid."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in said:
            said = "a tab can't indent or begin a value: use spaces"
        raise FileError(file, mark.line + 1 if mark else None, "", f"not valid YAML: {said}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FileError(file, line, "", f"not valid YAML: {error.reason}") from None
    except RecursionError:
        raise FileError(file, None, "", "not valid YAML: nested too deeply") from None
    if node is None:
        return Document(file, None)
    reading = _Reading(file, loader)
    data = reading.value(node, ())
    return Document(file, data, reading.lines, reading.written)


class _Loader(yaml.SafeLoader):
    """YAML as Ansible reads it, but `10:30` and `2024-05-01` stay the text they look like."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("timestamp", "int", "float", "value")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)\Z"),
    list("-+0123456789"),
)

_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
_MERGE = "tag:yaml.org,2002:merge"


class _Reading:
    """One walk over a file's nodes: makes the data and notes where each part of it stands."""

    def __init__(self, file: str, loader: _Loader) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.written: dict[KeyPath, str] = {}
        self._loader = loader
        self._above: list[yaml.Node] = []
        self._count = 0

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        self._count += 1
        if self._count > _NODES_MAX:
            raise self._error(node, path, "aliases make this too large")
        if any(node is other for other in self._above):
            raise self._error(node, path, "is an alias that contains itself")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._above.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._above.pop()
        raise self._error(node, path, f"a value of type {node.tag} is not supported")

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        self.written[path] = node.value
        return self._plain(node, path)

    def _plain(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        if node.tag in ("!vault", "!vault-encrypted"):
            return Encrypted()
        if node.tag == "!unsafe":
            return node.value
        if node.tag not in _SCALARS:
            raise self._error(node, path, f"a value of type {node.tag} is not supported")
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            raise self._error(node, path, f'"{node.value}" is not a valid {node.tag.rpartition(":")[2]}') from None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[object, object]:
        found: dict[object, object] = {}
        first: dict[object, int] = {}
        for key_node, value_node in node.value:  # first, so that the lines of what overrides it are the last word
            if key_node.tag == _MERGE:
                found = self._merged(value_node, path) | found
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self._key(key_node, path)
            here = (*path, key if isinstance(key, str | int) and not isinstance(key, bool) else str(key))
            line = key_node.start_mark.line + 1
            if key in first:
                raise self._error(key_node, here, f"duplicate key (first in line {first[key]})")
            first[key] = line
            self.lines[here] = self.lines[(*path, str(key))] = line
            found[key] = self.value(value_node, here)
        return found

    def _key(self, node: yaml.Node, path: KeyPath) -> Hashable:
        if isinstance(node, yaml.MappingNode) and node.flow_style:
            raise self._error(node, path, 'a value that starts with {{ must stand in quotes: "{{ ... }}"')
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, path, "a key must be text, not a list or a mapping")
        key = self._plain(node, path)
        assert isinstance(key, Hashable)
        return key

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[object, object]:
        """What `<<` brings in: one mapping, or a list of them of which the earlier wins."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[object, object] = {}
        for part in reversed(parts):
            if not isinstance(part, yaml.MappingNode):
                raise self._error(node, path, "<< takes a mapping or a list of mappings")
            value = self.value(part, path)
            assert isinstance(value, dict)
            merged |= value
        return merged

    def _error(self, node: yaml.Node, path: KeyPath, message: str) -> FileError:
        return FileError(self.file, node.start_mark.line + 1, dotted(path), message)
