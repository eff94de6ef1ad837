"""Words and numbers as people read them. Text that came from a host or a file is made harmless here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST_SHOWN = 8  # hex digits of an artifact's name: enough to tell a few releases apart
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def clean(text: str) -> str:
    """`text` on one line, unable to steer a terminal: what is not printable is spelled out."""
    return "".join(char if char.isprintable() else _spelled(char) for char in text.expandtabs())


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2 h 5 min`, `4 d`: as much as matters."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 1 or whole == seconds else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h {minutes} min" if minutes else f"{whole // 3600} h"
    return f"{whole // 86400} d"


def size(amount: int) -> str:
    """`412 MiB`, `1.5 GiB`; negative amounts keep their sign."""
    rest, power = float(abs(amount)), 0
    while rest >= 1024 and power < len(_UNITS) - 1:
        rest, power = rest / 1024, power + 1
    digits = f"{rest:.1f}".removesuffix(".0") if power and rest < 10 else f"{rest:.0f}"
    return f"{'-' if amount < 0 else ''}{digits} {_UNITS[power]}"


def cores(milli: int) -> str:
    """`4`, `1.5`, `0.25` cores."""
    return f"{milli / 1000:.3f}".rstrip("0").rstrip(".")


def count(number: int, noun: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def ports(address: str, named: Iterable[tuple[str, int]]) -> str:
    """`10.0.0.1:20000`, or with their names where there are several: `10.0.0.1 http:20000 admin:20001`."""
    pairs = tuple(named)
    host = f"[{address}]" if ":" in address else address
    if len(pairs) == 1:
        return f"{host}:{pairs[0][1]}"
    return " ".join([address, *(f"{name}:{port}" for name, port in pairs)]) if pairs else address
