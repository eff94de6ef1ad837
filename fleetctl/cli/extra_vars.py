"""`-e key=value` and `-e @file`: variables from the command line, which win over all others."""

from __future__ import annotations

from pathlib import Path

from fleetctl.config.source import read_yaml
from fleetctl.errors import FileError, UsageError


def parse_extra_vars(given: list[str]) -> dict[str, object]:
    """Later ones win. A value of `key=value` is text, as Ansible has it; a file is YAML. Raises UsageError."""
    variables: dict[str, object] = {}
    for text in given:
        if text.startswith("@"):
            variables |= _from_file(Path(text[1:]))
            continue
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"-e {text}: not a variable", hint="write -e key=value or -e @file.yml")
        variables[key] = value
    return variables


def _from_file(path: Path) -> dict[str, object]:
    data = read_yaml(path).data
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise FileError(str(path), None, "", "is not a mapping of variables")
    for key in data:
        if not isinstance(key, str) or not key.isidentifier():
            raise FileError(str(path), None, str(key), "is not the name of a variable")
    return dict(data)
