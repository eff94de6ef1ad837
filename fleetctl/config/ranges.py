"""What an inventory writes for its hosts: `web[01:20].example.com:2222` is twenty names and a port."""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import dataclass
from itertools import islice

_RANGE = re.compile(r"\[([^\[\]]*)\]")
_WITH_PORT = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])+):([0-9]+)")
_BRACKETED = re.compile(r"\[([^\[\]]*:[^\[\]]*:[^\[\]]*)\](?::([0-9]+))?")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
_HOSTS_MAX = 10_000  # of one entry; more is a slip of the keyboard


@dataclass(frozen=True, slots=True)
class HostEntry:
    names: tuple[str, ...]
    port: int | None


def parse_entry(text: str) -> HostEntry:
    """The hosts that an inventory's entry names. Raises ValueError with a sentence about `text`."""
    text = text.strip()
    if bracketed := _ipv6_in_brackets(text):
        return bracketed
    if is_ip(text):
        return HostEntry((text,), None)
    port = None
    if found := _WITH_PORT.fullmatch(text):
        text, port = found[1], parse_port(found[2])
    names = expand(text)
    for name in names:
        check_host_name(name)
    return HostEntry(names, port)


def expand(text: str) -> tuple[str, ...]:
    """All names that `text` with any number of ranges stands for; the first range turns slowest."""
    found = _RANGE.search(text)
    if found is None:
        if "[" in text or "]" in text:
            raise ValueError(f'"{text}" has a bracket that is not closed')
        return (text,)
    head, tails = text[: found.start()], expand(text[found.end() :])
    items = _items(found[1])
    if len(items) * len(tails) > _HOSTS_MAX:
        raise ValueError(f'"{text}" stands for more than {_HOSTS_MAX} hosts')
    return tuple(head + item + tail for item in items for tail in tails)


def check_host_name(name: str) -> None:
    """A host's name is shown, kept and made part of file names. Raises ValueError where it is not fit for that."""
    if not _NAME.fullmatch(name) and not is_ip(name):
        raise ValueError(f'"{name}" is not a host name: letters, digits, dots, - and _')


def parse_port(value: object) -> int:
    """A TCP port, given as a number or as its digits."""
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 65535:
        raise ValueError(f"must be a port from 1 to 65535, not {value}")
    return number


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ipv6_in_brackets(text: str) -> HostEntry | None:
    """`[2001:db8::1]:2222`. With colons in it, a range in brackets never is an address: `[1:9:4]` has no `::`."""
    found = _BRACKETED.fullmatch(text)
    if found is None or not is_ip(found[1]):
        return None
    return HostEntry((found[1],), parse_port(found[2]) if found[2] else None)


def _items(inside: str) -> tuple[str, ...]:
    """What `01:20`, `a:f` or `0:100:5` counts through."""
    parts = inside.split(":")
    if len(parts) not in (2, 3):
        raise ValueError(f"[{inside}] is not a range, such as [1:9], [01:20], [a:f] or [0:100:5]")
    first, last, step = parts[0] or "0", parts[1], parts[2] if len(parts) > 2 else "1"
    if not step.isascii() or not step.isdigit() or int(step) == 0:
        raise ValueError(f"the step of [{inside}] must be a number from 1 up")
    return _letters(inside, first, last, int(step)) or _numbers(inside, first, last, int(step))


def _letters(inside: str, first: str, last: str, step: int) -> tuple[str, ...]:
    letters = string.ascii_letters  # a to z, then A to Z: `[a:C]` runs through both
    if len(first) != 1 or len(last) != 1 or first not in letters or last not in letters:
        return ()
    items = tuple(letters[letters.index(first) : letters.index(last) + 1 : step])
    if not items:
        raise ValueError(f"[{inside}] runs backwards")
    return items


def _numbers(inside: str, first: str, last: str, step: int) -> tuple[str, ...]:
    if not (first + last).isascii() or not first.isdigit() or not last.isdigit():
        raise ValueError(f"[{inside}] is not a range, such as [1:9], [01:20], [a:f] or [0:100:5]")
    width = len(first) if first.startswith("0") and len(first) > 1 else 0
    if width and width != len(last):
        raise ValueError(f"[{inside}] must have as many digits at its end as at its beginning")
    if int(first) > int(last):
        raise ValueError(f"[{inside}] runs backwards")
    items = tuple(str(number).zfill(width) for number in islice(range(int(first), int(last) + 1, step), _HOSTS_MAX + 1))
    if len(items) > _HOSTS_MAX:
        raise ValueError(f"[{inside}] stands for more than {_HOSTS_MAX} hosts")
    return items
