"""Which hosts a pattern means: Ansible's `web:&eu:!web3`, globs, `~regex` and `web[0:2]`.

What matches nothing is an error here, in an exclusion too: `all:!typo` must not run on everything.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING

from fleetctl.config.suggest import did_you_mean
from fleetctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetctl.model.host import Inventory

_PIECE = re.compile(r"(?:[^:,\[\](){}]|\[[^\]]*\]|\{[^}]*\}|\([^)]*\))+")
_SLICE = re.compile(r"(.+)\[(?:(-?[0-9]{1,6})|([0-9]{1,6}):([0-9]{0,6})|([0-9]+-[0-9]+))\]")
_GLOB = frozenset("*?[")


def match_hosts(pattern: str, inventory: Inventory) -> tuple[str, ...]:
    """The names of the hosts that `pattern` means, in the inventory's order; at least one.

    Raises UsageError where a part of it matches no host or group, or where no host is left.
    """
    chosen = _choose(pattern, inventory, _matches)
    if not chosen:
        raise UsageError(f'the pattern "{pattern}" leaves no host')
    return chosen


def match_remaining_hosts(pattern: str, inventory: Inventory) -> tuple[str, ...]:
    """The same for a pattern that was right once: what has left the inventory since is passed over; maybe none."""
    return _choose(pattern, inventory, _matches_now)


def _choose(pattern: str, inventory: Inventory, matches: Callable[[str, Inventory], set[str]]) -> tuple[str, ...]:
    pieces = split_pattern(pattern, inventory)
    named = [piece for piece in pieces if piece[0] not in "&!"]
    chosen = set().union(*(matches(piece, inventory) for piece in named or ["all"]))
    for piece in pieces:
        if piece[0] == "&":
            chosen &= matches(piece[1:], inventory)
    for piece in pieces:
        if piece[0] == "!":
            chosen -= matches(piece[1:], inventory)
    return tuple(host.name for host in inventory.hosts if host.name in chosen)


def split_pattern(pattern: str, inventory: Inventory) -> list[str]:
    """Its parts, at each comma or colon outside of brackets; the order of the parts never matters."""
    pieces: list[str] = []
    for part in pattern.split(",") if "[" not in pattern and "~" not in pattern else [pattern]:
        text = part.strip()
        if inventory.host(text.lstrip("&!")):  # an IPv6 address, whose colons part nothing
            pieces.append(text)
        else:
            pieces += [piece.strip() for piece in _PIECE.findall(text) if piece.strip()]
    unread = _PIECE.sub("", pattern).strip(":, ")
    if not pieces or unread or any(piece in "&!" for piece in pieces):
        raise UsageError(f'"{pattern}" is not a pattern of hosts, such as web:&eu:!web3')
    return pieces


def _matches(piece: str, inventory: Inventory) -> set[str]:
    """The hosts that one part means: a host, else a group, else all that a glob or regex finds among both."""
    if inventory.host(piece):
        return {piece}
    expression, chosen = _split_slice(piece)
    names = _find(expression, inventory)
    if chosen is None:
        return set(names)
    if not names[chosen]:
        raise UsageError(f'"{piece}" takes none of the {len(names)} hosts of "{expression}"')
    return set(names[chosen])


def _matches_now(piece: str, inventory: Inventory) -> set[str]:
    try:
        return _matches(piece, inventory)
    except UsageError:
        return set()


def _find(expression: str, inventory: Inventory) -> tuple[str, ...]:
    regex = _compile(expression)
    groups = [name for name in inventory.groups if regex.match(name)]
    found = [host for name in groups for host in inventory.groups[name]]
    if not groups or expression[0] == "~" or _GLOB & set(expression):
        hosts = [host.name for host in inventory.hosts if regex.match(host.name)]
        if not groups and not hosts:
            known = {*inventory.groups, *(host.name for host in inventory.hosts)}
            raise UsageError(f'no host or group matches "{expression}"{did_you_mean(expression, known)}')
        found += hosts
    return tuple(dict.fromkeys(found))


def _compile(expression: str) -> re.Pattern[str]:
    if not expression.startswith("~"):
        return re.compile(translate(expression))
    try:
        return re.compile(expression[1:])
    except re.error as error:
        raise UsageError(f'"{expression}" is not a regular expression: {error}') from None


def _split_slice(piece: str) -> tuple[str, slice | None]:
    """`web[0:2]` takes the first three, both ends included; `web[-1]` the last; `web[1:]` all but the first."""
    found = None if piece.startswith("~") else _SLICE.fullmatch(piece)
    if found is None:
        return piece, None
    expression, index, first, last, dashed = found.groups()
    if dashed:
        raise UsageError(f'"{piece}": write [{dashed.replace("-", ":")}], both ends included')
    if index is not None:
        number = int(index)
        return expression, slice(number, None if number == -1 else number + 1)
    if last and int(last) < int(first):
        raise UsageError(f'"{piece}" runs backwards')
    return expression, slice(int(first), int(last) + 1 if last else None)
