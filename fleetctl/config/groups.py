"""Hosts, groups and their variables while an inventory is read, and Ansible's rules for which variable wins.

Knows no file format and no variable's meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fleetctl.config.source import Document, KeyPath
from fleetctl.config.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fleetctl.config.source import Problems
    from fleetctl.errors import FileError

ALL, UNGROUPED = "all", "ungrouped"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, so that an error about it can say so."""

    document: Document
    path: KeyPath

    def error(self, message: str, *below: str | int) -> FileError:
        return self.document.error((*self.path, *below), message)

    def written(self, *below: str | int) -> str | None:
        """A scalar's text as it stands in the file, where it differs from its value for some reason of YAML's."""
        return self.document.written.get((*self.path, *below))


@dataclass(frozen=True, slots=True)
class Variable:
    value: object
    place: Place


@dataclass(slots=True)
class Group:
    hosts: dict[str, None] = field(default_factory=dict)  # direct ones, in the order of the files
    children: dict[str, None] = field(default_factory=dict)
    inline: dict[str, Variable] = field(default_factory=dict)
    in_files: dict[str, Variable] = field(default_factory=dict)  # group_vars/
    priority: int = 1


@dataclass(slots=True)
class Host:
    inline: dict[str, Variable] = field(default_factory=dict)
    in_files: dict[str, Variable] = field(default_factory=dict)  # host_vars/


class Draft:
    """An inventory in the making. A group may be mentioned before it is declared; `complete` ties all together."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.groups: dict[str, Group] = {ALL: Group(), UNGROUPED: Group()}
        self.groups[ALL].children[UNGROUPED] = None
        self._declared = {ALL, UNGROUPED}
        self._named: dict[str, tuple[Place, str]] = {}

    def declare(self, name: str, place: Place) -> Group:
        """The group of that name, made where it is new. Raises FileError where a group can't be called so."""
        self._declared.add(name)
        return self.mention(name, place, "")

    def mention(self, name: str, place: Place, otherwise: str) -> Group:
        """The same for a group that must be declared somewhere; `otherwise` says what is wrong if it never is."""
        if (
            not name.isprintable()
            or name.startswith((".", "-"))
            or not name
            or any(mark in name for mark in "[]:,&!~*?@/\\ ")
        ):
            raise place.error(f'"{name}" is not a name for a group')
        self._named.setdefault(name, (place, otherwise))
        return self.groups.setdefault(name, Group())

    def host(self, name: str, port: int | None, place: Place) -> Host:
        """The host of that name. A port belongs to where a host is first named, as in Ansible: else FileError."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = Host()
            if port is not None:
                host.inline["ansible_port"] = Variable(port, place)
        elif port is not None and ((known := host.inline.get("ansible_port")) is None or known.value != port):
            raise place.error(f"{name} was named before without this port: give it there, or as ansible_port")
        return host

    def complete(self, problems: Problems) -> Families:
        """Puts hosts without a group into `ungrouped` and groups without a parent under `all`.

        Groups that are mentioned but nowhere declared, and those that contain each other, go to `problems`.
        """
        for name, (place, otherwise) in self._named.items():
            if name not in self._declared:
                problems.add(place.error(otherwise + did_you_mean(name, self._declared)))
        grouped = {host for name, group in self.groups.items() if name not in (ALL, UNGROUPED) for host in group.hosts}
        ungrouped = self.groups[UNGROUPED]
        ungrouped.hosts = {host: None for host in ungrouped.hosts if host not in grouped}
        ungrouped.hosts.update({host: None for host in self.hosts if host not in grouped})
        with_parent = {child for group in self.groups.values() for child in group.children}
        self.groups[ALL].children.update(
            {name: None for name in self.groups if name != ALL and name not in with_parent}
        )
        self._break_circles(problems)
        return Families(self.hosts, self.groups)

    def _break_circles(self, problems: Problems) -> None:
        above: list[str] = []
        done: set[str] = set()

        def visit(name: str) -> None:
            above.append(name)
            for child in list(self.groups[name].children):
                if child in above:
                    circle = " > ".join((*above[above.index(child) :], child))
                    place, _ = self._named.get(child) or self._named[name]
                    problems.add(place.error(f"groups contain each other in a circle: {circle}"))
                    del self.groups[name].children[child]
                elif child not in done:
                    visit(child)
            done.add(above.pop())

        for name in self.groups:
            if name not in done:
                visit(name)


class Families:
    """A finished inventory's hosts and groups: who is in what, and which variables hold for a host."""

    def __init__(self, hosts: Mapping[str, Host], groups: Mapping[str, Group]) -> None:
        self._hosts = hosts
        self.groups = groups

    @cached_property
    def members(self) -> dict[str, tuple[str, ...]]:
        """Each group's hosts: its own first, then its children's, level by level."""
        return {name: tuple(dict.fromkeys(self._hosts_below(name))) for name in self.groups}

    def _hosts_below(self, name: str) -> Iterable[str]:
        seen: set[str] = set()
        level: list[str] = [name]
        while level:
            fresh = [group for group in dict.fromkeys(level) if group not in seen]
            seen.update(fresh)
            for group in fresh:
                yield from self.groups[group].hosts
            level = [child for group in fresh for child in self.groups[group].children]

    @cached_property
    def _depth(self) -> dict[str, int]:
        """How far below `all` a group is, by its longest line of parents: the deeper wins over the higher."""
        depth = dict.fromkeys(self.groups, 0)
        level = [ALL]
        while level:
            following: dict[str, None] = {}
            for name in level:
                for child in self.groups[name].children:
                    if depth[child] <= depth[name]:
                        depth[child] = depth[name] + 1
                        following[child] = None
            level = list(following)
        return depth

    @cached_property
    def _groups_of(self) -> dict[str, list[str]]:
        """Each host's groups but `all`, in the order in which the later wins."""
        order = sorted(
            (name for name in self.groups if name != ALL),
            key=lambda name: (self._depth[name], self.groups[name].priority, name),
        )
        found: dict[str, list[str]] = {host: [] for host in self._hosts}
        for name in order:
            for host in self.members[name]:
                found[host].append(name)
        return found

    def of_all(self) -> dict[str, Variable]:
        """The variables of `all` alone."""
        return self.groups[ALL].inline | self.groups[ALL].in_files

    def variables(self, host: str) -> dict[str, Variable]:
        """What holds for one host: said of its groups in the inventory, then in group_vars, then of itself."""
        groups = [self.groups[name] for name in self._groups_of[host]]
        found = dict(self.groups[ALL].inline)
        for group in groups:
            found |= group.inline
        found |= self.groups[ALL].in_files
        for group in groups:
            found |= group.in_files
        return found | self._hosts[host].inline | self._hosts[host].in_files
