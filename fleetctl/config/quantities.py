"""Amounts as people write them: `500ms`, `500m` of a core, `256Mi`. Each becomes a number of one unit.

A number without a unit is refused where it could mean two things. What is refused raises ValueError with a sentence
that can stand behind the name of a key.
"""

from __future__ import annotations

import re
from decimal import Decimal

from fleetctl.model.resources import Bytes, MilliCpu

_AMOUNT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_BYTES = {
    **{prefix + "i": 1024**power for power, prefix in enumerate(("K", "M", "G", "T"), start=1)},
    **{prefix: 1000**power for power, prefix in enumerate(("K", "M", "G", "T"), start=1)},
}
_DURATION_MAX = Decimal(7 * 24 * 3600)  # longer is a slip of the unit, not a wish
_CPU_MAX = 1_000_000 * 1000
_BYTES_MAX = 1024**6


def shown(value: object) -> str:
    """A wrong value as an error names it: short, and by its kind where its content would not help."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}..."'
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return "something else"


def parse_duration(value: object) -> float:
    """Seconds of `500ms`, `10s`, `5m` or `2h`, at most a week."""
    number, unit = _split(value)
    if number is None or (unit and unit not in _SECONDS):
        raise ValueError(f"must be a duration such as 500ms, 10s, 5m or 2h, not {shown(value)}")
    if not unit:
        raise ValueError(f"needs a unit: {value}s, {value}m or {value}h")
    seconds = number * _SECONDS[unit]
    if seconds > _DURATION_MAX:
        raise ValueError(f"must be at most 168h, not {value}")
    return float(seconds)


def parse_cpu(value: object) -> MilliCpu:
    """Thousandths of a core of `2`, `1.5` or `500m`."""
    number, unit = _split(value)
    if number is None or unit not in ("", "m"):
        raise ValueError(f"must be a number of cores such as 2, 1.5 or 500m, not {shown(value)}")
    milli = number if unit else number * 1000
    if milli != int(milli):
        raise ValueError(f"must be a multiple of 1m, a thousandth of a core, not {value}")
    if milli > _CPU_MAX:
        raise ValueError(f"must be at most 1000000 cores, not {value}")
    return MilliCpu(int(milli))


def parse_size(value: object) -> Bytes:
    """Bytes of `256Mi`, `2Gi` or `500M`; 0 needs no unit."""
    number, unit = _split(value)
    if number is None or (unit and unit not in _BYTES):
        meant = _meant_size(unit) if number is not None else None
        also = f" (did you mean {number}{meant}?)" if meant else ""
        raise ValueError(f"must be a size such as 256Mi, 2Gi or 500M, not {shown(value)}{also}")
    if not unit and number != 0:
        raise ValueError(f"needs a unit: {value}Mi, {value}Gi or {value}M")
    size = number * _BYTES.get(unit, 1)
    if size != int(size):
        raise ValueError(f"must be a whole number of bytes, not {value}")
    if size > _BYTES_MAX:
        raise ValueError(f"must be at most 1048576Ti, not {value}")
    return Bytes(int(size))


def _split(value: object) -> tuple[Decimal | None, str]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None, ""
    found = _AMOUNT.fullmatch(str(value))
    return (Decimal(found[1]), found[2]) if found else (None, "")


def _meant_size(unit: str) -> str | None:
    short = unit.lower().removesuffix("b")
    return next((known for known in _BYTES if known.lower() == short), None)


def format_duration(seconds: float) -> str:
    """`10s`, `1.5s` or `500ms`: as short as it can be said in one unit and read back the same."""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"
