"""A host's variables become a HostSpec. What fleetctl can't honour yet, and what looks mistyped, is refused by name.

Ansible's variables that say nothing about how a host is reached are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fleetctl.config.groups import Variable
from fleetctl.config.jump_arguments import USER, parse_jump_arguments
from fleetctl.config.quantities import parse_cpu, parse_size, shown
from fleetctl.config.ranges import is_ip, parse_port
from fleetctl.config.source import Encrypted, Problems
from fleetctl.config.suggest import did_you_mean, is_slip, nearest
from fleetctl.model.host import Capacity, HostSpec, Jump
from fleetctl.model.resources import Bytes, MilliCpu, Resources

_Value = TypeVar("_Value")

_OURS = (
    "fleet",
    "notify",
    "labels",
    "capacity",
    "reserved",
    "peer_address",
    "fleet_root",
    "fleet_python",
    "fleet_known_hosts",
)
_ANSIBLE = ("ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file")
_SSH_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")  # in the order in which ssh gets them
_LATER = ("repair", "reboot")
_OLD_NAMES = {
    "ansible_ssh_host": "ansible_host",
    "ansible_ssh_port": "ansible_port",
    "ansible_ssh_user": "ansible_user",
    "ansible_private_key_file": "ansible_ssh_private_key_file",
}
# How Ansible reaches a host or what it is there: to ignore one of these is to do something else than was asked.
_CONNECTION = re.compile(
    r"ansible_(?:(?:ssh|scp|sftp|become|su|sudo|connection|paramiko|winrm|psrp|httpapi|netconf|docker|podman|kubectl"
    r"|lxd?|chroot|jail|local|aws_ssm)(?:_\w+)?|password|pass|transport|network_os|shell_(?:type|executable)"
    r"|host_key_checking|timeout|remote_user|enable_pass\w*)"
)
# Of those, the ones that only tune Ansible's own machinery.
_HARMLESS = frozenset({"ansible_ssh_pipelining", "ansible_ssh_transfer_method", "ansible_ssh_retries"})
_ASKS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "ansible_connection": ("ssh", "smart", "ansible.builtin.ssh"),
    "ansible_become": (False, "false", "no"),
}
_SUSPECTED_TYPOS_OF = (*_ANSIBLE, "ansible_connection", "ansible_become", "ansible_password")
_AMOUNTS = ("cpu", "memory", "disk")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_HOST_ADDRESS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
_PYTHON = re.compile(r"[A-Za-z0-9_/~.][A-Za-z0-9_/~.+-]*")
_DEFAULT_PYTHON = "python3"


def host_spec(name: str, variables: Mapping[str, Variable], folder: Path, problems: Problems) -> HostSpec:
    """The host that these variables describe; relative paths are taken from `folder`. Errors go to `problems`."""
    for key, variable in variables.items():
        if complaint := refusal(key, variable.value):
            problems.add(variable.place.error(complaint))
    return _HostVariables(name, variables, folder, problems).spec()


def refusal(key: str, value: object) -> str | None:
    """Why a variable can't stand in an inventory yet, if so."""
    if key in (*_OURS, *_ANSIBLE, *_SSH_ARGUMENTS, *_HARMLESS) or value in _ASKS_NOTHING.get(key, ()):
        return None
    if key in _LATER:
        return f"not supported yet: {key}"
    if key in _OLD_NAMES:
        return f"not supported yet: {key} (write {_OLD_NAMES[key]})"
    if key.startswith("fleet_"):
        meant = nearest(key.removeprefix("fleet_"), ("root", "python", "known_hosts"))
        return f'unknown variable (did you mean "fleet_{meant}"?)' if meant else "unknown variable"
    if _CONNECTION.fullmatch(key):
        return f"not supported yet: {key}"
    if key.startswith("ansible_") and (meant := nearest(key, _SUSPECTED_TYPOS_OF)) and is_slip(key, meant):
        return f'unknown variable (did you mean "{meant}"?)'
    return None


@dataclass(frozen=True, slots=True)
class _HostVariables:
    name: str
    variables: Mapping[str, Variable]
    folder: Path
    problems: Problems

    def spec(self) -> HostSpec:
        capacity = Capacity(*self._amounts("capacity"))
        cpu, memory, disk = self._amounts("reserved")
        reserved = Resources(cpu or MilliCpu(0), memory or Bytes(0), disk or Bytes(0))
        self._check_reserved(capacity, reserved)
        return HostSpec(
            name=self.name,
            address=self._read("ansible_host", parse_address) or self.name,
            port=self._read("ansible_port", parse_port) or 22,
            user=self._read("ansible_user", _parse_user),
            private_key=self._path("ansible_ssh_private_key_file"),
            labels=self._labels(),
            capacity=capacity,
            reserved=reserved,
            peer_address=self._read("peer_address", parse_address),
            root=self._read("fleet_root", _parse_root),
            python=self._read("fleet_python", _parse_python) or self._ansible_python(),
            known_hosts=self._path("fleet_known_hosts"),
            jumps=self._jumps(),
        )

    def _read(self, key: str, parse: Callable[[object], _Value]) -> _Value | None:
        variable = self.variables.get(key)
        if variable is None:
            return None
        try:
            return parse(_settled(variable.value))
        except ValueError as error:
            self.problems.add(variable.place.error(str(error)))
            return None

    def _path(self, key: str) -> Path | None:
        text = self._read(key, _parse_text)
        return None if text is None else self.folder / Path(text).expanduser()

    def _jumps(self) -> tuple[Jump, ...]:
        """As ssh has it: the first arguments that name a way count."""
        found = [self._read(key, parse_jump_arguments) for key in _SSH_ARGUMENTS]
        return next((jumps for jumps in found if jumps), ())

    def _ansible_python(self) -> str:
        """An interpreter that Ansible was told to use is good for us too; its ways of looking for one are not ours."""
        variable = self.variables.get("ansible_python_interpreter")
        value = variable.value if variable else None
        return (
            value if isinstance(value, str) and value.startswith("/") and _PYTHON.fullmatch(value) else _DEFAULT_PYTHON
        )

    def _labels(self) -> tuple[tuple[str, str], ...]:
        labels: list[tuple[str, str]] = []
        for name, value in self._mapping("labels").items():
            variable = self.variables["labels"]
            if not isinstance(name, str) or not _LABEL.fullmatch(name):
                self.problems.add(variable.place.error(f'"{name}" is not a name for a label', str(name)))
            elif not isinstance(value, str):
                written = variable.place.written(name)
                fix = f': write "{written}" in quotes' if written else ""
                self.problems.add(variable.place.error(f"must be text, not {shown(value)}{fix}", name))
            else:
                labels.append((name, value))
        return tuple(sorted(labels))

    def _amounts(self, key: str) -> tuple[MilliCpu | None, Bytes | None, Bytes | None]:
        found: dict[str, int] = {}
        for kind, value in self._mapping(key).items():
            place = self.variables[key].place
            try:
                name = _parse_kind(kind)
                found[name] = parse_cpu(value) if name == "cpu" else parse_size(value)
            except ValueError as error:
                self.problems.add(place.error(str(error), str(kind)))
        cpu, memory, disk = (found.get(kind) for kind in _AMOUNTS)
        return (
            None if cpu is None else MilliCpu(cpu),
            None if memory is None else Bytes(memory),
            None if disk is None else Bytes(disk),
        )

    def _mapping(self, key: str) -> dict[object, object]:
        def parse(value: object) -> dict[object, object]:
            if isinstance(value, dict):
                return value
            raise ValueError(f"must be a mapping, not {shown(value)}")

        return self._read(key, parse) or {}

    def _check_reserved(self, capacity: Capacity, reserved: Resources) -> None:
        for kind in _AMOUNTS:
            have, kept = getattr(capacity, kind), getattr(reserved, kind)
            if have is not None and kept > have:
                self.problems.add(self.variables["reserved"].place.error("is more than the host's capacity", kind))


def _settled(value: object) -> object:
    """A value that means what it says. Raises ValueError for what only Ansible could make sense of."""
    if isinstance(value, Encrypted):
        raise ValueError("not supported yet: a value encrypted with ansible-vault")  # noqa: TRY004  (a file's error)
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        raise ValueError("not supported yet: a template in this variable")
    return value


def _parse_kind(kind: object) -> str:
    if kind in ("gpu", "pids"):
        raise ValueError(f"not supported yet: {kind}")
    if kind not in _AMOUNTS:
        raise ValueError(f"unknown key{did_you_mean(str(kind), _AMOUNTS) or ': known are cpu, memory and disk'}")
    return str(kind)


def _parse_text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be text, not {shown(value)}")
    if not value.isprintable():
        raise ValueError("must be one line of text")
    return value


def parse_address(value: object) -> str:
    """An IP address or the name of a machine."""
    text = _parse_text(value)
    if not is_ip(text) and not _HOST_ADDRESS.fullmatch(text):
        raise ValueError(f"must be an IP address or a host name, not {shown(text)}")
    if re.fullmatch(r"[0-9.]+", text) and not is_ip(text):
        raise ValueError(f"must be an IP address or a host name, not {shown(text)}")
    return text


def _parse_user(value: object) -> str:
    text = _parse_text(value)
    if not USER.fullmatch(text):
        raise ValueError(f"must be the name of a user, not {shown(text)}")
    return text


def _parse_root(value: object) -> str:
    text = _parse_text(value)
    if not text.startswith(("/", "~/")) or ".." in text.split("/") or text.rstrip("/") in ("", "~"):
        raise ValueError(f"must be a folder of its own, from / or ~/ on, not {shown(text)}")
    return text.rstrip("/")


def _parse_python(value: object) -> str:
    text = _parse_text(value)
    if not _PYTHON.fullmatch(text):
        raise ValueError(f"must be the name or path of a Python, without arguments, not {shown(text)}")
    return text
