"""The jump hosts that an inventory names in arguments for ssh. What else ssh could be told there is refused by name."""

from __future__ import annotations

import re
import shlex

from fleetctl.config.quantities import shown
from fleetctl.config.ranges import check_host_name, is_ip, parse_port
from fleetctl.model.host import Jump

USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?")
_OPTION = re.compile(r"\s*proxyjump\s*(?:=|\s)\s*(.+?)\s*", re.IGNORECASE)
_PLACE = re.compile(r"(?:(?P<user>.+)@)?(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^:\[\]@]+))(?::(?P<port>[0-9]+))?")


def parse_jump_arguments(value: object) -> tuple[Jump, ...]:
    """`-J [user@]host[:port],…` or `-o ProxyJump=…`, and nothing else. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {shown(value)}")  # noqa: TRY004  (a file's error)
    try:
        words = shlex.split(value)
    except ValueError:
        raise ValueError(f"has a quote that is not closed: {value}") from None
    routes = [_parse_route(route) for route in _routes(words)]
    if len(set(routes)) > 1:
        raise ValueError("names more than one way: write all hosts that are passed through in one, with commas between")
    return routes[0] if routes else ()


def _routes(words: list[str]) -> list[str]:
    """What follows each -J and each ProxyJump."""
    found = []
    rest = iter(words)
    for word in rest:
        option, joined = word[:2], word[2:]
        if option not in ("-J", "-o"):
            raise _unsupported(word)
        value = joined or next(rest, None)
        if value is None:
            raise ValueError(f"says nothing after {option}")
        if option == "-J":
            found.append(value)
        elif jump := _OPTION.fullmatch(value):
            found.append(jump[1])
        else:
            raise _unsupported(f"-o {value}")
    return found


def _unsupported(argument: str) -> ValueError:
    instead = "; for a jump host write -J HOST" if "proxycommand" in argument.lower() else ""
    return ValueError(f"not supported yet: {argument} (only -J and -o ProxyJump are{instead})")


def _parse_route(text: str) -> tuple[Jump, ...]:
    if text.lower() == "none":
        return ()
    return tuple(_parse_jump(part.strip()) for part in text.split(","))


def _parse_jump(text: str) -> Jump:
    if is_ip(text) and ":" in text:
        raise ValueError(f"has an IPv6 address without brackets: write [{text}]")
    found = _PLACE.fullmatch(text)
    if found is None or (found["user"] is not None and not USER.fullmatch(found["user"])):
        raise ValueError(f"must name a jump host as [user@]host[:port], not {shown(text)}")
    if found["ipv6"] is not None and not (is_ip(found["ipv6"]) and ":" in found["ipv6"]):
        raise ValueError(f"must have an IPv6 address in brackets, not {shown(found['ipv6'])}")
    address = found["ipv6"] or found["host"]
    check_host_name(address)
    return Jump(address, parse_port(found["port"]) if found["port"] else 22, found["user"])
