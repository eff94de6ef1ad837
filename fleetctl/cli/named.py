"""What the words of a command line name: hosts, jobs, amounts. Whatever is not known is refused with the nearest name,
before anything is touched.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fleetctl.config.job_values import REPLICAS_MAX
from fleetctl.config.patterns import match_hosts
from fleetctl.config.quantities import parse_duration
from fleetctl.config.suggest import did_you_mean
from fleetctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fleetctl.cli.options import Terms
    from fleetctl.engine.wishing import Change
    from fleetctl.model.host import Inventory
    from fleetctl.model.memory import Memory

SHOWN = 20  # names that an error lists


def named_hosts(words: Iterable[str], inventory: Inventory, memory: Memory) -> tuple[str, ...]:
    """Each once, in the order of the words: hosts of the inventory, and those gone from it that are remembered."""
    known = {*(host.name for host in inventory.hosts), *memory.hosts, *memory.cordons}
    return tuple(_known(word, known, "host", inventory.fleet) for word in dict.fromkeys(words))


def named_jobs(words: Iterable[str], inventory: Inventory, memory: Memory) -> tuple[str, ...]:
    return tuple(_known(word, memory.jobs, "job", inventory.fleet) for word in dict.fromkeys(words))


def _known(word: str, known: Collection[str], what: str, fleet: str) -> str:
    if word in known:
        return word
    names = sorted(known)
    listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
    raise UsageError(f"{word}: no such {what} in {fleet}{did_you_mean(word, known)}", hint=f"known: {listed or 'none'}")


def named_scales(words: list[str], inventory: Inventory, memory: Memory) -> tuple[tuple[str, int], ...]:
    """The jobs and replicas of `web=4 api=2`, or of `web 4`."""
    if len(words) == 2 and not any("=" in word for word in words):
        words = ["=".join(words)]
    scales: dict[str, int] = {}
    for word in words:
        job, equals, number = word.partition("=")
        if not equals or not job:
            raise UsageError(f'"{word}" is no scale', hint="write JOB=N, such as: fleetctl scale web=4")
        named_jobs([job], inventory, memory)
        if job in scales:
            raise UsageError(f"{job} is named twice")
        scales[job] = _replicas(job, number)
    return tuple(scales.items())


def _replicas(job: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= REPLICAS_MAX or len(text) > 9:
        stopping = f"; to end it: fleetctl stop {job}" if text.strip("0") == "" else ""
        raise UsageError(f'{job}: replicas must be a number from 1 to {REPLICAS_MAX}, not "{text}"{stopping}')
    return int(text)


def with_terms(change: Change, terms: Terms, inventory: Inventory) -> Change:
    """Raises UsageError for a limit that matches no host, and for an amount that is none."""
    limit = None if terms.limit is None else frozenset(match_hosts(terms.limit, inventory))
    return replace(
        change,
        limit=limit,
        prune=terms.prune,
        adopt=terms.adopt,
        allow_unreachable=share_of(terms.allow_unreachable, len(inventory.hosts)),
        take_over=terms.take_over,
        force=terms.force,
    )


def share_of(text: str, hosts: int) -> int:
    """So many of the inventory's hosts: `3`, or `10%` of them rounded down."""
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdecimal()) or len(number) > 6 or (text.endswith("%") and int(number) > 100):
        raise UsageError(f'--allow-unreachable takes a number of hosts or a percentage such as 10%, not "{text}"')
    return int(number) * hosts // 100 if text.endswith("%") else int(number)


def seconds_of(option: str, text: str) -> float:
    """Of `500ms`, `10s`, `5m`. Raises UsageError."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option} {error}") from None
